# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The sparsity pattern that the matrices of an ensemble share."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where a square sparse matrix has entries, in compressed rows. Two are equal if they are one.

    Attributes:
        offsets: (n + 1), where the entries of each row begin.
        columns: (nnz), the column of each entry, ascending in a row.
    """

    offsets: NDArray[np.int32]
    columns: NDArray[np.int32]

    @classmethod
    def of(cls, matrix: PETSc.Mat) -> Self:
        """Return the pattern of a serial AIJ matrix."""
        offsets, columns = matrix.getRowIJ()
        return cls(np.array(offsets, dtype=np.int32), np.array(columns, dtype=np.int32))

    @property
    def rows(self) -> int:
        """Number n of rows."""
        return len(self.offsets) - 1

    @property
    def size(self) -> int:
        """Number of entries of one matrix."""
        return len(self.columns)

    @cached_property
    def diagonal(self) -> NDArray[np.int32]:
        """(n), the place of each diagonal entry among the entries; -1 where there is none."""
        rows = np.repeat(np.arange(self.rows, dtype=np.int32), np.diff(self.offsets))
        places = np.full(self.rows, -1, dtype=np.int32)
        on = np.flatnonzero(rows == self.columns)
        places[rows[on]] = on
        return places

    def find(
        self, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]]
    ) -> NDArray[np.int32]:
        """Return the places of some entries among the entries; -1 where there is none.

        Args:
            rows: The row of each.
            columns: The column of each; both shapes are broadcast.
        """
        n = np.int64(self.rows)
        keys = np.repeat(np.arange(n), np.diff(self.offsets)) * n + self.columns
        wanted = rows * n + columns
        found = np.searchsorted(keys, wanted).astype(np.int32)
        found[keys.take(found, mode="clip") != wanted] = -1
        return found
