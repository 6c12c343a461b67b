# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Matrix Market files (`.mtx`, `.mtx.gz`), and those of SciPy (`.npz`) and NumPy (`.npy`).

Matrix Market (Boisvert, Pozo and Remington, NISTIR 5935, 1996) stores one half of a symmetric, skew
or Hermitian matrix and says so; SciPy's reader completes it. Such files are read whole.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Exchange:
    """A `Format` whose files another library reads whole.

    Attributes:
        load: Returns the sparse matrix, or the array, of a file.
        name: What the format is called.
    """

    load: Callable[[Path], Any]
    name: str

    def check_matrix(self, path: Path) -> MatrixFile:
        """Read a matrix; see `Format`."""
        matrix = self._read_matrix(path)
        require_square(path, *matrix.shape)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        finite = np.isfinite(matrix.data)
        if not finite.all():
            place = int(finite.argmin())
            entry = f"({rows[place]}, {matrix.indices[place]})"
            raise not_finite(path, entry, matrix.data[place])
        pattern = hashlib.sha256(np.diff(matrix.indptr).astype(np.int64).tobytes())
        pattern.update(matrix.indices.astype(np.int64).tobytes())
        below, above = bool((matrix.indices < rows).any()), bool((matrix.indices > rows).any())
        triangle = "" if below == above else "lower" if below else "upper"
        return MatrixFile(matrix.shape[0], pattern.digest(), triangle)

    def check_vector(self, path: Path) -> int:
        """Read a vector; see `Format`."""
        values = self._read_vector(path)
        finite = np.isfinite(values)
        if not finite.all():
            place = int(finite.argmin())
            raise not_finite(path, str(place), values[place])
        return len(values)

    def read_rows(
        self, path: Path, first: int, last: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Read a part of a matrix; see `Format`."""
        rows = self._read_matrix(path)[first:last]
        return rows.indptr, rows.indices, rows.data

    def read_entries(self, path: Path, first: int, last: int) -> NDArray[Any]:
        """Read a part of a vector; see `Format`."""
        return self._read_vector(path)[first:last]

    def _read_matrix(self, path: Path) -> Any:
        """Return a matrix in rows, with ascending columns."""
        found = self._load(path)
        if not hasattr(found, "tocsr"):
            raise DataError(f"{path} holds a dense array: write a sparse matrix")
        matrix = found.tocsr()
        matrix.sum_duplicates()  # Matrix Market adds entries in one place; columns are sorted too.
        if not matrix.shape[0]:
            raise DataError(f"{path} holds a matrix of 0 rows")
        matrix.data = self._to_numbers(path, matrix.data)
        return matrix

    def _read_vector(self, path: Path) -> NDArray[Any]:
        found = self._load(path)
        values = np.asarray(found.todense() if hasattr(found, "todense") else found)
        if values.size != max(values.shape, default=0):
            raise DataError(f"{path} has the shape {values.shape}: a right-hand side is a vector")
        return self._to_numbers(path, values.ravel())

    def _load(self, path: Path) -> Any:
        try:
            with readable(path):
                return self.load(path)
        except DataError:
            raise
        except Exception as error:  # of a dozen types
            raise DataError(f"{path} is no file of {self.name}, or damaged: {error}") from None

    def _to_numbers(self, path: Path, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind not in "biufc":
            raise DataError(f"{path} holds {values.dtype}, and must hold numbers")
        if values.dtype.kind == "c" and SCALAR.kind != "c":
            raise of_complex_numbers(path)
        return values.astype(SCALAR)


def _load_matrix_market(path: Path) -> Any:
    from scipy.io import mmread

    return mmread(path, spmatrix=False)


def _load_scipy(path: Path) -> Any:
    from scipy.sparse import load_npz

    return load_npz(path)


def _load_numpy(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


MATRIX_MARKET = Exchange(_load_matrix_market, "Matrix Market")
SCIPY = Exchange(_load_scipy, "scipy.sparse.save_npz")
NUMPY = Exchange(_load_numpy, "numpy.save")
