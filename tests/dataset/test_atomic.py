# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Under its final name, a file is complete or does not exist."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kryloset.dataset.atomic import write_text_whole, write_whole
from kryloset.errors import DataError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_final_name_appears_only_at_the_end(tmp_path):
    with write_whole(tmp_path / "new" / "data") as part:
        part.write_text("all of it")
        assert names(tmp_path / "new") == ["data.part"]
    assert names(tmp_path / "new") == ["data"]
    assert (tmp_path / "new" / "data").read_text() == "all of it"


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """So that after a power cut it is whole, too: its content, its name, and the folder's entry."""
    done, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.readlink(f"/dev/fd/{handle}")))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    write_text_whole(tmp_path / "data", "all of it")
    assert done == [str(tmp_path / "data.part"), "named", str(tmp_path)]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), OSError("no")])
def test_a_failure_leaves_the_old_file(tmp_path, failure):
    path = tmp_path / "data"
    write_text_whole(path, "old")
    with pytest.raises(type(failure)), write_whole(path) as part:
        part.write_text("half of it")
        raise failure
    assert names(tmp_path) == ["data"]
    assert path.read_text() == "old"


def test_a_part_left_by_a_kill_is_overwritten(tmp_path):
    (tmp_path / "data.part").write_text("a longer text left behind")
    write_text_whole(tmp_path / "data", "new")
    assert (tmp_path / "data").read_text() == "new"


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(DataError, match=r"results/darcy/data cannot be written.*choose another"):
        write_text_whole(tmp_path / "results" / "darcy" / "data", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_found_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="no permission"), write_whole(tmp_path / "data"):
        pytest.fail("the work began")


def test_an_error_about_another_file_is_passed_on(tmp_path):
    with pytest.raises(PermissionError), write_whole(tmp_path / "data"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "input"))
    assert names(tmp_path) == []


FULL_DISK = """
import sys
from pathlib import Path
import numpy as np
from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.errors import DataError
try:
    with write_whole(Path(sys.argv[1])) as part, create_hdf5(part) as file:
        for i in range(100):
            file.create_dataset(f"{i}", data=np.random.default_rng(i).random(10_000), chunks=True)
except DataError as error:
    print(error)
    sys.exit(3)
"""


def test_a_full_disk_during_an_hdf5_write_leaves_no_file(tmp_path):
    """A limit on the size of files simulates a full disk: write(2) fails in both cases."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / "data.h5"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "data.h5 cannot be written: the file is larger than" in done.stdout
    assert names(tmp_path) == []


def test_a_full_disk_is_named(tmp_path):
    """Use a real file system of one megabyte, if mounting one is allowed."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    try:
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, small / "data.h5"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert "the disk is full" in done.stdout
        assert names(small) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
