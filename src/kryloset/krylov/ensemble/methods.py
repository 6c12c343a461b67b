# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Conjugate gradients and flexible GMRES of an ensemble, with numbers of their own for each lane.

PETSc's methods run on the Mat of an ensemble, too, with one inner product for all lanes. One lane
that is indefinite or not finite then ends them for all, and what is in a lane changes the last
digits of the others. Here each lane has the iterates that it would have alone. It rests once it has
converged or failed, and the method ends when all lanes rest.
"""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.matrix import EnsembleMatrix
from kryloset.krylov.ensemble.preconditioner import EnsemblePreconditioner
from kryloset.krylov.ensemble.vectors import Numbers, Vectors, address, combine, dot, kernels
from kryloset.krylov.reason import Reason

PATIENCE = 4
"""Once half of the lanes rest, the others may take this many times the iterations so far, and
`GRACE` more. Beyond, they are solved alone and do not hold up the rest."""

GRACE = 10
"""See `PATIENCE`."""


@dataclass
class Progress:
    """How far each lane is.

    Attributes:
        live: (lanes), whether it still iterates.
        iterations: (lanes), with those of earlier runs.
        reasons: (lanes), why it rests, a number of `Reason`.
        limit: iterations after which every lane rests.
        patient: whether half of the lanes are not yet at rest.
    """

    live: NDArray[np.bool_]
    iterations: NDArray[np.int64]
    reasons: NDArray[np.int64]
    limit: int
    patient: bool = True

    @classmethod
    def of(cls, live: NDArray[np.bool_], limit: int, before: NDArray[np.int64]) -> Self:
        """Return the beginning; lanes that do not take part have converged.

        Args:
            live: (lanes), which take part.
            limit: of all iterations.
            before: (lanes), those that were taken already.
        """
        reasons = np.full(len(live), int(Reason.CONVERGED))
        return cls(live.copy(), before.copy(), reasons, limit)

    def rest(self, lanes: NDArray[np.bool_], reason: Reason) -> None:
        """Let those of some lanes rest that are live."""
        lanes = self.live & lanes
        self.reasons[lanes] = reason
        self.live &= ~lanes

    def count(self) -> None:
        """Count an iteration of the lanes that are live."""
        self.iterations += self.live

    def limit_wait(self, waited_for: NDArray[np.bool_], taking_part: int) -> None:
        """Let lanes rest that have reached the limit, or that keep most others waiting."""
        if self.patient and 2 * int(waited_for.sum()) <= taking_part:
            self.patient = False
            self.limit = min(self.limit, PATIENCE * int(self.iterations.max()) + GRACE)
        self.rest(waited_for & (self.iterations >= self.limit), Reason.ITERATION_LIMIT)


def iterate_cg(
    matrix: EnsembleMatrix,
    preconditioner: EnsemblePreconditioner,
    x: Numbers,
    r: Numbers,
    targets: Numbers,
    progress: Progress,
    work: Vectors,
) -> None:
    """Run conjugate gradients on the lanes that are live.

    Sources: Y. Saad, Iterative Methods for Sparse Linear Systems, 2003, algorithm 9.1; beta is
    z'(r - r_before) / z_before'r_before, for preconditioners that vary a little, by rounding or by
    iterations inside (G. Golub and Q. Ye, SIAM J. Sci. Comput. 21, 1999).

    Args:
        matrix: symmetric positive definite. A lane that is not rests when that shows.
        preconditioner: symmetric positive definite.
        x: (n, lanes), the first solutions; changed.
        r: (n, lanes), b - A x; changed.
        targets: (lanes), the norms of r at which lanes rest.
        progress: changed.
        work: overwritten.
    """
    z, p, q = work[0], work[1], work[2]
    p[:], q[:] = 0.0, 0.0
    live, alpha, product, curvature, squares = np.zeros((5, matrix.lanes))
    product[:] = 1.0
    # In one call, since a call takes as long as small systems do.
    given = (z, p, q, x, r, live, alpha, product, curvature, squares)
    step = partial(kernels().kryloset_lanes_conjugate, *matrix.addresses, *map(address, given))
    goals, taking_part = targets**2, int(progress.live.sum())
    while progress.live.any():
        preconditioner.apply(r, z)
        live[:] = progress.live
        step()
        progress.rest(~np.isfinite(product + curvature + squares), Reason.NON_FINITE)
        progress.rest((product <= 0.0) | (curvature <= 0.0), Reason.NOT_POSITIVE_DEFINITE)
        progress.count()
        progress.rest(squares <= goals, Reason.CONVERGED)
        progress.limit_wait(progress.live, taking_part)


def iterate_gmres(
    matrix: EnsembleMatrix,
    preconditioner: EnsemblePreconditioner,
    x: Numbers,
    r: Numbers,
    targets: Numbers,
    progress: Progress,
    work: Vectors,
    restart: int,
) -> None:
    """Run flexible GMRES, preconditioned from the right, on the lanes that are live.

    It keeps M^-1 v, so that rounding in single precision in M^-1 does no harm (Y. Saad, SIAM J.
    Sci. Comput. 14, 1993, algorithm 2.2).

    Args:
        matrix: any; this and the following as in `iterate_cg`.
        preconditioner: any.
        x: changed.
        r: changed.
        targets: norms of r.
        progress: changed.
        work: overwritten.
        restart: most directions in a cycle.
    """
    one, b = np.ones(matrix.lanes), work[0]
    taking_part = int(progress.live.sum())
    while progress.live.any():
        began = progress.live.astype(np.float64)
        b[:] = r
        change = _cycle(matrix, preconditioner, r, targets, progress, work, restart, taking_part)
        squares = matrix.subtract(change, b, r)
        # A lane that rested before keeps its x.
        combine(one, x, began, change, x)
        progress.rest(~np.isfinite(squares), Reason.NON_FINITE)
        progress.rest(squares <= targets**2, Reason.CONVERGED)
        progress.limit_wait(progress.live, taking_part)


def _cycle(
    matrix: EnsembleMatrix,
    preconditioner: EnsemblePreconditioner,
    r: Numbers,
    targets: Numbers,
    progress: Progress,
    work: Vectors,
    restart: int,
    taking_part: int,
) -> Numbers:
    """Return the change of x (n, lanes) in a cycle that begins with residuals r."""
    lanes = matrix.lanes
    one, zero = np.ones(lanes), np.zeros(lanes)
    # By rows and columns of the triangular factor R of the Hessenberg matrix.
    triangle = np.zeros((restart, restart, lanes))
    cosines, sines = np.zeros((2, restart, lanes))
    left = np.zeros((restart + 1, lanes))
    columns = np.zeros(lanes, dtype=np.int64)
    live, count = progress.live.copy(), 0
    change, basis, images = work[1], [work[2]], []
    left[0] = np.sqrt(dot(r, r))
    combine(_inverse(left[0], live), r, zero, r, basis[0])
    for k in range(restart):
        image, w = work[3 + 2 * k], work[4 + 2 * k]
        preconditioner.apply(basis[k], image)
        images.append(image)
        squares = matrix.multiply(image, w)
        column = np.zeros((k + 2, lanes))
        for i in range(k + 1):
            column[i] = dot(basis[i], w)
            squares = combine(one, w, -column[i], basis[i], w)
        column[k + 1] = np.sqrt(squares)
        finite = np.isfinite(column).all(axis=0)
        progress.rest(live & ~finite, Reason.NON_FINITE)
        live &= finite
        columns += live
        progress.iterations += live
        count = k + 1
        for i in range(k):
            upper = cosines[i] * column[i] + sines[i] * column[i + 1]
            column[i + 1] = cosines[i] * column[i + 1] - sines[i] * column[i]
            column[i] = upper
        size = np.hypot(column[k], column[k + 1])
        inverse = _inverse(size, live)
        cosines[k], sines[k] = column[k] * inverse, column[k + 1] * inverse
        triangle[:k, k], triangle[k, k] = column[:k], size
        left[k], left[k + 1] = cosines[k] * left[k], -sines[k] * left[k]
        # With nothing to add, the space holds the solution, or the matrix is singular.
        live &= (np.abs(left[k + 1]) > targets) & (column[k + 1] > 0.0)
        progress.limit_wait(live, taking_part)
        live &= progress.live
        if not live.any():
            break
        combine(_inverse(column[k + 1], live), w, zero, w, w)
        basis.append(w)
    change[:] = 0.0
    weights = np.zeros((count, lanes))
    for k in reversed(range(count)):
        rest = left[k] - np.einsum("jl,jl->l", triangle[k, k + 1 : count], weights[k + 1 :])
        weights[k] = np.where(k < columns, rest * _inverse(triangle[k, k], k < columns), 0.0)
        progress.rest((k < columns) & (triangle[k, k] == 0.0), Reason.BREAKDOWN)
    for weight, image in zip(weights, images, strict=True):
        combine(weight, image, one, change, change)
    return change


def _inverse(numbers: Numbers, where: NDArray[np.bool_]) -> Numbers:
    """Return 1 / numbers where they are positive and it is asked for, else 0."""
    return np.divide(1.0, numbers, out=np.zeros_like(numbers), where=where & (numbers > 0.0))
