# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The records read from a journal are always a prefix of those written to it."""

import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.journal import Journal
from kryloset.errors import DataError


def record(i: int) -> dict[str, np.ndarray | Encoded]:
    generator = np.random.default_rng(i)
    fields, flags = generator.random((2, 3)), np.full((1, 40), i)
    return {
        "u": generator.random((i % 3, 4)),
        "fields": Storage.of(fields[0]).encode(fields),
        "instance": np.int64(i),
        "flags": Storage.of(flags[0]).encode(flags),
    }


def write(folder: Path, count: int, fingerprint: str = "work") -> None:
    with Journal(folder, fingerprint) as journal:
        for i in range(count):
            journal.append(record(i), 1 + i % 3)


def read(folder: Path, fingerprint: str = "work") -> int:
    """Compare each record with the written one, and return their number."""
    with Journal(folder, fingerprint) as journal:
        count = 0
        for i, arrays in enumerate(journal.records()):
            expected = record(i)
            assert arrays.keys() == expected.keys()
            for name, array in arrays.items():
                if isinstance(array, Encoded):
                    assert array == expected[name]
                    continue
                np.testing.assert_array_equal(array, expected[name])
                assert array.dtype == expected[name].dtype
            count += 1
        assert len(journal) == count
    return count


@pytest.fixture(scope="module")
def bytes_of_three(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, 3)
    return (folder / "journal").read_bytes()


def test_written_records_are_read_back(tmp_path):
    write(tmp_path / "journal", 5)
    assert read(tmp_path / "journal") == 5


def test_a_journal_cut_at_any_byte_keeps_a_prefix(tmp_path, bytes_of_three):
    counts = []
    for size in range(len(bytes_of_three) + 1):
        (tmp_path / "journal").write_bytes(bytes_of_three[:size])
        with Journal(tmp_path, "work") as journal:
            counts.append(len(journal))
        assert bytes_of_three.startswith((tmp_path / "journal").read_bytes())
    assert counts == sorted(counts)
    assert set(counts) == set(range(4))


@settings(max_examples=300)
@given(data=st.data())
def test_a_journal_with_any_flipped_byte_keeps_a_prefix(tmp_path_factory, bytes_of_three, data):
    folder = tmp_path_factory.mktemp("flipped")
    at = data.draw(st.integers(0, len(bytes_of_three) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = bytearray(bytes_of_three)
    damaged[at] ^= flip
    (folder / "journal").write_bytes(damaged)
    assert read(folder) < 3
    # The journal continues from there.
    with Journal(folder, "work") as journal:
        for i in range(len(journal), 3):
            journal.append(record(i), 1 + i % 3)
    assert (folder / "journal").read_bytes() == bytes_of_three


def test_encoded_rows_of_zeros_in_place_of_those_written_are_cut_off(tmp_path):
    """Pages that a power cut took are zeros, and so is the checksum of zeros."""
    rows = np.random.default_rng(0).random((1, 2000))
    with Journal(tmp_path, "work") as journal:
        journal.append({"u": Storage.of(rows[0]).encode(rows)}, 1)
    data = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(data[:-16004] + bytes(16004))
    with Journal(tmp_path, "work") as journal:
        assert len(journal) == 0


def test_the_journal_of_other_work_is_discarded(tmp_path, caplog):
    write(tmp_path, 3, "other work")
    assert read(tmp_path) == 0
    assert "other work" in caplog.text
    assert read(tmp_path, "other work") == 0


def test_a_journal_is_truncated_to_a_count(tmp_path):
    write(tmp_path, 5)
    with Journal(tmp_path, "work") as journal:
        journal.truncate(2)
        assert len(journal) == 2
        journal.append(record(2), 1)
    assert read(tmp_path) == 3


def test_discarding_a_journal_removes_its_folder(tmp_path):
    with Journal(tmp_path / "journal", "work") as journal:
        journal.append(record(0), 1)
        journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_objects_are_refused(tmp_path):
    with Journal(tmp_path, "work") as journal:
        with pytest.raises(ValueError, match="objects"):
            journal.append({"u": np.array([object()])}, 1)
        assert len(journal) == 0


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "journal").write_text("")
    with pytest.raises(DataError, match="journal cannot be written"):
        Journal(tmp_path / "journal", "work")


@pytest.mark.parametrize("discard", [False, True])
def test_a_second_writer_waits_for_the_first(tmp_path, caplog, discard):
    """It then finds the records of the first, or a new folder if that was discarded."""
    folder = tmp_path / "journal"
    first = Journal(folder, "work")
    first.append(record(0), 1)
    found = []

    def second() -> None:
        with Journal(folder, "work") as journal:
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


def test_a_full_disk_is_named_and_adds_no_record(tmp_path):
    """A limit on the size of files simulates a full disk: both leave a write(2) incomplete."""
    script = """
import sys
from pathlib import Path
import numpy as np
from kryloset.dataset.journal import Journal
from kryloset.errors import DataError
with Journal(Path(sys.argv[1]), "work") as journal:
    try:
        while True:
            journal.append({"u": np.full(10_000, float(len(journal)))}, 1)
    except DataError as error:
        print(len(journal), error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("12 ")
    assert "cannot be written: the file is larger than" in done.stdout
    with Journal(tmp_path, "work") as journal:
        assert [arrays["u"][0] for arrays in journal.records()] == list(range(12))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from kryloset.dataset.journal import Journal
with Journal(Path(sys.argv[1]), "work") as journal:
    print("open", flush=True)
    while True:
        i = len(journal)
        journal.append({"u": np.full(200_000, float(i)), "instance": np.int64(i)}, 1)
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
        time.sleep(delays.uniform(0.0, 0.05))
        process.kill()
        process.wait()
        process.stdout.close()
        with Journal(tmp_path, "work") as journal:
            for i, arrays in enumerate(journal.records()):
                assert arrays["instance"] == i
                assert np.all(arrays["u"] == i)
            assert len(journal) >= before
            before = len(journal)
    assert before > 0, "no process lived to write a record: the test tested nothing"
