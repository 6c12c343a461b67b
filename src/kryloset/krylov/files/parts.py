# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What every format of matrices and vectors says of a file, and the faults that all can have."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError

SCALAR = np.dtype(PETSc.ScalarType)
"""The type of numbers of this PETSc."""


class MatrixFile(NamedTuple):
    """A matrix whose file was checked.

    Attributes:
        size: Number of rows, and of columns.
        pattern: A digest of the sparsity pattern.
        triangle: `upper` or `lower` if it has entries on one side of the diagonal only; else "".
    """

    size: int
    pattern: bytes
    triangle: str


class Format(Protocol):
    """A format of files."""

    def check_matrix(self, path: Path) -> MatrixFile:
        """Read the file of a sparse matrix from beginning to end.

        Raises:
            DataError: The file cannot be read, is damaged or of another format, or the matrix is
                not square or not finite.
        """

    def check_vector(self, path: Path) -> int:
        """Read the file of a vector from beginning to end, and return its size.

        Raises:
            DataError: As `check_matrix`.
        """

    def read_rows(
        self, path: Path, first: int, last: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return row pointers, columns and values of the rows from `first` to `last` - 1.

        Raises:
            DataError: The file cannot be read any more.
        """

    def read_entries(self, path: Path, first: int, last: int) -> NDArray[Any]:
        """Return the entries of a vector from `first` to `last` - 1.

        Raises:
            DataError: The file cannot be read any more.
        """


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into an error for people.

    Raises:
        DataError: It cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def require_square(path: Path, rows: int, columns: int) -> None:
    """Refuse a matrix that is not square.

    Raises:
        DataError: It is not.
    """
    if rows != columns:
        raise DataError(
            f"{path} is {rows} x {columns}: a system needs a square matrix; if it was, the file "
            "is damaged: write it again"
        )


def not_finite(path: Path, entry: str, value: Any) -> DataError:
    """Return the error for an entry that is NaN or infinite."""
    return DataError(
        f"{path}: entry {entry} is {value}, finite numbers are expected: look at what assembled it"
    )


def of_complex_numbers(path: Path) -> DataError:
    """Return the error for a file of complex numbers where PETSc has real ones."""
    return DataError(
        f"{path} holds complex numbers, and this PETSc works with real ones: `make complex` in a "
        "clone makes an environment with a PETSc of complex numbers, .venv-complex/, whose "
        "`kryloset solve-sequence` reads it; or write the system in real and imaginary parts"
    )
