# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands of docs/how-to/proving.md run as printed, in a folder that is no clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI

import pytest

from documentation import read_blocks
from kryloset.config import DatasetConfig
from kryloset.run import solve, sort
from merging import merge_verified

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with results/darcy/dataset.h5, and a copy of it in `again`."""
    folder = tmp_path_factory.mktemp("proving")
    config = DatasetConfig(
        count=4, chunks=1, mesh={"points": 9}, parameters={"modes": 8},
        splits={"train": 0.5, "test": 0.5}, about={"license": "CC-BY-4.0"},
    )  # fmt: skip
    order, chunk = folder / "order.h5", folder / "1-of-1.h5"
    sort.run(config, "darcy", output=order)
    solve.run(config, "darcy", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    results = folder / "results/darcy"
    results.mkdir(parents=True)
    merge_verified(config, "darcy", order=order, chunks=[chunk], output=results / "dataset.h5")
    shutil.copytree(folder / "results", folder / "again/results")
    return folder


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the installed package does."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=os.environ | {"PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_command_of_the_page_runs(folder):
    blocks = read_blocks("docs/how-to/proving.md", "sh")
    told = []
    for block in blocks:
        done = shell(block, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(done.stdout)
    assert "instance 3, made again from the file alone" in told[0]
    assert told[1].endswith("The data are equal within 1e-04.\n")
    assert (folder / "page.html").exists()
    assert (folder / "results/darcy/report.html").exists()


def test_what_differs_ends_with_exit_code_1(folder):
    other = folder / "other.h5"
    shutil.copy(folder / "again/results/darcy/dataset.h5", other)
    data = other.read_bytes()
    spoil = "import h5py; f = h5py.File('other.h5', 'r+'); f['t0_fields/u'][1] = 1.0; f.close()"
    assert shell(f'python -c "{spoil}"', folder).returncode == 0 and other.read_bytes() != data
    for command in ("diff again/results/darcy/dataset.h5", "reproduce --instance 1"):
        done = shell(f"kryloset {command} other.h5", folder)
        assert done.returncode == 1 and done.stdout and not done.stderr, done


def test_the_configuration_alone_says_how_to_run_it(folder):
    done = shell("kryloset info again/results/darcy/dataset.h5 --config", folder)
    assert done.stdout.startswith("datasets:")
    assert "--configfile c.yaml" in done.stderr and "--snakefile" in done.stderr
