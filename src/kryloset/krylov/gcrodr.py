# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""GCRO-DR(m, k): GMRES with deflated restarting that recycles its subspace.

M. L. Parks, E. de Sturler, G. Mackey, D. D. Johnson and S. Maiti, "Recycling Krylov
subspaces for sequences of linear systems", SIAM J. Sci. Comput. 28 (2006) 1651-1674,
here preconditioned from the left (B = M^-1 A in place of A) or from the right (B = A M^-1).
The notation is that paper's.
"""

import time

from petsc4py import PETSc

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.linalg.blas import dgemv

from kryloset.krylov.dense import Array, combine, harmonic_subspace, orthonormalise, sum_over_ranks
from kryloset.krylov.recycling_ksp import RecyclingKSP

EPSILON = float(np.finfo(np.float64).eps)

REORTHOGONALISE = 0.5
"""A vector that lost more than this part of its squared length is orthogonalised again."""

STAGNATION_CYCLES = 20
"""Cycles over which the true residual has to fall ..."""

STAGNATION_FACTOR = 0.99
"""... to at most this part of what it was."""

MISMATCH = 10.0
"""Ratio of computed to implicit residual at which B U = C is no longer believed."""


class GCRODR(RecyclingKSP):
    """GCRO-DR(m, k) as a Python context of a PETSc KSP, from the left (default) or the right.

    A system starts with C R = qr(B Y), U = Y R^-1: k applications of A and of M^-1. A cycle
    takes m - k Arnoldi steps with (I - C C') B (m when nothing is recycled: GMRES(m)),
    minimises the residual (preconditioned, from the left) over range([U V]) and takes the k
    harmonic Ritz vectors of smallest modulus as the next U.

    Within a cycle the norms reported are the recurrence's (from the left: in proportion to
    the last computed one); when one passes the test, b - A x is computed, and the cycle goes
    on if that does not pass.

    From the left the directions approximate eigenvectors in the variable x, which changes
    less from system to system than M x does when M changes with A.

    Memory: m + 1 vectors for [C V], k for U, 4 for work.
    """

    NAME = "gcrodr"
    LABEL = "GCRO-DR"
    SIDES = (PETSc.PC.Side.LEFT, PETSc.PC.Side.RIGHT)

    def __init__(self, restart: int = 40, recycle: int = 20) -> None:
        """Make a context for GCRO-DR(restart, recycle).

        Raises:
            ValueError: unless 0 <= recycle < restart.
        """
        super().__init__(restart, recycle)
        self._block: Array = np.zeros((0, 0), order="F")

    def _allocate(self, ksp: PETSc.KSP, operator: PETSc.Mat) -> None:
        self._left = ksp.getPCSide() == PETSc.PC.Side.LEFT
        if np.dtype(PETSc.ScalarType).kind == "c":
            raise ValueError("GCRO-DR works with real numbers: use a PETSc built for them")
        rows = operator.getLocalSize()[0]
        if self._block.shape == (rows, self.restart + 1):
            return
        self._block = np.zeros((rows, self.restart + 1), order="F")
        # A column is a PETSc Vec without a copy; wrapped once, since wrapping costs.
        self._columns = [
            PETSc.Vec().createWithArray(self._block[:, i], comm=operator.comm)
            for i in range(self.restart + 1)
        ]
        self._u = np.zeros((rows, self.recycle), order="F")
        self._combined, self._image, self._candidate, self._residual = (
            operator.createVecRight() for _ in range(4)
        )
        self._work = np.zeros(self.restart + 1)
        # Column j: the coefficients of A M^-1 v_j in [C V], the last one its remainder.
        self._coefficients = np.zeros((self.restart + 1, self.restart), order="F")

    def _release(self) -> None:
        self._block = np.zeros((0, 0), order="F")

    # The method

    def _iterate(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> int:
        """Rebuild C, then run cycles until the test speaks or nothing moves any more."""
        self._b, self._x = b, x
        self._held = 0
        if self.space is not None and self.recycle > 0:
            self._rebuild(self.space[:, : self.recycle])
            self.counts.recycled = self._held
        reason = self._run_cycles(ksp)
        self.space = self._u[:, : self._held] if self._held else None
        return reason

    def _run_cycles(self, ksp: PETSc.KSP) -> int:
        diverged = PETSc.KSP.ConvergedReason
        limit = ksp.getTolerances()[3]
        if ksp.getInitialGuessNonzero():
            self._compute_residual(self._b, self._x, self._residual)
        else:
            self._b.copy(self._residual)
        its = doubts = 0
        norm = self._residual.norm()
        self._log(ksp, its, norm)
        reason = int(ksp.callConvergenceTest(its, norm))
        measure, remainder = self._begin_cycle() if reason == 0 else (norm, norm)
        history = [measure]
        while reason == 0:
            if its >= limit:
                reason = diverged.DIVERGED_MAX_IT
                break
            its, steps, implicit, reason = self._arnoldi(ksp, its, limit, norm, measure, remainder)
            if reason < 0:
                break
            if reason == 0:
                self._try_solution(steps, remainder)
            norm = self._residual.norm()
            self._log(ksp, its, norm)
            reason = int(ksp.callConvergenceTest(its, norm))
            self._update_space(steps, images=reason <= 0)
            if reason > 0:
                self._candidate.copy(self._x)
                break
            previous = measure
            measure, remainder = self._begin_cycle()
            if self._held and not measure <= MISMATCH * implicit + EPSILON * history[0]:
                # The cycle kept less than it promised: either B U = C has drifted (make C
                # again) or U is no good (go on without).
                doubts += 1
                if measure <= previous:
                    self._candidate.copy(self._x)
                if doubts == 1:
                    self._rebuild(self._u[:, : self._held])
                else:
                    self._held = 0
                self._compute_residual(self._b, self._x, self._residual)
                norm = self._residual.norm()
                measure, remainder = self._begin_cycle()
            else:
                self._candidate.copy(self._x)
            history.append(measure)
            if (
                reason == 0
                and len(history) > STAGNATION_CYCLES
                and not (measure <= STAGNATION_FACTOR * history[-1 - STAGNATION_CYCLES])
            ):
                reason = diverged.DIVERGED_BREAKDOWN
        return int(reason)

    def _begin_cycle(self) -> tuple[float, float]:
        """Put the (preconditioned) residual beside C and orthogonalise it against C.

        Returns:
            Its norm, which is what a cycle minimises, before and after.
        """
        start = self._columns[self._held]
        if self._left and not self._identity:
            self._pc.apply(self._residual, start)
        else:
            self._residual.copy(start)
        if self._left:
            self.counts.preconditioner += 1
        norms = self._orthogonalise(self._held)
        # The part of the residual in range(C), for the least-squares problem.
        self._projection = self._work[: self._held].copy()
        return norms

    def _apply(self, source: PETSc.Vec, target: PETSc.Vec) -> None:
        """Set target to B source."""
        if self._identity:
            self._operator.mult(source, target)
        elif self._left:
            self._operator.mult(source, self._image)
            self._pc.apply(self._image, target)
        else:
            self._pc.apply(source, self._image)
            self._operator.mult(self._image, target)
        self.counts.operator += 1
        self.counts.preconditioner += 1

    def _orthogonalise(self, column: int) -> tuple[float, float]:
        """Orthogonalise a column of the block against all columns before it.

        Classical Gram-Schmidt, a second time when cancellation asks for it. The vector's
        own square is one more entry of the product, so that a pass is one matrix-vector
        product, one reduction and one update.

        Returns:
            The norm before and the norm after; after is 0.0 when the vector lies in the
            span to working accuracy. The coefficients are left in `self._work[:column]`.
        """
        vector = self._block[:, column]
        basis = self._block[:, :column]
        extended = self._block[:, : column + 1].T
        products = sum_over_ranks(np.dot(extended, vector), self._comm)
        coefficients = self._work[:column]
        coefficients[:] = products[:column]
        before = products[column]
        after = before - np.dot(coefficients, coefficients)
        self._subtract(basis, coefficients, vector)
        if after < REORTHOGONALISE * before:
            products = sum_over_ranks(np.dot(extended, vector), self._comm)
            correction = products[:column]
            coefficients += correction
            self._subtract(basis, correction, vector)
            left = products[column]
            after = left - np.dot(correction, correction)
            # Twice is enough: what shrinks again is rounding.
            if after < REORTHOGONALISE * left or after <= EPSILON**2 * before:
                after = 0.0
        return float(np.sqrt(before)), float(np.sqrt(after))

    @staticmethod
    def _subtract(basis: Array, coefficients: Array, vector: Array) -> None:
        """Set vector -= basis @ coefficients in place."""
        if basis.size:
            dgemv(-1.0, basis, coefficients, 1.0, vector, overwrite_y=1)

    def _arnoldi(
        self,
        ksp: PETSc.KSP,
        its: int,
        limit: int,
        norm: float,
        measure: float,
        remainder: float,
    ) -> tuple[int, int, float, int]:
        """Take the steps of a cycle: (I - C C') B V_j = V_{j+1} H and C' B V_j.

        The norm of the cycle's least-squares residual needs no rotations: it is
        remainder / ||q|| with q_1 = 1 and q' H = 0, and q grows by one entry a step.

        Returns:
            The iteration number, the steps taken, the implicit residual norm and the
            reason: positive if the candidate was computed and passed, negative to give up.
        """
        held = self._held
        if not np.isfinite(measure):
            return its, 0, measure, PETSc.KSP.ConvergedReason.DIVERGED_NANORINF
        if not remainder > EPSILON * measure:
            # The residual lies in range(C), and U alone removes it. Counted as a step,
            # since PETSc takes iteration 0 for the start.
            self._columns[held].set(0.0)
            return its + 1, 0, 0.0, 0
        self._columns[held].scale(1.0 / remainder)
        # What an earlier cycle with another number of directions left below the diagonals.
        self._coefficients[:] = 0.0
        null = np.zeros(self.restart - held + 1)
        null[0] = square = 1.0
        implicit = remainder
        steps = 0
        last = min(self.restart - held, limit - its)
        while steps < last:
            column = held + steps + 1
            self._apply(self._columns[column - 1], self._columns[column])
            before, after = self._orthogonalise(column)
            if not np.isfinite(before):
                return its, steps, before, PETSc.KSP.ConvergedReason.DIVERGED_NANORINF
            self._coefficients[:column, steps] = self._work[:column]
            self._coefficients[column, steps] = after
            its += 1
            steps += 1
            if after == 0.0:
                self._columns[column].set(0.0)
                return its, steps, 0.0, 0
            self._columns[column].scale(1.0 / after)
            null[steps] = -np.dot(null[:steps], self._work[held:column]) / after
            square += null[steps] ** 2
            implicit = remainder / float(np.sqrt(square))
            if steps == last:
                break
            # Tested before it is logged: the last step of a cycle is logged with the
            # computed norm.
            estimate = implicit * (norm / measure)
            reason = int(ksp.callConvergenceTest(its, estimate))
            if reason > 0:
                self._try_solution(steps, remainder)
                computed = self._residual.norm()
                reason = int(ksp.callConvergenceTest(its, computed))
                if reason > 0:
                    return its, steps, implicit, reason
                norm, measure, estimate = computed, implicit, computed
            self._log(ksp, its, estimate)
            if reason < 0:
                return its, steps, implicit, reason
        return its, steps, implicit, 0

    def _try_solution(self, steps: int, remainder: float) -> None:
        """Set the candidate to x plus the minimiser over range([U V]), and its residual."""
        held = self._held
        b = self._coefficients[:held, :steps]
        h = self._coefficients[held : held + steps + 1, :steps]
        target = np.zeros(steps + 1)
        target[0] = remainder
        y = np.linalg.lstsq(h, target, rcond=None)[0]
        update = self._combined.getArray()
        update[:] = 0.0
        self._subtract(self._block[:, held : held + steps], -y, update)
        self._subtract(self._u[:, :held], np.dot(b, y) - self._projection, update)
        # Written behind PETSc's back: its cached norms are stale.
        self._combined.stateIncrease()
        if self._left:
            self._candidate.waxpy(1.0, self._combined, self._x)
        else:
            self._pc.apply(self._combined, self._image)
            self.counts.preconditioner += 1
            self._candidate.waxpy(1.0, self._image, self._x)
        self._compute_residual(self._b, self._candidate, self._residual)

    def _rebuild(self, y: Array) -> None:
        """Make C R = qr(B Y) and U = Y R^-1 for the present operator."""
        start = time.perf_counter()
        size = y.shape[1]
        for i in range(size):
            self._combined.placeArray(y[:, i])
            self._apply(self._combined, self._columns[i])
            self._combined.resetArray()
        transform = orthonormalise(self._block[:, :size], self._comm)
        self._held = transform.shape[1]
        u, c = self._u[:, : self._held], self._block[:, : self._held]
        combine(u, (y, transform))
        products = sum_over_ranks(np.concatenate([np.dot(c.T, u), np.dot(u.T, u)]), self._comm)
        self._cu, self._uu = products[: self._held], products[self._held :]
        self.counts.rebuild += time.perf_counter() - start

    def _update_space(self, steps: int, images: bool) -> None:
        """Replace U and C by those of the harmonic Ritz vectors wanted of [U V].

        W = [C V_{j+1}], G = [D C'BV_j; 0 H] and B [U D  V_j] = W G, D scaling U to unit
        columns. C'U and U'U follow from the small matrices; only V'U costs a product. C is
        left alone unless its `images` are still needed: the next system makes its own.
        """
        if self.recycle == 0 or self._held + steps == 0:
            return
        held, size = self._held, self._held + steps
        v = self._block[:, held : size + 1]
        length = np.sqrt(np.maximum(self._uu.diagonal(), 0.0)) if held else np.zeros(0)
        d = 1 / length
        g = np.zeros((size + 1, size))
        g[range(held), range(held)] = d
        g[:, held:] = self._coefficients[: size + 1, :steps]
        wv = np.eye(size + 1, size)
        vv = np.eye(size)
        if held:
            vu = sum_over_ranks(np.dot(v.T, self._u[:, :held]), self._comm) * d
            wv[:held, :held] = self._cu * d
            wv[held:, :held] = vu
            vv[:held, :held] = self._uu * np.outer(d, d)
            vv[held:, :held] = vu[:-1]
            vv[:held, held:] = vu[:-1].T
        p = harmonic_subspace(g, wv, min(self.recycle, size))
        if p.shape[1] == 0:
            self._held = 0
            return
        q, r, pivots = qr(g @ p, mode="economic", pivoting=True)
        # A direction that B maps to rounding has no image to be normalised.
        rank = int(np.count_nonzero(abs(r.diagonal()) > size * EPSILON * np.linalg.norm(g)))
        t = p[:, pivots[:rank]] @ solve_triangular(r[:rank, :rank], np.eye(rank))
        q = q[:, :rank]
        self._cu, self._uu = q.T @ wv @ t, t.T @ vv @ t
        t[:held] *= d[:, None]
        u = self._u[:, :rank]
        combine(u, (self._u[:, :held], t[:held]), (v[:, :steps], t[held:]))
        if images:
            combine(self._block[:, :rank], (self._block[:, : size + 1], q))
        self._held = rank
