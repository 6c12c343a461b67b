# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reading any file ends within seconds, with a result or a message."""

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from pointwise_runs import Run

from kryloset.dataset import guard, opening
from kryloset.dataset.description import describe
from kryloset.dataset.guard import in_child, progress
from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError, DataError
from kryloset.run import check

FILE = Path("file.h5")


def test_work_is_done_in_a_child_and_its_answer_comes_back():
    here = os.getpid()
    assert in_child(FILE, lambda: os.getpid() != here and {"a": [1, 2]}) == {"a": [1, 2]}


def _spin():
    while True:
        pass


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (_spin, "makes no progress"),
        (lambda: bytearray(2**42), "MemoryError"),
        (os.abort, r"crashes on it \(-6\)"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "crashes"),
        (lambda: os._exit(0), "crashes"),
        (lambda: {}["a"], "KeyError"),
    ],
)
def test_a_failure_in_the_child_is_one_message(work, words, monkeypatch):
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    with pytest.raises(DataError, match=f"^file.h5 is damaged: .*{words}"):
        in_child(FILE, work)


def test_an_error_of_the_child_is_raised_in_the_parent():
    def work():
        raise ConfigError("take another")

    with pytest.raises(ConfigError, match="take another"):
        in_child(FILE, work)


def test_slow_work_that_makes_progress_is_not_stopped(monkeypatch):
    monkeypatch.setattr(guard, "SECONDS", 0.2)

    def work():
        for _ in range(5):
            progress()
            began = time.process_time()
            while time.process_time() - began < 0.1:
                pass
        return "done"

    assert in_child(FILE, work) == "done"


def test_progress_outside_a_child_starts_no_timer():
    progress()
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_a_file_is_read_in_a_child_once_for_each_version_of_it(run: Run, monkeypatch):
    path, children = run.whole, []

    def counted(path, work):
        children.append(path)
        return in_child(path, work)

    monkeypatch.setattr(opening, "in_child", counted)
    assert check.examine(path).passed
    describe(path)
    Dataset(path).file.close()
    assert children == [path]
    os.utime(path, (0, 0))
    describe(path)
    assert children == [path, path]


@pytest.mark.parametrize("shape", [(10**15,), (10**7, 10**8)])
def test_an_array_of_more_than_the_file_is_refused(run: Run, shape: tuple[int, ...]):
    path = run.whole
    with h5py.File(path, "r+") as file:
        file.create_dataset("t0_fields/more", shape, "f8", chunks=(1,) * len(shape))
    for read in (Dataset, describe):
        with pytest.raises(DataError, match=r"dataset.h5 is damaged: t0_fields/more claims"):
            read(path)


def test_a_text_in_an_endless_heap_is_refused(run: Run, monkeypatch):
    path = run.whole
    with h5py.File(path, "r+") as file:
        file["provenance/more"] = "m" * 10_000  # too long for a heap with other texts
    data = bytearray(path.read_bytes())
    # The size of an object in a heap precedes it. HDF5 reads objects of size 0 forever.
    place = data.index(b"m" * 100) - 16
    data[place : place + 16] = bytes(16)
    path.write_bytes(data)
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    for read in (Dataset, describe):
        with pytest.raises(DataError, match=r"dataset.h5 is damaged: HDF5 makes no progress"):
            read(path)


def test_endless_groups_are_refused(run: Run):
    path = run.whole
    with h5py.File(path, "r+") as file:
        file["t2_fields/again"] = file["/"]
        for number in range(10_001):
            file.create_group(f"t2_fields/{number}")
    with pytest.raises(DataError, match="more groups and arrays than a dataset has"):
        describe(path)


def _no_text(file):
    del file["provenance/config"]
    file["provenance/config"] = np.arange(3)


def _no_dataset(file):
    del file["provenance/config"]
    file["provenance/config"] = "datasets: {}"


@pytest.mark.parametrize(
    "change",
    [
        _no_text,
        _no_dataset,
        lambda file: file.attrs.__delitem__("output_fields"),
        lambda file: file.attrs.__setitem__("title", 3.0),
        lambda file: file.attrs.__setitem__("input_fields", 3.0),
        lambda file: file.__delitem__("solver"),
        lambda file: file.__delitem__("time"),
        lambda file: file["statistics/u"].attrs.__setitem__("mean", "m"),
    ],
)
def test_a_file_with_other_content_is_described_or_refused(run: Run, change):
    path = run.whole
    with h5py.File(path, "r+") as file:
        change(file)
    try:
        assert "12 instances" in describe(path)
    except (ConfigError, DataError) as error:
        assert "dataset.h5" in str(error)
