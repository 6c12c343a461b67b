# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The records read from a journal are always a prefix of those written to it."""

import random
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.journal import Journal
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError


def instances(i: int) -> int:
    return 1 + i % 3


def record(i: int) -> dict[str, np.ndarray | Encoded]:
    generator = np.random.default_rng(i)
    fields, flags = generator.random((instances(i), 3)), np.full((instances(i), 40), i)
    return {
        "u": generator.random((i % 3, 4)),
        "fields": Storage.of(fields[0]).encode(fields),
        "instance": np.int64(i),
        "flags": Storage.of(flags[0]).encode(flags),
    }


def as_bytes(rows: Encoded) -> Encoded:
    return replace(rows, pieces=list(rows.pieces))


COUNT = 20
"""Instances of a journal, of which not all are written."""


def write(folder: Path, count: int, fingerprint: str = "work") -> None:
    with Journal(folder, fingerprint, COUNT) as journal:
        for i in range(count):
            journal.append(record(i), instances(i))


def read(folder: Path, fingerprint: str = "work") -> int:
    """Compare each record with the written one, and return their number."""
    with Journal(folder, fingerprint, COUNT) as journal:
        count = 0
        for i, arrays in enumerate(journal.records()):
            expected = record(i)
            assert arrays.keys() == expected.keys()
            for name, array in arrays.items():
                if isinstance(array, Encoded):
                    assert as_bytes(array) == as_bytes(expected[name])
                    continue
                np.testing.assert_array_equal(array, expected[name])
                assert array.dtype == expected[name].dtype
            count += 1
        assert len(journal) == count
    return count


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> dict[str, bytes]:
    """Journal and rows of three records, as a killed process leaves them: HDF5 cannot open them."""
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, "work", COUNT) as journal:
        for i in range(3):
            journal.append(record(i), instances(i))
        return {name: (folder / name).read_bytes() for name in ("journal", "rows-0.h5")}


def lay(folder: Path, three: dict[str, bytes]) -> None:
    for name, data in three.items():
        (folder / name).write_bytes(data)


def test_written_records_are_read_back(tmp_path):
    write(tmp_path / "journal", 5)
    assert read(tmp_path / "journal") == 5


def test_a_journal_cut_at_any_byte_keeps_a_prefix(tmp_path, three):
    counts, whole = [], three["journal"]
    for size in range(len(whole) + 1):
        lay(tmp_path, three | {"journal": whole[:size]})
        with Journal(tmp_path, "work", COUNT) as journal:
            counts.append(len(journal))
        assert whole.startswith((tmp_path / "journal").read_bytes())
    assert counts == sorted(counts)
    assert set(counts) == set(range(4))


@settings(max_examples=300)
@given(data=st.data())
def test_a_journal_with_any_flipped_byte_keeps_a_prefix(tmp_path_factory, three, data):
    folder = tmp_path_factory.mktemp("flipped")
    name = data.draw(st.sampled_from(sorted(three)))
    at = data.draw(st.integers(0, len(three[name]) - 1))
    damaged = bytearray(three[name])
    damaged[at] ^= data.draw(st.integers(1, 255))
    lay(folder, three | {name: damaged})
    # What is read is compared. HDF5's own bytes between the rows do not matter.
    count = read(folder)
    assert count < 3 or name != "journal"
    # The journal continues from there.
    with Journal(folder, "work", COUNT) as journal:
        for i in range(count, 3):
            journal.append(record(i), instances(i))
    assert read(folder) == 3


def test_rows_of_a_killed_process_are_in_the_finished_file(tmp_path, three):
    lay(tmp_path, three)
    with pytest.raises(OSError, match="open"):
        h5py.File(tmp_path / "rows-0.h5")
    with Journal(tmp_path, "work", 7) as journal:
        for i in range(len(journal), 4):
            journal.append({name: record(i)[name] for name in ("fields", "flags")}, instances(i))
        expected = [rows for each in journal.records() for rows in each["fields"].decode()]
        with journal.finish(tmp_path / "made.h5") as file:
            file.numbers("instance", np.arange(len(expected)))
    with StagedFile(tmp_path / "made.h5") as made:
        np.testing.assert_array_equal(made.rows("fields", 0, len(expected)), expected)


def test_encoded_rows_of_zeros_in_place_of_those_written_are_cut_off(tmp_path):
    """Pages that a power cut took are zeros, and so is the checksum of zeros."""
    rows = np.random.default_rng(0).random((1, 2000))
    with Journal(tmp_path, "work", COUNT) as journal:
        journal.append({"u": Storage.of(rows[0]).encode(rows)}, 1)
        placed = (tmp_path / "rows-0.h5").read_bytes()
        begin = placed.index(rows.tobytes())
    (tmp_path / "rows-0.h5").write_bytes(placed[:begin] + bytes(16004))
    with Journal(tmp_path, "work", COUNT) as journal:
        assert len(journal) == 0


def test_the_journal_of_other_work_is_discarded(tmp_path, caplog):
    write(tmp_path, 3, "other work")
    assert read(tmp_path) == 0
    assert "other work" in caplog.text
    assert read(tmp_path, "other work") == 0


def test_a_journal_is_truncated_to_a_count(tmp_path):
    write(tmp_path, 5)
    with Journal(tmp_path, "work", COUNT) as journal:
        journal.truncate(2)
        assert len(journal) == 2
        journal.append(record(2), 1)
    assert read(tmp_path) == 3


def test_discarding_a_journal_removes_its_folder(tmp_path):
    with Journal(tmp_path / "journal", "work", COUNT) as journal:
        journal.append(record(0), 1)
        journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_objects_are_refused(tmp_path):
    with Journal(tmp_path, "work", COUNT) as journal:
        with pytest.raises(ValueError, match="objects"):
            journal.append({"u": np.array([object()])}, 1)
        assert len(journal) == 0


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "journal").write_text("")
    with pytest.raises(DataError, match="journal cannot be written"):
        Journal(tmp_path / "journal", "work", COUNT)


@pytest.mark.parametrize("discard", [False, True])
def test_a_second_writer_waits_for_the_first(tmp_path, caplog, discard):
    """It then finds the records of the first, or a new folder if that was discarded."""
    folder = tmp_path / "journal"
    first = Journal(folder, "work", COUNT)
    first.append(record(0), 1)
    found = []

    def second() -> None:
        with Journal(folder, "work", COUNT) as journal:
            found.append(len(journal))

    thread = threading.Thread(target=second)
    thread.start()
    while "in use by another process" not in caplog.text:
        time.sleep(0.01)
    assert not found
    first.append(record(1), 1)
    if discard:
        first.discard()
    else:
        first.close()
    thread.join(timeout=10)
    assert found == [0 if discard else 2]
    assert folder.exists()


@pytest.mark.parametrize("kind", ["plain", "encoded"])
def test_a_full_disk_is_named_and_adds_no_record(tmp_path, kind):
    """A limit on the size of files simulates a full disk: both leave a write(2) incomplete."""
    script = """
import sys
from pathlib import Path
import numpy as np
from kryloset.dataset.encoding import Storage
from kryloset.dataset.journal import Journal
from kryloset.errors import DataError
with Journal(Path(sys.argv[1]), "work", 1000) as journal:
    try:
        while True:
            rows = len(journal) + np.random.random((1, 10_000))
            values = rows if sys.argv[2] == "plain" else Storage.of(rows[0]).encode(rows)
            journal.append({"u": values}, 1)
    except DataError as error:
        print(len(journal), error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, kind],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("12 ")
    assert "cannot be written: the file is larger than" in done.stdout
    with Journal(tmp_path, "work", COUNT) as journal:
        for number, arrays in enumerate(journal.records()):
            (row,) = arrays["u"] if kind == "plain" else arrays["u"].decode()
            assert np.all(row.astype(int) == number)
        assert len(journal) == 12


WRITER = """
import sys
from pathlib import Path
import numpy as np
from kryloset.dataset.encoding import Storage
from kryloset.dataset.journal import Journal
with Journal(Path(sys.argv[1]), "work", 10_000) as journal:
    storage = Storage.of(np.random.random(200_000))
    list(storage.encode([np.random.random(200_000)]).pieces)
    print("open", flush=True)
    while True:
        i = len(journal)
        rows = storage.encode([i + np.random.random(200_000)])
        journal.append({"u": rows, "instance": np.int64(i)}, 1)
"""


@pytest.mark.slow
def test_repeated_kills_lose_no_finished_record(tmp_path):
    """After each kill the records are complete and none is lost; the next process continues."""
    delays = random.Random(0)
    before = 0
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(delays.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        process.stdout.close()
        with Journal(tmp_path, "work", COUNT) as journal:
            for i, arrays in enumerate(journal.records()):
                assert arrays["instance"] == i
                assert np.all(arrays["u"].decode()[0].astype(int) == i)
            assert len(journal) >= before
            before = len(journal)
    assert before > 3, "hardly a process lived to write a record: the test tested nothing"
