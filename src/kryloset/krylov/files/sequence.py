# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sequences of systems in files `A_<i>` and `rhs_<i>`, i from 0, in any of the formats."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from kryloset.errors import DataError
from kryloset.krylov.files.exchange import MATRIX_MARKET, NUMPY, SCIPY
from kryloset.krylov.files.parts import Format, MatrixFile
from kryloset.krylov.files.petsc import Petsc
from kryloset.progress import track

logger = logging.getLogger(__name__)

_PETSC = Petsc()

#: By the kind of file, the formats by the endings of their names.
FORMATS: Mapping[str, Mapping[str, Format]] = MappingProxyType(
    {
        "A": {".dat": _PETSC, ".mtx": MATRIX_MARKET, ".mtx.gz": MATRIX_MARKET, ".npz": SCIPY},
        "rhs": {".dat": _PETSC, ".mtx": MATRIX_MARKET, ".mtx.gz": MATRIX_MARKET, ".npy": NUMPY},
    }
)


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

    A single `A_0` serves all right-hand sides.

    Raises:
        DataError: A file is missing, damaged or of another format, holds NaN or infinity,
            or differs in size from the others.
    """
    matrices, rhs = find_systems(folder)
    found: dict[Path, MatrixFile] = {}
    for matrix, vector in track(list(zip(matrices, rhs, strict=True)), "checking systems"):
        if matrix not in found:
            found[matrix] = check_matrix(matrix)
        size, first = found[matrix].size, found[matrices[0]].size
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
    _name_triangles(found)
    patterns = tuple(found[matrix].pattern for matrix in matrices)
    return SequenceFiles(found[matrices[0]].size, tuple(matrices), patterns, tuple(rhs))


def check_matrix(path: Path) -> MatrixFile:
    """Check a file of a sparse matrix, as its `Format`."""
    return _format("A", path).check_matrix(path)


def check_vector(path: Path) -> int:
    """Check a file of a vector and return its size, as its `Format`."""
    return _format("rhs", path).check_vector(path)


def _format(kind: str, path: Path) -> Format:
    formats = FORMATS[kind]
    return next(formats[end] for end in sorted(formats, key=len)[::-1] if path.name.endswith(end))


def _name_triangles(found: Mapping[Path, MatrixFile]) -> None:
    """Warn of matrices that may be one half of a symmetric one."""
    halves = [path for path, matrix in found.items() if matrix.triangle]
    if halves:
        one = halves[0]
        more = f", and so are {len(halves) - 1} more" if len(halves) > 1 else ""
        logger.warning(
            "%s is %s triangular%s, and solved as it is: if it is one half of a symmetric matrix, "
            "write both halves (PETSc: MatConvert from sbaij to aij), or a Matrix Market file, "
            "which says `symmetric`",
            one, found[one].triangle, more,
        )  # fmt: skip


def find_systems(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the matrix and the right-hand side of each system.

    Raises:
        DataError: The folder cannot be read, a number is missing, or two files have one number.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}): give the folder of A_0 and rhs_0"
        ) from None
    matrices, rhs = _numbered(folder, names, "A"), _numbered(folder, names, "rhs")
    count = len(rhs) if len(matrices) == 1 else max(len(matrices), len(rhs))
    for kind, there, others in (("A", matrices, rhs), ("rhs", rhs, matrices)):
        if len(there) < count and not (kind == "A" and len(there) == 1):
            missing = f"{kind}_{len(there)}{_ending(there[-1])}"
            raise DataError(
                f"{folder}: {missing} is missing, {others[len(there)].name} is there: each system "
                "needs both (only A_0 alone serves all)"
            )
    return [matrices[min(i, len(matrices) - 1)] for i in range(count)], rhs


def _numbered(folder: Path, names: list[str], kind: str) -> list[Path]:
    """Return the files of a kind in the order of their numbers, which must be 0, ..., N - 1."""
    endings = "|".join(map(re.escape, FORMATS[kind]))
    there: dict[int, Path] = {}
    for name in names:
        match = re.fullmatch(rf"{kind}_([0-9]+)({endings})", name)
        if match is None:
            continue
        number = int(match[1])
        if str(number) != match[1]:
            raise DataError(
                f"{folder / name}: numbers have no leading zeros; rename it "
                f"{kind}_{number}{match[2]}"
            )
        if number in there:
            raise DataError(
                f"{folder}: {there[number].name} and {name} are both there: leave one of them"
            )
        there[number] = folder / name
    files = [there[number] for number in sorted(there)]
    for expected, number in enumerate(sorted(there)):
        if number == expected:
            continue
        missing = f"{kind}_{expected}{_ending(there[number])}"
        if expected == 0:
            raise DataError(
                f"{folder}: {missing} is missing before {there[number].name}: systems are "
                "numbered from 0 on"
            )
        raise DataError(
            f"{folder}: {missing} is missing between {files[expected - 1].name} and "
            f"{there[number].name}: systems are numbered 0, 1, 2, ..."
        )
    if not there:
        formats = {kind: ", ".join(FORMATS[kind]) for kind in FORMATS}
        raise DataError(
            f"{folder}: {kind}_0 is missing: a sequence is A_0, A_1, ... ({formats['A']}) and "
            f"rhs_0, rhs_1, ... ({formats['rhs']})"
        )
    return files


def _ending(path: Path) -> str:
    return path.name[path.name.index(".") :]


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
        path, pattern = files.matrices[number], files.patterns[number]
        if self._held is None or self._held[0] != path:
            pointers, columns, values = _format("A", path).read_rows(path, *self._rows)
            limit = np.iinfo(PETSc.IntType).max
            if pointers[-1] > limit:
                raise DataError(
                    f"{path} has {pointers[-1]} nonzeros in the rows of one process, and this "
                    f"PETSc counts up to {limit}: run on more processes"
                )
            csr = (
                pointers.astype(PETSc.IntType),
                columns.astype(PETSc.IntType),
                values.astype(PETSc.ScalarType),
            )
            if self._mat is None or self._held is None or self._held[1] != pattern:
                sizes = (self._local, files.size)
                self._mat = PETSc.Mat().createAIJ((sizes, sizes), csr=csr, comm=self._comm)
            else:
                self._mat.setValuesCSR(*csr)
                self._mat.assemble()
            self._held = (path, pattern)
        assert self._mat is not None
        rhs = self._mat.createVecLeft()
        entries = _format("rhs", files.rhs[number]).read_entries(files.rhs[number], *self._rows)
        rhs.setArray(entries.astype(PETSc.ScalarType))
        return self._mat, rhs
