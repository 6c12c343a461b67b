# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Incomplete Cholesky factors of an ensemble without fill, IC(0), in single precision (sweeps.c).

With T = diag(A)^(-1/2), the matrix T A T has ones on its diagonal, and no entry leaves the range
of single precision. It is approximated by R M M' R: M is lower triangular with ones on its
diagonal and the pattern of A, R is diagonal, and the product equals T A T at the entries of the
pattern (J. Meijerink and H. van der Vorst, Math. Comp. 31, 1977). Both sweeps read M by rows.

Where a pivot of a lane is too small, a multiple of the diagonal is added to that lane's matrix,
and a larger one until all are large enough (T. Manteuffel, Math. Comp. 34, 1980).
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.triangle import LowerTriangle, Singles, aligned, load_sweeps
from kryloset.krylov.ensemble.vectors import Numbers, address

SMALL = 1
"""What C says of a lane with a pivot that is too small, but a number."""

LEAST = 1e-5
"""The smallest pivot that is accepted of a matrix with ones on its diagonal."""

SHIFTS = (0.01, 0.04, 0.16, 0.64)
"""What is added to the ones on the diagonal, one after another, until no pivot is too small."""


class IncompleteCholesky:
    """Factors of symmetric positive definite matrices with one pattern, and their application."""

    def __init__(self, triangle: LowerTriangle, own: int, lanes: int) -> None:
        """Find the products that an elimination takes. `analyse` is for a pattern."""
        self._kernels = load_sweeps()
        self._triangle = triangle
        self._widest = int(np.diff(triangle.offsets).max(initial=0))
        place = np.full(triangle.rows, -1, dtype=np.int32)
        self._pair_offsets = np.empty(triangle.size + 1, dtype=np.int64)
        given = (triangle.rows, address(triangle.offsets), address(triangle.columns))
        found = (address(place), address(self._pair_offsets))
        count = self._kernels.kryloset_sweeps_pairs(*given, *found, 0)
        self._pairs = np.empty((count, 2), dtype=np.int32)
        self._kernels.kryloset_sweeps_pairs(*given, *found, address(self._pairs))
        self._m, self._scale = aligned(triangle.size, own), aligned(triangle.rows, own)
        self._work = aligned(triangle.rows, lanes)
        self._peak, self._squares = np.ones((2, lanes))

    @classmethod
    def analyse(cls, pattern: Pattern, own: int, lanes: int) -> Self:
        """Return the factors of a pattern, before the entries are known.

        Args:
            pattern: of each matrix, symmetric.
            own: number of matrices: `lanes`, or 1 if all lanes share one.
            lanes: number of right-hand sides: 4, 8 or 16.
        """
        return cls(LowerTriangle.of(pattern), own, lanes)

    @property
    def bytes(self) -> int:
        """Memory that the factors take."""
        return self._m.nbytes + self._scale.nbytes + self._work.nbytes

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """Factor the matrices, and return which lanes have a factor, (lanes) or (1).

        A lane without one, whose matrix is not positive definite or not finite, gets the identity.

        Args:
            entries: (nnz, own), C-contiguous.
        """
        own = entries.shape[1]
        row, shift = aligned(self._widest, own), aligned(1, own)
        status = self._eliminate(entries, shift, row)
        for size in SHIFTS:
            small = status == SMALL
            if not small.any():
                break
            shift[0, small] = size
            status = self._eliminate(entries, shift, row)
        usable = np.asarray(status == 0)
        if not usable.all():
            self._m[:, ~usable] = 0.0
            self._scale[:, ~usable] = 1.0
        return usable

    def apply(self, x: Numbers, y: Numbers) -> None:
        """Set y to the solution of the factorised systems with right-hand sides x, (n, lanes)."""
        t, lanes, own = self._triangle, x.shape[1], self._m.shape[1]
        widths = (t.rows, lanes, own)
        scale = address(self._scale)
        z, peak, squares = (address(array) for array in (self._work, self._peak, self._squares))
        self._kernels.kryloset_sweeps_narrow(*widths, scale, address(x), z, peak, squares)
        pattern = (address(t.offsets), address(t.columns))
        self._kernels.kryloset_sweeps_solve(*widths, *pattern, address(self._m), z)
        self._kernels.kryloset_sweeps_widen(*widths, scale, z, peak, address(y))

    def _eliminate(self, entries: Numbers, shift: Singles, row: Singles) -> NDArray[np.int32]:
        """Make the factors with shifts (1, own) of the diagonal, and return what C says of them."""
        t, own = self._triangle, entries.shape[1]
        status = np.zeros(own, dtype=np.int32)
        numbers, scale, said = address(entries), address(self._scale), address(status)
        self._kernels.kryloset_sweeps_scale(t.rows, own, address(t.diagonal), numbers, scale, said)
        pattern = (address(array) for array in (t.offsets, t.columns, t.places))
        pairs = (address(self._pair_offsets), address(self._pairs))
        made = (address(self._m), scale, address(row), said)
        self._kernels.kryloset_sweeps_eliminate(
            t.rows, own, *pattern, *pairs, numbers, address(shift), LEAST, *made
        )
        return status
