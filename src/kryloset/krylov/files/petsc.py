# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""PETSc's binary files, of matrices and vectors.

The format (PETSc manual pages MatLoad and VecLoad) is big-endian with integers of 32 bits, or of 64
where PETSc has such indices. A matrix has its class id, rows, columns, nonzeros, the number of
nonzeros of each row, their columns and their values. A vector has its class id, size and values.
MatLoad silently accepts columns out of range or order, NaN and trailing bytes. Here a file is
checked first, which needs memory for three numbers a row, however large the file is.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError
from kryloset.krylov.files.parts import (
    SCALAR,
    MatrixFile,
    not_finite,
    of_complex_numbers,
    readable,
    require_square,
)

CLASS_IDS = {"matrix": 1211216, "vector": 1211214}
"""The number that a file of PETSc begins with."""

STORED = SCALAR.newbyteorder(">")

BLOCK = 1 << 20
"""Number of values that a check holds in memory at a time, beside three for each row."""


class Petsc:
    """The `Format` of PETSc."""

    def check_matrix(self, path: Path) -> MatrixFile:
        """Check a file of a sparse matrix; see `Format`."""
        with _opened(path, "matrix", 3) as (file, (rows, columns, nonzeros)):
            if nonzeros == -1:
                raise DataError(
                    f"{path} holds a dense matrix: convert it to a sparse one (MatConvert to aij)"
                )
            if min(rows, columns, nonzeros) < 0 or rows == 0:
                raise DataError(
                    f"{path} is damaged: its header says {rows} rows, {columns} columns and "
                    f"{nonzeros} nonzeros; write it again"
                )
            file.check_size(rows + nonzeros, nonzeros)
            require_square(path, rows, columns)
            lengths = file.integers(rows)
            pattern = hashlib.sha256(lengths.tobytes())
            ends = np.cumsum(lengths)
            if lengths.min() < 0 or lengths.max() > columns or ends[-1] != nonzeros:
                bad = np.flatnonzero((lengths < 0) | (lengths > columns))
                what = (
                    f"row {bad[0]} has {lengths[bad[0]]} nonzeros"
                    if bad.size
                    else f"its rows have {ends[-1]} nonzeros together, its header says {nonzeros}"
                )
                raise DataError(f"{path} is damaged: {what}; write it again")
            triangle = _check_columns(file, ends, pattern)
            file.check_finite(nonzeros, lambda entry: f"({file.place(ends, entry)})")
        return MatrixFile(rows, pattern.digest(), triangle)

    def check_vector(self, path: Path) -> int:
        """Check a file of a vector; see `Format`."""
        with _opened(path, "vector", 1) as (file, (size,)):
            if size < 0:
                raise DataError(
                    f"{path} is damaged: its header says {size} entries; write it again"
                )
            file.check_size(0, size)
            file.check_finite(size, str)
        return size

    def read_rows(
        self, path: Path, first: int, last: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Read a part of a checked matrix; see `Format`."""
        with _opened(path, "matrix", 3) as (file, (rows, _, nonzeros)):
            lengths = file.integers(rows)
            before = int(lengths[:first].sum())
            pointers = np.concatenate([[0], np.cumsum(lengths[first:last])])
            file.skip(before, 0)
            columns = file.integers(pointers[-1])
            file.skip(nonzeros - before - pointers[-1], before)
            return pointers, columns, file.scalars(pointers[-1])

    def read_entries(self, path: Path, first: int, last: int) -> NDArray[Any]:
        """Read a part of a checked vector; see `Format`."""
        with _opened(path, "vector", 1) as (file, _):
            file.skip(0, first)
            return file.scalars(last - first)


class _File:
    """An open file after its header."""

    def __init__(self, file: BinaryIO, path: Path, integer: np.dtype[Any]) -> None:
        self._file, self._integer, self._start = file, integer, file.tell()
        self.path = path

    def integers(self, count: int) -> NDArray[np.int64]:
        """Return the next integers."""
        return self._read(self._integer, count).astype(np.int64)

    def scalars(self, count: int) -> NDArray[Any]:
        """Return the next scalars."""
        return self._read(STORED, count)

    def skip(self, integers: int, scalars: int) -> None:
        """Pass over some numbers."""
        size = integers * self._integer.itemsize + scalars * STORED.itemsize
        self._file.seek(int(size), os.SEEK_CUR)

    def _read(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        values = np.fromfile(self._file, dtype, count)
        if len(values) < count:
            raise DataError(f"{self.path} has become shorter since it was checked")
        return values

    def check_size(self, integers: int, scalars: int) -> None:
        """Compare the rest of the file with the numbers that it must hold.

        Raises:
            DataError: The file is shorter or longer, or of another type of numbers.
        """
        rest = self._file.seek(0, os.SEEK_END) - self._start
        self._file.seek(self._start)
        before = integers * self._integer.itemsize
        expected = before + scalars * STORED.itemsize
        if rest == expected:
            return
        for name in ("float32", "float64", "complex128"):
            if rest == before + scalars * np.dtype(name).itemsize:
                if name == "complex128":
                    raise of_complex_numbers(self.path)
                raise DataError(
                    f"{self.path} holds numbers of type {name}, and PETSc here works with "
                    f"{SCALAR.name}: write it with that type"
                )
        short = rest < expected
        what = "is truncated" if short else "has trailing bytes, or more than one object in it"
        raise DataError(
            f"{self.path} {what}: by its header it takes {self._start + expected} bytes, it has "
            f"{self._start + rest}; write it again"
        )

    def check_finite(self, count: int, name: Callable[[int], str]) -> None:
        """Check that the next values of the file are finite.

        Raises:
            DataError: One is not.
        """
        for begin in range(0, count, BLOCK):
            values = self.scalars(min(BLOCK, count - begin))
            finite = np.isfinite(values)
            if not finite.all():
                place = int(finite.argmin())
                raise not_finite(self.path, name(begin + place), values[place])

    def place(self, ends: NDArray[np.int64], entry: int) -> str:
        """Return the row and column of a nonzero, for a message."""
        self._file.seek(self._start + (len(ends) + entry) * self._integer.itemsize)
        (column,) = self.integers(1)
        return f"{np.searchsorted(ends, entry, side='right')}, {column}"


@contextmanager
def _opened(path: Path, kind: str, count: int) -> Iterator[tuple[_File, list[int]]]:
    """Open a file and read its header: a class id and some numbers, which are returned too."""
    with readable(path), path.open("rb") as file:
        first = file.read(8)
        wide = first[:4] == bytes(4) and int.from_bytes(first[4:], "big") in CLASS_IDS.values()
        integer = np.dtype(">i8" if wide else ">i4")
        file.seek(0)
        header = file.read((1 + count) * integer.itemsize)
        _check_header(path, kind, header, integer, count)
        yield _File(file, path, integer), np.frombuffer(header, integer)[1:].tolist()


def _check_header(path: Path, kind: str, header: bytes, integer: np.dtype[Any], count: int) -> None:
    expected = (1 + count) * integer.itemsize
    found = int.from_bytes(header[: integer.itemsize], "big")
    wanted = CLASS_IDS[kind]
    if int.from_bytes(header[:4], "little") in CLASS_IDS.values():
        raise DataError(f"{path} is little-endian: PETSc's binary files are big-endian")
    for other, number in CLASS_IDS.items():
        if found == number != wanted:
            raise DataError(f"{path} holds a {other}, a {kind} is expected")
    if len(header) < expected:
        raise DataError(
            f"{path} is truncated: the header of a {kind} takes {expected} bytes, the file has "
            f"{len(header)}; write it again"
        )
    if found != wanted:
        raise DataError(
            f"{path} is no {kind} in PETSc's binary format, or is damaged: it begins with the "
            f"number {found} in place of {wanted}; write it again"
        )


def _check_columns(file: _File, ends: NDArray[np.int64], pattern: Any) -> str:
    """Check that columns are in range and ascend in each row, and add them to the digest.

    Returns:
        As `MatrixFile.triangle`.
    """
    size, nonzeros = len(ends), int(ends[-1])
    starts = np.concatenate([[0], ends[:-1]])
    before = 0
    below = above = False
    for begin in range(0, nonzeros, BLOCK):
        columns = file.integers(min(BLOCK, nonzeros - begin))
        pattern.update(columns.tobytes())
        outside = np.flatnonzero((columns < 0) | (columns >= size))
        if outside.size:
            row = np.searchsorted(ends, begin + outside[0], side="right")
            raise DataError(
                f"{file.path} is damaged: row {row} has an entry in column "
                f"{columns[outside[0]]}, columns go from 0 to {size - 1}; write it again"
            )
        rising = np.diff(columns, prepend=before) > 0
        first, last = np.searchsorted(starts, [begin, begin + len(columns)])
        rising[starts[first:last] - begin] = True
        if not rising.all():
            place = int(rising.argmin())
            previous = columns[place - 1] if place else before
            row = np.searchsorted(ends, begin + place, side="right")
            what = (
                f"column {previous} twice: sum such entries"
                if columns[place] == previous
                else f"column {columns[place]} after column {previous}: sort the columns"
            )
            raise DataError(
                f"{file.path}: row {row} has {what} before writing (SciPy: sum_duplicates(); "
                "PETSc's own files are in order)"
            )
        before = int(columns[-1])
        if not (below and above):  # so that most matrices are looked at in their first block only
            rows = np.searchsorted(ends, begin + np.arange(len(columns)), side="right")
            below |= bool((columns < rows).any())
            above |= bool((columns > rows).any())
    return "" if below == above else "lower" if below else "upper"
