# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sequences of systems in PETSc's binary files `A_<i>.dat` and `rhs_<i>.dat`, i from 0.

The format (PETSc manual pages MatLoad and VecLoad) is big-endian with integers of 32 bits. A
matrix has its class id, rows, columns, nonzeros, the number of nonzeros of each row, their
columns and their values. A vector has its class id, size and values. MatLoad silently accepts
columns out of range or order, NaN and trailing bytes. Here a whole sequence is checked first.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError
from kryloset.progress import track

CLASS_IDS = {"matrix": 1211216, "vector": 1211214}
"""The number that a file of PETSc begins with."""

INTEGER = np.dtype(">i4")

SCALAR = np.dtype(PETSc.ScalarType).newbyteorder(">")

BLOCK = 1 << 20
"""Number of values that a check holds in memory at a time, beside three for each row."""


@dataclass(frozen=True)
class SequenceFiles:
    """A sequence that was found and checked.

    Attributes:
        size: rows of each matrix.
        matrices: the file of each system's matrix; the same file if one matrix serves all.
        patterns: a digest of each matrix's sparsity pattern.
        rhs: the file of each system's right-hand side.
    """

    size: int
    matrices: tuple[Path, ...]
    patterns: tuple[bytes, ...]
    rhs: tuple[Path, ...]

    def __len__(self) -> int:
        """Return the number of systems."""
        return len(self.rhs)


def check_sequence(folder: Path) -> SequenceFiles:
    """Find the systems of a folder, and read every file from beginning to end.

    A single `A_0.dat` serves all right-hand sides. It needs memory for three
    numbers a row, however large the files are.

    Raises:
        DataError: A file is missing, damaged or of another format, holds NaN or infinity,
            or differs in size from the others.
    """
    matrices, rhs = find_systems(folder)
    found: dict[Path, tuple[int, bytes]] = {}
    for matrix, vector in track(list(zip(matrices, rhs, strict=True)), "checking systems"):
        if matrix not in found:
            found[matrix] = check_matrix(matrix)
        size, first = found[matrix][0], found[matrices[0]][0]
        if size != first:
            raise DataError(
                f"{matrix} is {size} x {size}, {matrices[0].name} is {first} x {first}: the "
                "systems of a sequence have one size; put those of another size into a "
                "separate folder"
            )
        length = check_vector(vector)
        if length != size:
            raise DataError(
                f"{vector} has {length} entries, {matrix.name} is {size} x {size}: a right-hand "
                f"side needs {size}; write the two from the same system"
            )
    patterns = tuple(found[matrix][1] for matrix in matrices)
    return SequenceFiles(found[matrices[0]][0], tuple(matrices), patterns, tuple(rhs))


def find_systems(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the matrix and the right-hand side of each system.

    Raises:
        DataError: The folder cannot be read, or a number is missing.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}): give the folder of A_0.dat and rhs_0.dat"
        ) from None
    matrices, rhs = _numbers(folder, names, "A"), _numbers(folder, names, "rhs")
    count = len(rhs) if len(matrices) == 1 else max(len(matrices), len(rhs))
    for kind, there, other in (("A", matrices, "rhs"), ("rhs", rhs, "A")):
        if len(there) < count and not (kind == "A" and len(there) == 1):
            raise DataError(
                f"{folder}: {kind}_{len(there)}.dat is missing, {other}_{len(there)}.dat is "
                "there: each system needs both (only A_0.dat alone serves all)"
            )
    files = [folder / f"A_{min(i, len(matrices) - 1)}.dat" for i in range(count)]
    return files, [folder / f"rhs_{i}.dat" for i in range(count)]


def _numbers(folder: Path, names: list[str], kind: str) -> range:
    """Return the numbers of the files of a kind, which must be 0, ..., N - 1."""
    there = []
    for name in names:
        match = re.fullmatch(rf"{kind}_([0-9]+)\.dat", name)
        if match is None:
            continue
        number = int(match[1])
        if str(number) != match[1]:
            raise DataError(
                f"{folder / name}: numbers have no leading zeros; rename it {kind}_{number}.dat"
            )
        there.append(number)
    there.sort()
    for expected, number in enumerate(there):
        if number > expected == 0:
            raise DataError(
                f"{folder}: {kind}_0.dat is missing before {kind}_{number}.dat: systems are "
                "numbered from 0 on"
            )
        if number > expected:
            raise DataError(
                f"{folder}: {kind}_{expected}.dat is missing between {kind}_{expected - 1}.dat "
                f"and {kind}_{number}.dat: systems are numbered 0, 1, 2, ..."
            )
    if not there:
        raise DataError(
            f"{folder}: {kind}_0.dat is missing: a sequence is A_0.dat, A_1.dat, ... and "
            "rhs_0.dat, rhs_1.dat, ... in PETSc's binary format"
        )
    return range(len(there))


# One file


def check_matrix(path: Path) -> tuple[int, bytes]:
    """Check a file of a sparse matrix.

    Returns:
        The number of rows, and a digest of the sparsity pattern.

    Raises:
        DataError: The file cannot be read, is damaged or of another format, or the matrix is
            not square or not finite.
    """
    with _opened(path) as file:
        rows, columns, nonzeros = _read_header(file, "matrix", 3)
        if nonzeros == -1:
            raise DataError(
                f"{path} holds a dense matrix: convert it to a sparse one (MatConvert to aij)"
            )
        if min(rows, columns, nonzeros) < 0 or rows == 0:
            raise DataError(
                f"{path} is damaged: its header says {rows} rows, {columns} columns and "
                f"{nonzeros} nonzeros; write it again"
            )
        _check_size(file, rows + nonzeros, nonzeros)
        if rows != columns:
            raise DataError(
                f"{path} is {rows} x {columns}: a system needs a square matrix; if it was, the "
                "file is damaged: write it again"
            )
        lengths = _read(file, INTEGER, rows)
        pattern = hashlib.sha256(lengths.tobytes())
        ends = np.cumsum(lengths, dtype=np.int64)
        if lengths.min() < 0 or lengths.max() > columns or ends[-1] != nonzeros:
            bad = np.flatnonzero((lengths < 0) | (lengths > columns))
            what = (
                f"row {bad[0]} has {lengths[bad[0]]} nonzeros"
                if bad.size
                else f"its rows have {ends[-1]} nonzeros together, its header says {nonzeros}"
            )
            raise DataError(f"{path} is damaged: {what}; write it again")
        _check_columns(file, ends, pattern)
        _check_finite(file, nonzeros, lambda entry: f"({_where(file, ends, entry)})")
    return rows, pattern.digest()


def check_vector(path: Path) -> int:
    """Check a file of a vector and return its size.

    Raises:
        DataError: The file cannot be read, is damaged or of another format, or the vector is
            not finite.
    """
    with _opened(path) as file:
        (size,) = _read_header(file, "vector", 1)
        if size < 0:
            raise DataError(f"{path} is damaged: its header says {size} entries; write it again")
        _check_size(file, 0, size)
        _check_finite(file, size, str)
    return size


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _read(file: BinaryIO, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    values = np.fromfile(file, dtype, count)
    if len(values) < count:
        raise DataError(f"{file.name} has become shorter since it was checked")
    return values


def _read_header(file: BinaryIO, kind: str, count: int) -> list[int]:
    """Read the class id and the numbers after it, and return these numbers."""
    expected = (1 + count) * INTEGER.itemsize
    raw = file.read(expected)
    found = int.from_bytes(raw[:4], "big")
    wanted, known = CLASS_IDS[kind], CLASS_IDS.values()
    if raw[:4] == bytes(4) and int.from_bytes(raw[4:8], "big") in known:
        raise DataError(
            f"{file.name} was written by a PETSc with 64-bit indices: only files with indices of "
            "32 bits are read; write it with such a PETSc, or with indices='32bit' of "
            "PetscBinaryIO.py"
        )
    if int.from_bytes(raw[:4], "little") in known:
        raise DataError(f"{file.name} is little-endian: PETSc's binary files are big-endian")
    for other, number in CLASS_IDS.items():
        if found == number != wanted:
            raise DataError(f"{file.name} holds a {other}, a {kind} is expected")
    if len(raw) < expected:
        raise DataError(
            f"{file.name} is truncated: the header of a {kind} takes {expected} bytes, the file "
            f"has {len(raw)}; write it again"
        )
    if found != wanted:
        raise DataError(
            f"{file.name} is no {kind} in PETSc's binary format, or is damaged: it begins with "
            f"the number {found} in place of {wanted}; write it again"
        )
    numbers: list[int] = np.frombuffer(raw, INTEGER)[1:].tolist()
    return numbers


def _check_size(file: BinaryIO, integers: int, scalars: int) -> None:
    """Compare the rest of the file with the numbers that it must hold."""
    start = file.tell()
    rest = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    expected = integers * INTEGER.itemsize + scalars * SCALAR.itemsize
    if rest == expected:
        return
    for name in ("float32", "float64", "complex128"):
        if rest == integers * INTEGER.itemsize + scalars * np.dtype(name).itemsize:
            raise DataError(
                f"{file.name} holds numbers of type {name}, and PETSc here works with "
                f"{np.dtype(PETSc.ScalarType).name}: write it with that type"
            )
    what = (
        "is truncated" if rest < expected else "has trailing bytes, or more than one object in it"
    )
    raise DataError(
        f"{file.name} {what}: by its header it takes {start + expected} bytes, it has "
        f"{start + rest}; write it again"
    )


def _check_columns(file: BinaryIO, ends: NDArray[np.int64], pattern: Any) -> None:
    """Check that columns are in range and ascend in each row, and add them to the digest."""
    size, nonzeros = len(ends), int(ends[-1])
    starts = np.concatenate([[0], ends[:-1]])
    before = 0
    for begin in range(0, nonzeros, BLOCK):
        columns = _read(file, INTEGER, min(BLOCK, nonzeros - begin))
        pattern.update(columns.tobytes())
        outside = np.flatnonzero((columns < 0) | (columns >= size))
        if outside.size:
            row = np.searchsorted(ends, begin + outside[0], side="right")
            raise DataError(
                f"{file.name} is damaged: row {row} has an entry in column "
                f"{columns[outside[0]]}, columns go from 0 to {size - 1}; write it again"
            )
        rising = np.diff(columns.astype(np.int64), prepend=before) > 0
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
                f"{file.name}: row {row} has {what} before writing (SciPy: sum_duplicates(); "
                "PETSc's own files are in order)"
            )
        before = int(columns[-1])


def _check_finite(file: BinaryIO, count: int, name: Callable[[int], str]) -> None:
    """Check that the next values of the file are finite."""
    for begin in range(0, count, BLOCK):
        values = _read(file, SCALAR, min(BLOCK, count - begin))
        finite = np.isfinite(values)
        if not finite.all():
            place = int(finite.argmin())
            raise DataError(
                f"{file.name}: entry {name(begin + place)} is {values[place]}, finite numbers are "
                "expected: look at what assembled it"
            )


def _where(file: BinaryIO, ends: NDArray[np.int64], entry: int) -> str:
    """Return the row and column of a nonzero, for a message."""
    file.seek((4 + len(ends) + entry) * INTEGER.itemsize)
    (column,) = _read(file, INTEGER, 1)
    return f"{np.searchsorted(ends, entry, side='right')}, {column}"


# Systems for PETSc


class SystemReader:
    """Reads the systems of a checked sequence; each rank reads its rows.

    As long as the sparsity pattern stays the same, one Mat is refilled, so that a `SequenceSolver`
    keeps its KSP. A new pattern gets a new Mat.
    """

    def __init__(self, files: SequenceFiles, comm: MPI.Comm) -> None:
        """Split the rows among the ranks. Files are not read yet."""
        self.files = files
        self._comm = comm
        self._local, _ = PETSc.Sys.splitOwnership(files.size, comm=comm)
        last = comm.scan(self._local)
        self._rows = (last - self._local, last)
        self._mat: PETSc.Mat | None = None
        self._held: tuple[Path, bytes] | None = None

    def read(self, number: int) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return the matrix and the right-hand side of a system. Collective.

        The Mat of the previous call is overwritten if the pattern is the same.

        Raises:
            DataError: A file cannot be read any more.
        """
        files = self.files
        wanted = (files.matrices[number], files.patterns[number])
        if self._held is None or self._held[0] != wanted[0]:
            csr = self._read_rows(wanted[0])
            if self._mat is None or self._held is None or self._held[1] != wanted[1]:
                sizes = (self._local, files.size)
                self._mat = PETSc.Mat().createAIJ((sizes, sizes), csr=csr, comm=self._comm)
            else:
                self._mat.setValuesCSR(*csr)
                self._mat.assemble()
            self._held = wanted
        assert self._mat is not None
        rhs = self._mat.createVecLeft()
        with _opened(files.rhs[number]) as file:
            file.seek(2 * INTEGER.itemsize + self._rows[0] * SCALAR.itemsize)
            rhs.setArray(_read(file, SCALAR, self._local).astype(PETSc.ScalarType))
        return self._mat, rhs

    def _read_rows(self, path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return row pointers, columns and values of this rank's rows."""
        first, last = self._rows
        with _opened(path) as file:
            file.seek(3 * INTEGER.itemsize)
            (nonzeros,) = _read(file, INTEGER, 1).tolist()
            lengths = _read(file, INTEGER, self.files.size)
            before = int(lengths[:first].sum(dtype=np.int64))
            pointers = np.concatenate([[0], np.cumsum(lengths[first:last], dtype=np.int64)])
            start = file.tell()
            file.seek(start + before * INTEGER.itemsize)
            columns = _read(file, INTEGER, pointers[-1])
            file.seek(start + nonzeros * INTEGER.itemsize + before * SCALAR.itemsize)
            values = _read(file, SCALAR, pointers[-1])
        return (
            pointers.astype(PETSc.IntType),
            columns.astype(PETSc.IntType),
            values.astype(PETSc.ScalarType),
        )
