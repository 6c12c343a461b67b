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
from kryloset.krylov.ensemble.triangle import LowerTriangle, Singles, address, aligned, load_sweeps

type Numbers = NDArray[np.float64]

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
        self._top, self._peak = np.ones(own), np.ones(lanes)

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

    @property
    def flops(self) -> int:
        """Operations of one `set_up` in floating point, all lanes together."""
        t = self._triangle
        return int(2 * (len(self._pairs) + 3 * t.size + t.rows) * self._m.shape[1])

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """Factor the matrices, and return which lanes have a factor, (lanes) or (1).

        A lane without one, whose matrix is not positive definite or not finite, gets the identity.

        Args:
            entries: (nnz, own), C-contiguous.
        """
        t, own = self._triangle, entries.shape[1]
        diagonal = np.where(t.diagonal[:, None] < 0, 0.0, entries[t.diagonal])
        with np.errstate(all="ignore"):
            top = diagonal.max(axis=0)
            hopeful = np.isfinite(top) & (diagonal.min(axis=0) > 0)
            self._top = np.where(hopeful, top, 1.0)
            roots = np.sqrt(self._top / diagonal).astype(np.float32)
        row, status = aligned(self._widest, own), np.empty(own, dtype=np.int32)
        shift = aligned(1, own)
        self._eliminate(entries, roots, shift, row, status)
        for size in SHIFTS:
            small = hopeful & (status == SMALL)
            if not small.any():
                break
            shift[0, small] = size
            self._eliminate(entries, roots, shift, row, status)
        return self._give_up(hopeful & (status == 0))

    def apply(self, x: Numbers, y: Numbers) -> None:
        """Set y to the solution of the factorised systems with right-hand sides x, (n, lanes)."""
        t, lanes, own = self._triangle, x.shape[1], self._m.shape[1]
        widths = (t.rows, lanes, own)
        scale = address(self._scale)
        z, peak = address(self._work), address(self._peak)
        self._kernels.kryloset_sweeps_narrow(*widths, scale, address(x), z, peak)
        pattern = (address(t.offsets), address(t.columns))
        self._kernels.kryloset_sweeps_solve(*widths, *pattern, address(self._m), z)
        self._peak /= self._top
        self._kernels.kryloset_sweeps_widen(*widths, scale, z, peak, address(y))

    def _eliminate(
        self,
        entries: Numbers,
        roots: Singles,
        shift: Singles,
        row: Singles,
        status: NDArray[np.int32],
    ) -> None:
        t = self._triangle
        self._scale[:] = roots
        status[:] = 0
        pattern = (address(array) for array in (t.offsets, t.columns, t.places))
        pairs = (address(self._pair_offsets), address(self._pairs))
        numbers = (address(entries), address(self._top), address(shift))
        made = (address(array) for array in (self._m, self._scale, row, status))
        self._kernels.kryloset_sweeps_eliminate(
            t.rows, entries.shape[1], *pattern, *pairs, *numbers, LEAST, *made
        )

    def _give_up(self, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Put the identity in place of what is not usable."""
        if not usable.all():
            self._m[:, ~usable] = 0.0
            self._scale[:, ~usable] = 1.0
            self._top[~usable] = 1.0
        return usable
