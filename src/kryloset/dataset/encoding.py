# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Rows of arrays in the form in which HDF5 stores them.

A row is what an array has of one instance. It is encoded once, where it was computed, and then
moves from file to file as it is (`write_direct_chunk`): HDF5 neither compresses it again nor
computes its checksum again.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import batched, product
from math import prod
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import Compression
from kryloset.dataset.checksum import CHECKED, fletcher32
from kryloset.dataset.integrity import DIGEST, digest_rows
from kryloset.dataset.layout import CHECKSUM, FILTERS, choose_filters
from kryloset.errors import DataError

#: Entries of an HDF5 chunk with several times: 32 KiB, since training reads a few states at a time.
_ENTRIES = 2**12


@dataclass(frozen=True)
class Storage:
    """How HDF5 stores the rows of an array.

    Attributes:
        dtype: Their type, such as `<f8`.
        shape: Their shape.
        chunk: The shape of their part of an HDF5 chunk, which has one instance.
        compressed: Whether they are compressed by gzip, and not only checksummed.
    """

    dtype: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    compressed: bool

    @classmethod
    def of(
        cls, row: NDArray[Any], *, times: bool = False, compression: Compression = "auto"
    ) -> Self:
        """Choose how rows like this one are stored.

        Args:
            row: A row.
            times: Whether its first axis is that of times, of which an HDF5 chunk may have a few.
            compression: As of `choose_filters`.
        """
        chunk = [*row.shape]
        if times:
            # Parts of one length, since HDF5 stores the last one as long as the others.
            parts = -(-chunk[0] // max(1, _ENTRIES // prod(chunk[1:])))
            chunk[0] = -(-chunk[0] // parts)
        compressed = choose_filters(row, compression) is FILTERS
        return cls(row.dtype.str, row.shape, tuple(chunk), compressed)

    @classmethod
    def stored(cls, array: h5py.Dataset) -> Self:
        """Return how the rows of an array in a file are stored."""
        compressed = array.compression is not None
        return cls(array.dtype.str, array.shape[1:], array.chunks[1:], compressed)

    def create(self, file: h5py.File, path: str, count: int) -> h5py.Dataset:
        """Make an array for `count` rows."""
        filters = FILTERS if self.compressed else CHECKSUM
        shape, chunks = (count, *self.shape), (1, *self.chunk)
        return file.create_dataset(path, shape, self.dtype, chunks=chunks, **filters)

    def corners(self) -> Sequence[tuple[int, ...]]:
        """Return where in a row its HDF5 chunks begin."""
        return _corners(self.shape, self.chunk)

    def encode(self, rows: Iterable[NDArray[Any]], digests: bytes | None = None) -> "Encoded":
        """Encode rows, each of `shape`. They may lie anywhere: trajectories are long to copy.

        Args:
            rows: The rows.
            digests: What `digest_rows` returns for them, if it is known.

        Raises:
            DataError: They have another shape or type.
        """
        rows = list(rows)
        for row in rows:
            if row.shape != self.shape or row.dtype.str != self.dtype:
                raise DataError(
                    f"it has the shape {row.shape} and the type {row.dtype.str}, but "
                    f"{self.shape} and {self.dtype} in the instances before"
                )
        digests = digest_rows(rows) if digests is None else digests
        return Encoded(self, digests, _Encoding(self, rows))

    def encode_row(self, row: NDArray[Any]) -> Iterator[bytes]:
        """Yield the HDF5 chunks of a row."""
        for part in _parts(self.shape, self.chunk):
            yield self._encode(row[part])

    def _encode(self, piece: NDArray[Any]) -> bytes:
        """Return an HDF5 chunk; one at an end of an axis is filled up with zeros."""
        if piece.shape != self.chunk:
            whole = np.zeros(self.chunk, piece.dtype)
            whole[tuple(map(slice, piece.shape))] = piece
            piece = whole
        data: Any = np.ascontiguousarray(piece).reshape(-1).view(np.uint8)
        if self.compressed:
            data = zlib.compress(data.reshape(-1, piece.itemsize).T.tobytes(), 1)
        return b"".join((data, fletcher32(data)))

    def decode(self, pieces: Sequence[Any]) -> NDArray[Any]:
        """Return the row that some HDF5 chunks hold, without comparing their checksums."""
        if self.chunk == self.shape:
            return self.decode_chunk(pieces[0])
        row = np.empty(self.shape, self.dtype)
        for part, piece in zip(_parts(self.shape, self.chunk), pieces, strict=True):
            place = row[part]
            place[...] = self.decode_chunk(piece)[tuple(map(slice, place.shape))]
        return row

    def decode_chunk(self, piece: Any) -> NDArray[Any]:
        """Return what an HDF5 chunk holds, read-only and without a copy where that is possible."""
        if self.compressed:
            shuffled = np.frombuffer(zlib.decompress(memoryview(piece)[:-CHECKED]), np.uint8)
            size = np.dtype(self.dtype).itemsize
            piece = shuffled.reshape(size, -1).T.tobytes()
        return np.ndarray(self.chunk, self.dtype, piece)


class _Encoding(Iterable[bytes]):
    """The HDF5 chunks of rows, each encoded when it is asked for.

    All at once they would take the memory of a group's trajectories once more.
    """

    def __init__(self, storage: Storage, rows: Sequence[NDArray[Any]]) -> None:
        self._storage, self._rows = storage, rows

    def __iter__(self) -> Iterator[bytes]:
        for row in self._rows:
            yield from self._storage.encode_row(row)


@cache
def _corners(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Sequence[tuple[int, ...]]:
    lengths = zip(shape, chunk, strict=True)
    return tuple(product(*(range(0, length, step) for length, step in lengths)))


@cache
def _parts(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Sequence[tuple[slice, ...]]:
    """Return where in a row its HDF5 chunks are."""
    return tuple(
        tuple(slice(begin, begin + length) for begin, length in zip(corner, chunk, strict=True))
        for corner in _corners(shape, chunk)
    )


@dataclass(frozen=True)
class Encoded:
    """Consecutive rows of an array as HDF5 stores them.

    Attributes:
        storage: How they are stored.
        digests: What `integrity.digest_rows` returns for them.
        pieces: The HDF5 chunks of the first row, of the second, and so on: bytes, each with its
            checksum at the end.
    """

    storage: Storage
    digests: bytes
    pieces: Iterable[Any]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.digests) // DIGEST

    def decode(self) -> list[NDArray[Any]]:
        """Return the rows, without comparing checksums and digests."""
        each = len(self.storage.corners())
        return [self.storage.decode(pieces) for pieces in batched(self.pieces, each)]

    def write(self, array: h5py.Dataset, first: int) -> None:
        """Write the rows to an array that `Storage.create` made, from row `first` on."""
        for place, piece in zip(self.places(first), self.pieces, strict=True):
            array.id.write_direct_chunk(place, piece)

    def places(self, first: int) -> list[tuple[int, ...]]:
        """Return where in an array the HDF5 chunks begin, if the first row is row `first`."""
        numbers, corners = range(first, first + len(self)), self.storage.corners()
        return [(number, *corner) for number in numbers for corner in corners]
