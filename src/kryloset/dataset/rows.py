# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read rows of an array from where they lie in the file, without HDF5.

HDF5 looks a chunk up each time, and computes its checksum a byte at a time: that takes several
times as long as reading the bytes. The file is mapped into memory: most of what is left is the copy
that the system makes of what is read.
"""

from array import array as buffer
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.checksum import CHECKED, fletcher32
from kryloset.dataset.encoding import Storage
from kryloset.errors import DataError

#: Reads a row of an array by its number, or of a row with several states the one with a number.
type ReadRow = Callable[[int, int | None], NDArray[Any]]


class Rows:
    """The rows of an array as Kryloset stores it.

    HDF5 is asked once where the rows are, and a checksum is computed when its part is read for the
    first time.

    Args:
        array: The array.
        memory: Its file, mapped into memory. Rows that are not compressed are views of it.

    Raises:
        ValueError: The array is stored in another way.
    """

    def __init__(self, array: h5py.Dataset, memory: memoryview) -> None:
        """Find where the rows are."""
        if not _fits(array):
            raise ValueError(f"{array.name} is stored in another way")
        self._name = array.name
        self._memory = memory
        self._storage = Storage.stored(array)
        self._parts, self._length = len(self._storage.corners()), self._storage.chunk[0]
        #: Where each HDF5 chunk begins, and its length. An array of NumPy would take longer to give
        #: a number than the rest of this module to read a row.
        count = len(array) * self._parts
        self._begins, self._sizes = (buffer("q", bytes(8 * count)) for _ in range(2))
        self._checked = bytearray(count)

        def note(chunk: Any) -> None:
            row, state, *_ = chunk.chunk_offset
            number = row * self._parts + state // self._length
            self._begins[number], self._sizes[number] = chunk.byte_offset, chunk.size

        array.id.chunk_iter(note)

    def __call__(self, row: int, state: int | None = None) -> NDArray[Any]:
        """Return a row, or the part of it at a place of its first axis.

        Raises:
            DataError: It does not have its checksum.
        """
        if self._parts == 1:
            whole = self._part(row)
            return whole if state is None else whole[state]
        begin = row * self._parts
        if state is not None:
            values: NDArray[Any] = self._part(begin + state // self._length)[state % self._length]
            return values
        parts = [self._part(begin + part) for part in range(self._parts)]
        return np.concatenate(parts)[: self._storage.shape[0]]

    def _part(self, number: int) -> NDArray[Any]:
        """Return what an HDF5 chunk holds."""
        begin = self._begins[number]
        data = self._memory[begin : begin + self._sizes[number]]
        if not self._checked[number]:
            if len(data) <= CHECKED or fletcher32(data[:-CHECKED]) != data[-CHECKED:]:
                raise DataError(f"{self._name}, row {number // self._parts} is damaged")
            self._checked[number] = 1
        return self._storage.decode_chunk(data)


def read_rows(array: h5py.Dataset, memory: memoryview) -> ReadRow:
    """Return what reads the rows of an array; by HDF5 if another program has stored them again."""
    if _fits(array):
        return Rows(array, memory)
    return lambda row, state: np.asarray(array[row] if state is None else array[row, state])


def _fits(array: h5py.Dataset) -> bool:
    """Return whether an array is stored as `Storage` describes it, in a file of its own."""
    if array.chunks is None or array.ndim < 2 or array.file.userblock_size:
        return False
    pipeline = array.id.get_create_plist()
    filters = [pipeline.get_filter(place)[0] for place in range(pipeline.get_nfilters())]
    ours = (
        [h5py.h5z.FILTER_FLETCHER32],
        [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32],
    )
    whole = array.chunks[0] == 1 and array.chunks[2:] == array.shape[2:]
    return whole and filters in ours and not array.is_virtual
