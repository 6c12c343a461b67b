# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Rows are encoded as HDF5 itself would: it reads them, and verifies their checksums."""

import zlib

import h5py
import numpy as np
import pytest

from kryloset.dataset.encoding import Storage
from kryloset.dataset.integrity import digest_row
from kryloset.dataset.layout import FILTERS, LIBVER, choose_filters
from kryloset.errors import DataError

GENERATOR = np.random.default_rng(0)
SMOOTH, TWO_VALUED = GENERATOR.random((3, 5, 6)), GENERATOR.choice([3.0, 12.0], (3, 50, 60))
TRAJECTORIES = GENERATOR.random((2, 7, 30, 31))
ROWS = {
    "a field": (SMOOTH, False),
    "a two-valued field": (TWO_VALUED, False),
    "a mask": ((TWO_VALUED > 5).astype(np.int8), False),
    "integers": (np.arange(24).reshape(2, 12), False),
    "a trajectory": (TRAJECTORIES, True),
}


def memory() -> h5py.File:
    return h5py.File("memory", "w", driver="core", backing_store=False, libver=LIBVER)


@pytest.mark.parametrize("name", ROWS)
def test_hdf5_reads_encoded_rows(name):
    rows, times = ROWS[name]
    storage = Storage.of(rows[0], times=times)
    encoded = storage.encode(rows)
    assert encoded.digests == b"".join(map(digest_row, rows))
    assert storage.compressed == (name in ("a two-valued field", "a mask", "integers"))
    with memory() as file:
        array = storage.create(file, "a", len(rows))
        encoded.write(array, 0)
        np.testing.assert_array_equal(array[:], rows)
        assert array.dtype == rows.dtype
    np.testing.assert_array_equal(encoded.decode(), rows)


@pytest.mark.parametrize("name", ROWS)
def test_the_bytes_are_those_that_hdf5_writes(name):
    """But those of gzip, whose library may be another one."""
    rows, times = ROWS[name]
    storage = Storage.of(rows[0], times=times)
    with memory() as file:
        mine, own = (storage.create(file, name, len(rows)) for name in "ab")
        storage.encode(rows).write(mine, 0)
        own[:] = rows
        file.flush()
        for number in range(own.id.get_num_chunks()):
            place = own.id.get_chunk_info(number).chunk_offset
            one, other = (array.id.read_direct_chunk(place) for array in (mine, own))
            assert one[0] == other[0] == 0, "all filters were applied"
            if not storage.compressed:
                assert bytes(one[1]) == bytes(other[1])


def test_a_long_trajectory_has_several_hdf5_chunks():
    storage = Storage.of(TRAJECTORIES[0], times=True)
    assert storage.chunk == (4, 30, 31)
    assert storage.corners() == ((0, 0, 0), (4, 0, 0))


def test_rows_of_another_shape_or_type_are_refused():
    storage = Storage.of(SMOOTH[0])
    for rows in (SMOOTH[:, 1:], SMOOTH.astype(np.float32)):
        with pytest.raises(DataError, match=r"it has the shape \(.*<f8 in the instances before"):
            storage.encode(rows)


@pytest.mark.parametrize("digits", [0, 1, 3, 4, 15])
def test_gzip_is_chosen_as_if_the_whole_instance_were_compressed(digits):
    """The choice is made before all of a long trajectory is compressed."""
    values = np.round(np.random.default_rng(digits).random((64, 64)), digits)
    shuffled = values.reshape(-1, 1).view(np.uint8).T.tobytes()
    halved = 2 * len(zlib.compress(shuffled, 1)) <= len(shuffled)
    assert (choose_filters(values) is FILTERS) == halved
