# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A damaged or missing file or a full disk is reported by name and never ends up in a dataset."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
from slow_dataset import Interrupted

pytestmark = pytest.mark.slow


@pytest.fixture
def finished(whole: Interrupted, tmp_path: Path) -> Interrupted:
    return whole.copy(tmp_path)


def test_a_flipped_byte_in_a_chunk_is_reported(finished: Interrupted, undisturbed: bytes):
    with h5py.File(finished.chunk) as file:
        place = file["fields/u"].id.get_chunk_info(5).byte_offset + 100
    with finished.chunk.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    finished.dataset.unlink()

    refused = finished.finish()

    assert refused.code == 1
    assert "chunks/1-of-1.h5" in refused.output
    assert "Traceback" not in refused.output
    assert not finished.dataset.exists()

    finished.chunk.unlink()
    assert finished.finish().code == 0
    assert finished.dataset.read_bytes() == undisturbed


def test_a_deleted_chunk_is_solved_again_when_it_is_needed(
    finished: Interrupted, undisturbed: bytes
):
    finished.chunk.unlink()
    finished.dataset.unlink()
    run = finished.finish()
    assert run.code == 0
    assert run.jobs().keys() == {"solve_chunk", "verify_chunk", "merge_chunks"}
    assert finished.dataset.read_bytes() == undisturbed


@pytest.fixture
def small_disk(interrupted: Interrupted) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    results = interrupted.folder / "results"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", results], check=True)
    yield results
    subprocess.run(["umount", results], check=True)


def test_a_full_disk_is_reported(interrupted: Interrupted, small_disk: Path, undisturbed: bytes):
    full = interrupted.finish()
    assert full.code == 1
    assert "the disk is full: free some space and run again" in full.output
    assert "Traceback" not in full.output
    assert not interrupted.dataset.exists()

    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert interrupted.finish().code == 0
    assert interrupted.dataset.read_bytes() == undisturbed
