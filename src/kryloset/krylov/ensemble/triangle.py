# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lower triangle of a symmetric pattern, which is all that sweeps in C read of a matrix."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.native.kernels import load_kernels

type Singles = NDArray[np.float32]

ALIGNMENT = 64
"""Bytes of a line of the cache: sixteen numbers of a row then are in one."""


@dataclass(frozen=True, eq=False)
class LowerTriangle:
    """Entries below the diagonal of a symmetric pattern.

    Attributes:
        offsets: (n + 1), where the entries of each row begin.
        columns: (count), the column of each entry, ascending in a row.
        places: (count), its place among the entries of the matrix; -1 if it has none.
        diagonal: (n), the place of the diagonal entry of each row; -1 if it has none.
    """

    offsets: NDArray[np.int32]
    columns: NDArray[np.int32]
    places: NDArray[np.int32]
    diagonal: NDArray[np.int32]

    @classmethod
    def of(cls, pattern: Pattern) -> Self:
        """Return the triangle of a pattern that has an entry (j, i) for each entry (i, j)."""
        rows = np.repeat(np.arange(pattern.rows), np.diff(pattern.offsets))
        places = np.flatnonzero(rows > pattern.columns).astype(np.int32)
        offsets = row_offsets(rows[places], pattern.rows)
        return cls(offsets, pattern.columns[places], places, pattern.diagonal)

    def filled(self) -> Self:
        """Return this triangle with the entries that complete elimination fills. For few rows."""
        n = self.rows
        place = np.full((n, n), -1, dtype=np.int32)
        rows = np.repeat(np.arange(n), np.diff(self.offsets))
        place[rows, self.columns] = self.places
        there = np.zeros((n, n), dtype=bool)
        there[rows, self.columns] = True
        for column in range(n):
            below = column + 1 + np.flatnonzero(there[column + 1 :, column])
            there[np.ix_(below, below)] = True
        rows, columns = np.nonzero(np.tril(there, -1))
        places = place[rows, columns]
        return type(self)(row_offsets(rows, n), columns.astype(np.int32), places, self.diagonal)

    @property
    def rows(self) -> int:
        """Number n of rows."""
        return len(self.diagonal)

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.columns)


def load_sweeps() -> Any:
    """Return the kernels of sweeps.c. Without a C compiler ensembles are not solved together."""
    kernels = load_kernels()
    assert kernels is not None
    return kernels


def row_offsets(rows: NDArray[np.integer[Any]], count: int) -> NDArray[np.int32]:
    """Return (count + 1), where the entries of each row begin, if their rows ascend."""
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=count)))).astype(np.int32)


def aligned(*shape: int) -> Singles:
    """Return zeros in single precision, (shape), at the beginning of a line of the cache."""
    size = int(np.prod(shape)) * 4
    raw = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(np.float32).reshape(shape)
