# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Rows read from where they lie in the file are those that HDF5 reads."""

from mmap import mmap

import h5py
import numpy as np
import pytest

from kryloset.dataset.encoding import Storage
from kryloset.dataset.layout import LIBVER
from kryloset.dataset.rows import Rows, read_rows
from kryloset.errors import DataError

GENERATOR = np.random.default_rng(0)
ARRAYS = {
    "field": GENERATOR.random((3, 5, 6)),
    "steady": GENERATOR.random((3, 1, 5, 6)),
    "material": GENERATOR.choice([3.0, 12.0], (3, 50, 60)),
    "mask": GENERATOR.choice([0, 1], (3, 50, 60)).astype(np.int8),
    "trajectory": GENERATOR.random((2, 7, 30, 31)),
    "vector": GENERATOR.random((2, 7, 30, 31, 2)),
}


@pytest.fixture
def file(tmp_path):
    """A file with the arrays; trajectories have several HDF5 chunks, the last one not full."""
    with h5py.File(tmp_path / "rows.h5", "w", libver=LIBVER) as file:
        for name, rows in ARRAYS.items():
            storage = Storage.of(rows[0], times=name in ("trajectory", "vector"))
            storage.encode(rows).write(storage.create(file, name, len(rows)), 0)
    with (tmp_path / "rows.h5").open("r+b") as raw, h5py.File(raw.name) as file:
        yield file, memoryview(mmap(raw.fileno(), 0))


@pytest.mark.parametrize("name", ARRAYS)
def test_rows_and_their_states_are_those_of_the_array(file, name):
    hdf5, memory = file
    rows = Rows(hdf5[name], memory)
    for number, values in enumerate(ARRAYS[name]):
        np.testing.assert_array_equal(rows(number, None), values)
        for state in range(len(values)):
            np.testing.assert_array_equal(rows(number, state), values[state])


def test_a_damaged_row_is_named_and_the_others_are_read(file):
    hdf5, memory = file
    chunk = hdf5["trajectory"].id.get_chunk_info_by_coord((1, 0, 0, 0))
    memory[chunk.byte_offset + 100] ^= 1
    rows = Rows(hdf5["trajectory"], memory)
    np.testing.assert_array_equal(rows(1, 6), ARRAYS["trajectory"][1, 6])
    for state in (0, None):
        with pytest.raises(DataError, match="/trajectory, row 1 is damaged"):
            rows(1, state)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, 5, 6)},
        {"chunks": (3, 5, 6), "fletcher32": True},
        {"chunks": (1, 5, 3), "fletcher32": True},
        {"chunks": (1, 5, 6), "compression": "gzip", "fletcher32": True},
        {},
    ],
)
def test_what_another_program_stored_again_is_read_by_hdf5(tmp_path, options):
    with h5py.File(tmp_path / "again.h5", "w") as file:
        array = file.create_dataset("field", data=ARRAYS["field"], **options)
        with pytest.raises(ValueError, match="/field is stored in another way"):
            Rows(array, memoryview(b""))
        rows = read_rows(array, memoryview(b""))
        np.testing.assert_array_equal(rows(1, None), ARRAYS["field"][1])
        np.testing.assert_array_equal(rows(2, 4), ARRAYS["field"][2, 4])
