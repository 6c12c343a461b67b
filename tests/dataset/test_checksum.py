# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The checksum of a chunk is that of HDF5 itself, compiled and by NumPy."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset.dataset.checksum import fletcher32, fletcher32_by_numpy


def by_numpy(data):
    return fletcher32_by_numpy(np.frombuffer(data, np.uint8))


WAYS = {"compiled": fletcher32, "NumPy": by_numpy}.values()


def memory() -> h5py.File:
    return h5py.File("memory", "w", driver="core", backing_store=False)


@pytest.mark.parametrize("checksum", WAYS)
@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=600) | st.integers(1, 2000).map(lambda n: b"\xff" * n))
def test_the_checksum_is_that_of_hdf5(checksum, data):
    with memory() as file:
        array = file.create_dataset(
            "a", data=np.frombuffer(data, np.uint8), chunks=(len(data),), fletcher32=True
        )
        file.flush()
        _, stored = array.id.read_direct_chunk((0,))
    assert bytes(stored) == data + checksum(data)


@pytest.mark.parametrize("checksum", WAYS)
@pytest.mark.parametrize("words", [16384, 16385, 3 * 16384 + 130, 2**19])
@pytest.mark.parametrize("value", [0, 255, None])
def test_the_checksum_of_many_words_is_that_of_hdf5(checksum, words, value):
    random = np.random.default_rng(words).integers(0, 256, 2 * words, np.uint8)
    data = random if value is None else np.full(2 * words, value, np.uint8)
    with memory() as file:
        array = file.create_dataset("a", data=data, chunks=data.shape, fletcher32=True)
        file.flush()
        assert array.id.read_direct_chunk((0,))[1][-4:] == checksum(data)
