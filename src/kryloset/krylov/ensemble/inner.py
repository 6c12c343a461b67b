# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Conjugate gradients in single precision, as a preconditioner of a method in double precision.

Bytes that pass from and to memory limit large ensembles. Numbers in single precision are half as
long, and of a symmetric matrix only the lower triangle is read. So most iterations are done here,
and a few in double precision around them take rounding errors away (A. Buttari, J. Dongarra,
J. Kurzak, P. Luszczek and S. Tomov, ACM Trans. Math. Software 34, 2008). CG in double precision
needs a preconditioner that is nearly linear: this one is, up to `REDUCTION` (G. Golub and Q. Ye,
SIAM J. Sci. Comput. 21, 1999).
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.triangle import aligned, load_sweeps
from kryloset.krylov.ensemble.vectors import Numbers, address

if TYPE_CHECKING:  # It alone imports SciPy.
    from kryloset.krylov.ensemble.multigrid import GeometricMultigrid

REDUCTION = 1e-3
"""Norm of a residual at which a lane rests, relative to its right-hand side: three times that is
less than 1e-8, and fewer, longer runs take as long."""

LIMIT = 15
"""Most iterations."""


class SinglePrecisionCG:
    """Solves the systems of all lanes roughly by CG with cycles of multigrid."""

    def __init__(self, multigrid: "GeometricMultigrid") -> None:
        """Take the preconditioner, and make room for vectors."""
        kernels, finest = load_sweeps(), multigrid.finest
        self._multigrid = multigrid
        rows, lanes, _ = finest.widths
        self._x, self._p, self._q = (aligned(rows, lanes) for _ in range(3))
        self._factor, self._dots = aligned(lanes), np.empty(lanes)
        factor, dots = address(self._factor), address(self._dots)
        x, p, q = map(address, (self._x, self._p, self._q))
        self._turning = partial(
            kernels.kryloset_sweeps_turn,
            *(*finest.widths, *finest.straight, factor, address(finest.x), p, q, dots),
        )
        self._stepping = partial(
            kernels.kryloset_sweeps_step, rows, lanes, factor, p, q, x, address(finest.b), dots
        )

    @property
    def bytes(self) -> int:
        """Memory of the numbers of all lanes."""
        return self._multigrid.bytes + 3 * self._x.nbytes

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """Take new matrices; see `GeometricMultigrid.set_up`."""
        return self._multigrid.set_up(entries)

    def apply(self, x: Numbers, y: Numbers) -> None:
        """Set y (n, lanes) to rough solutions for right-hand sides x (n, lanes).

        A lane whose matrix turns out not to be positive definite rests.
        """
        targets = REDUCTION**2 * self._multigrid.load(x)
        live = targets > 0.0
        before = np.ones(len(live))
        self._x[:] = self._p[:] = 0.0
        for _ in range(LIMIT):
            product = self._multigrid.cycle()
            live &= product > 0.0
            curvature = self._turn(np.where(live, product / before, 0.0))
            live &= curvature > 0.0
            squares = self._step(np.where(live, product / np.where(live, curvature, 1.0), 0.0))
            live &= squares > targets
            if not live.any():
                break
            before = np.where(live, product, 1.0)
        self._multigrid.store(self._x, y)

    def _turn(self, beta: Numbers) -> Numbers:
        """Set p to z + beta p and q to A p; return p'q."""
        self._factor[:] = beta
        self._turning()
        return self._dots

    def _step(self, alpha: Numbers) -> Numbers:
        """Add alpha p to x, subtract alpha q from r, and return r'r."""
        self._factor[:] = alpha
        self._stepping()
        return self._dots
