# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""GCRO-DR(m, k): GMRES with deflated restarting that recycles its subspace.

M. L. Parks, E. de Sturler, G. Mackey, D. D. Johnson and S. Maiti, "Recycling Krylov
subspaces for sequences of linear systems", SIAM J. Sci. Comput. 28 (2006) 1651-1674,
here preconditioned from the left (B = M^-1 A in place of A) or from the right (B = A M^-1).
M may change from step to step (L. M. Carvalho, S. Gratton, R. Lago and X. Vasseur, SIAM J.
Matrix Anal. Appl. 32 (2011) 1212-1235). The notation is that of the first paper; a prime is
the conjugate transpose.
"""

import math
import time
from typing import ClassVar, Literal

from petsc4py import PETSc

import numpy as np
from scipy.linalg import lapack, qr, solve_triangular

from kryloset.krylov.methods.dense import (
    Array,
    Basis,
    combine,
    harmonic_subspace,
    inner,
    orthonormalise,
    sum_over_ranks,
    wrap_columns,
)
from kryloset.krylov.methods.recycling_ksp import RecyclingKSP

type Pencil = Literal["a", "b"]

EPSILON = float(np.finfo(np.float64).eps)

CANCELLED = 1e-4
"""A vector that keeps less than this fraction of its square is orthogonalised again at once."""

NEGLIGIBLE_CORRECTION = 8 * EPSILON
"""A second pass omits corrections up to this size, relative to the vector."""

STAGNATION_CYCLES = 50
"""Number of cycles within which the residual must fall ..."""

STAGNATION_FACTOR = 0.99
"""... to this fraction of its value, or the solve has stagnated."""

MISMATCH = 10.0
"""Ratio of the computed to the implicit residual above which B U = C is no longer trusted."""

RISE = 1 + math.sqrt(EPSILON)
"""Ratio of the residuals of two successive cycles up to which they are equal within rounding."""


class GCRODR(RecyclingKSP):
    """GCRO-DR(m, k) as a Python context of a PETSc KSP.

    A system starts with C R = qr(B Y) and U = Y R^-1, which take k applications of A and of
    M^-1. Each cycle takes m - k Arnoldi steps with (I - C C') B (m steps, as GMRES(m), if nothing
    is recycled). It minimises the residual (from the left, the preconditioned residual) over
    range([U V]). The k harmonic Ritz vectors of smallest modulus become the next U.

    Within a cycle the reported norms come from the recurrence (from the left, in proportion to
    the last computed norm). When one passes the test, b - A x is computed. If that does not
    pass, the cycle goes on.

    From the left the directions approximate eigenvectors in the variable x, which changes
    less from system to system than M x does when M changes with A. From the right they are
    in M x. A flexible solve (from the right; `-ksp_gcrodr_flexible`) keeps Z_j = M_j^-1 v_j. M
    may then be an iterative method itself, and the directions are in x.

    Orthogonalisation is classical Gram-Schmidt in two passes. The second pass is delayed by a
    step, so that a step costs one reduction and reads the basis twice (D. Bielich, J. Langou,
    S. Thomas, K. Swirydowicz, I. Yamazaki and E. G. Boman, Parallel Comput. 112 (2022)).

    Memory: m + 1 vectors for [C V], k for U, 4 for work; m for Z if the solve is flexible.

    Attributes:
        flexible: whether M may change from step to step.
        pencil: how W'V is found in G'G z = theta G' W'V z, which gives the harmonic Ritz vectors.
            "a" computes it. "b" (strategy B of Carvalho et al.) assumes C'U = I and V'U = 0,
            which saves a product a cycle. In flexible solves Z takes the place of V ("a":
            harmonic Ritz vectors of A over range([U Z])).
    """

    NAME = "gcrodr"
    LABEL = "GCRO-DR"
    SIDES: ClassVar[tuple[PETSc.PC.Side, ...]] = (PETSc.PC.Side.LEFT, PETSc.PC.Side.RIGHT)

    def __init__(
        self,
        restart: int = 40,
        recycle: int = 20,
        *,
        flexible: bool = False,
        pencil: Pencil = "a",
    ) -> None:
        """Make a context for GCRO-DR(restart, recycle).

        Raises:
            ValueError: unless 0 <= recycle < restart, or for a pencil that is not known.
        """
        self.flexible = flexible
        self.pencil = pencil
        super().__init__(restart, recycle)
        self._block: Array = np.zeros((0, 0))
        self._steps: list[PETSc.Vec] = []

    def _check(self) -> None:
        super()._check()
        if self.pencil not in ("a", "b"):
            raise ValueError(f"{self.LABEL} knows the pencils a and b, not {self.pencil!r}")

    def create(self, ksp: PETSc.KSP) -> None:
        """Choose the side of the preconditioner and the norm of the residual itself."""
        super().create(ksp)
        if self.flexible:
            ksp.setPCSide(PETSc.PC.Side.RIGHT)

    def setFromOptions(self, ksp: PETSc.KSP) -> None:
        """Read `-ksp_<name>_restart`, `_recycle`, `_flexible` and `_pencil`."""
        options = PETSc.Options(ksp.getOptionsPrefix())
        self.flexible = options.getBool(f"ksp_{self.NAME}_flexible", self.flexible)
        self.pencil = options.getString(f"ksp_{self.NAME}_pencil", self.pencil)
        if self.flexible:
            ksp.setPCSide(PETSc.PC.Side.RIGHT)
        super().setFromOptions(ksp)

    def _allocate(self, ksp: PETSc.KSP, operator: PETSc.Mat) -> None:
        self._left = ksp.getPCSide() == PETSc.PC.Side.LEFT
        if self.flexible and self._left:
            raise ValueError(
                f"flexible {self.LABEL} preconditions from the right: -ksp_pc_side right"
            )
        rows, columns = operator.getLocalSize()[0], self.restart + 1
        kept = self.restart * self.flexible
        if self._block.shape == (rows, columns) and len(self._steps) == kept:
            return
        scalar = np.dtype(PETSc.ScalarType)
        self._basis = Basis(rows, columns, self._comm)
        self._block = self._basis.array
        self._columns = wrap_columns(self._block, operator.comm)
        self._z = np.zeros((rows, kept), dtype=scalar, order="F")
        self._steps = wrap_columns(self._z, operator.comm)
        self._combined, self._image, self._candidate, self._residual = (
            operator.createVecRight() for _ in range(4)
        )
        # Column 0: the coefficients of the residual in [C V]; column j: those of B v_j. The
        # last one of each is its remainder.
        self._coefficients = np.zeros((columns, columns), dtype=scalar, order="F")

    def _release(self) -> None:
        self._block = np.zeros((0, 0))

    # The method

    def _iterate(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> int:
        """Rebuild C, then run cycles until the test decides or the residual stagnates."""
        self._b, self._x = b, x
        reason = self._start(ksp, b, x, self._residual)
        if reason != 0:
            return reason
        # A new array for each system, since `space` is a view of the last one.
        self._u = np.zeros((len(self._block), self.recycle), dtype=self._block.dtype, order="F")
        self._held = 0
        if self.space is not None and self.recycle > 0:
            self._rebuild(np.asfortranarray(self.space[:, : self.recycle]))
            self.counts.recycled = self._held
        reason = self._run_cycles(ksp)
        self.space = self._u[:, : self._held] if self._held else None
        return reason

    def _run_cycles(self, ksp: PETSc.KSP) -> int:
        diverged = PETSc.KSP.ConvergedReason
        limit = ksp.getTolerances()[3]
        its = doubts = reason = 0
        norm = ksp.getResidualNorm()
        measure = self._begin_cycle()
        history = [measure]
        while reason == 0:
            if its >= limit:
                reason = diverged.DIVERGED_MAX_IT
                break
            started = self._held
            its, steps, implicit, reason = self._arnoldi(ksp, its, limit, norm, measure)
            if reason < 0:
                break
            if reason == 0:
                self._try_solution(steps)
            norm = self._residual.norm()
            self._log(ksp, its, norm)
            reason = int(ksp.callConvergenceTest(its, norm))
            self._update_space(steps, images=reason <= 0)
            if reason > 0:
                self._candidate.copy(self._x)
                break
            previous, measure = measure, self._begin_cycle()
            falls = measure <= RISE * previous
            if falls:
                self._candidate.copy(self._x)
            if not falls or (self._held and measure > MISMATCH * implicit + EPSILON * history[0]):
                # The residual fell less than the recurrence says. Either B U = C has drifted
                # (rebuild C), or U is useless, as for a singular A (go on without it), or nothing
                # more can be gained.
                doubts += 1
                if not falls and started == 0:
                    reason = diverged.DIVERGED_BREAKDOWN
                elif doubts == 1:
                    self._rebuild(self._u[:, : self._held])
                else:
                    self._held = 0
                self._compute_residual(self._b, self._x, self._residual)
                norm = self._residual.norm()
                measure = self._begin_cycle()
            history.append(measure)
            if (
                reason == 0
                and len(history) > STAGNATION_CYCLES
                and not (measure <= STAGNATION_FACTOR * history[-1 - STAGNATION_CYCLES])
            ):
                reason = diverged.DIVERGED_BREAKDOWN
        return int(reason)

    def _begin_cycle(self) -> float:
        """Put the (preconditioned) residual beside C and orthogonalise it against C.

        Returns:
            Its norm, which is what a cycle minimises.
        """
        held = self._held
        start = self._columns[held]
        if self._left:
            self._precondition(self._residual, start)
        else:
            self._residual.copy(start)
        # Clear what a cycle with another number of directions left below the diagonals.
        self._coefficients[:] = 0.0
        products = self._basis.inner(held + 1, 1)[:, 0]
        square = products[held].real
        self._coefficients[:held, 0] = products[:held]
        self._coefficients[held, 0] = 1.0
        self._basis.project(held + 1, 1.0)
        self._orthogonalise_again(held, square)
        return float(np.sqrt(square))

    def apply_operator(self, source: PETSc.Vec, target: PETSc.Vec) -> None:
        """Set target to B source, where B is A with its preconditioner, and count it."""
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

    # Orthogonalisation

    def _orthogonalise_again(self, column: int, square: float) -> None:
        """Orthogonalise a column against those before it once more, and normalise it.

        The column goes with the last coefficient of an image, and all these coefficients are
        corrected. If the column lies in the span of the others (next to nothing of `square` is
        left), the column and that coefficient are set to zero.
        """
        image = self._coefficients[:, column - self._held]
        for _ in range(2):
            products = self._basis.inner(column + 1, 1)[:, 0]
            correction = products[:column]
            before = float(products[column].real)
            after = before - np.vdot(correction, correction).real
            weight = image[column]
            image[:column] += weight * correction
            if not after * abs(weight) ** 2 > EPSILON**2 * square:
                # Only rounding is left.
                image[column] = 0.0
                self._columns[column].set(0.0)
                return
            length = math.sqrt(after)
            image[column] = weight * length
            self._basis.project(column + 1, 1 / length)
            if after > 0.5 * before:
                return

    def _step(self, column: int) -> float:
        """Finish column v of the block, set the next one to B v and orthogonalise it once.

        With Q the columns before, r = Q'v, a = ||v - Q r||, w = B v (of v as it was):
        v becomes (v - Q r) / a, its image is (w - B Q r) / a, and the next column is that
        image orthogonalised and normalised. B C r is of the order of rounding and is left out. The
        rest of B Q r is known from the coefficients.

        Returns:
            The norm of the image. Until the next step, the norm and the coefficients have the
            accuracy of a single pass.
        """
        step = column - self._held
        if self.flexible:
            self._precondition(self._columns[column], self._steps[step])
            self._operator.mult(self._steps[step], self._columns[column + 1])
            self.counts.operator += 1
        else:
            self.apply_operator(self._columns[column], self._columns[column + 1])
        products = self._basis.inner(column + 2, 2)
        projections = products[:column]
        (rr, rs), (_, ss) = np.dot(projections.conj().T, projections).tolist()
        (vv, vw), (_, ww) = products[column:].tolist()
        square = ww.real
        length = math.sqrt(max(vv.real - rr.real, 0.0)) or 1.0
        along = (vw - rs) / length
        remainder = square - ss.real - abs(along) ** 2
        cancelled = not remainder > CANCELLED * square
        norm = 1.0 if cancelled else math.sqrt(remainder)

        image = self._coefficients[:, step + 1]
        image[:column], image[column], image[column + 1] = projections[:, 1], along, norm
        if rr.real > NEGLIGIBLE_CORRECTION**2 or abs(length - 1.0) > NEGLIGIBLE_CORRECTION:
            before = self._coefficients[:, step]
            before[:column] += before[column] * projections[:, 0]
            before[column] *= length
            if not self.flexible:
                known = self._coefficients[: column + 1, 1 : step + 1]
                image[: column + 1] -= np.dot(known, projections[self._held :, 0])
                image /= length
                square /= length**2

        # (v - Q r) / a, and w - Q s without its part along that.
        self._basis.project(column + 2, 1 / length, -along / (length * norm), 1 / norm)
        if cancelled:
            self._orthogonalise_again(column + 1, square)
        return math.sqrt(square) if square >= 0.0 else math.nan

    def _arnoldi(
        self, ksp: PETSc.KSP, its: int, limit: int, norm: float, measure: float
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
        remainder = abs(self._coefficients[held, 0])
        if remainder == 0.0:
            # The residual lies in range(C), and U alone removes it. Counted as a step,
            # since PETSc takes iteration 0 for the start.
            return its + 1, 0, 0.0, 0
        null = np.zeros(self.restart - held + 1, dtype=self._block.dtype)
        null[0] = square = 1.0
        implicit = remainder
        steps = reason = 0
        last = min(self.restart - held, limit - its)
        while reason == 0 and steps < last:
            column = held + steps
            image = self._coefficients[:, steps + 1]
            if not math.isfinite(self._step(column)):
                return its, steps, np.nan, PETSc.KSP.ConvergedReason.DIVERGED_NANORINF
            its += 1
            steps += 1
            after = abs(image[column + 1])
            if after == 0.0:
                return its, steps, 0.0, 0
            null[steps] = -np.dot(null[:steps], image[held : column + 1]) / after
            square += abs(null[steps]) ** 2
            implicit = remainder / float(np.sqrt(square))
            if steps == last:
                break
            # Tested before it is logged: the last step of a cycle is logged with the
            # computed norm.
            estimate = implicit * (norm / measure)
            reason = int(ksp.callConvergenceTest(its, estimate))
            if reason > 0:
                self._try_solution(steps)
                computed = self._residual.norm()
                reason = int(ksp.callConvergenceTest(its, computed))
                if reason > 0:
                    break
                norm, measure, estimate = computed, implicit, computed
            self._log(ksp, its, estimate)
        self._orthogonalise_again(held + steps, 1.0)
        return its, steps, implicit, reason

    def _try_solution(self, steps: int) -> None:
        """Set the candidate to x plus the minimiser over range([U V]), and compute its residual."""
        held = self._held
        target, b = self._coefficients[:held, 0], self._coefficients[:held, 1 : steps + 1]
        h = self._coefficients[held : held + steps + 1, 1 : steps + 1]
        start = np.zeros(steps + 1, dtype=h.dtype)
        start[0] = self._coefficients[held, 0]
        y = _least_squares(h, start)
        directions = self._z[:, :steps] if self.flexible else self._block[:, held : held + steps]
        update = self._combined.getArray()[:, None]
        combine(update, (directions, y[:, None]), (self._u[:, :held], (target - b @ y)[:, None]))
        # Written behind PETSc's back: its cached norms are stale.
        self._combined.stateIncrease()
        if self._left or self.flexible:
            self._candidate.waxpy(1.0, self._combined, self._x)
        else:
            self._precondition(self._combined, self._image)
            self._candidate.waxpy(1.0, self._image, self._x)
        self._compute_residual(self._b, self._candidate, self._residual)

    # The recycled space

    def _rebuild(self, y: Array) -> None:
        """Make C R = qr(B Y) and U = Y R^-1 for the present operator (A Y, if flexible)."""
        start = time.perf_counter()
        size = y.shape[1]
        for i in range(size):
            self._combined.placeArray(y[:, i])
            if self.flexible:
                self._operator.mult(self._combined, self._columns[i])
                self.counts.operator += 1
            else:
                self.apply_operator(self._combined, self._columns[i])
            self._combined.resetArray()
        transform = orthonormalise(self._block[:, :size], self._comm)
        self._held = transform.shape[1]
        u, c = self._u[:, : self._held], self._block[:, : self._held]
        combine(u, (y, transform))
        if self._tracked:
            self._cu = sum_over_ranks(inner(c, u), self._comm)
            self._uu = sum_over_ranks(inner(u, u), self._comm)
        self.counts.rebuild += time.perf_counter() - start

    @property
    def _tracked(self) -> bool:
        """Whether C'U and U'U are needed and follow from small matrices."""
        return self.pencil == "a" and not self.flexible

    def _update_space(self, steps: int, images: bool) -> None:
        """Replace U and C by those of the wanted harmonic Ritz vectors over [U V].

        W = [C V_{j+1}], G = [D C'BV_j; 0 H] and B [U D  V_j] = W G, D scaling U to unit
        columns. C'U and U'U follow from the small matrices; only V'U costs a product. C is
        updated only if the `images` are still needed, since the next system computes its own.
        """
        if self.recycle == 0 or self._held + steps == 0:
            return
        held, size = self._held, self._held + steps
        u, v = self._u[:, :held], self._block[:, held : size + 1]
        d = np.ones(held)
        wv = np.eye(size + 1, size, dtype=self._block.dtype)
        vv = wv[:size].copy()
        if self._tracked and held:
            d /= np.sqrt(np.maximum(self._uu.diagonal().real, 0.0))
            vu = sum_over_ranks(inner(v, u), self._comm) * d
            wv[:held, :held] = self._cu * d
            wv[held:, :held] = vu
            vv[:held, :held] = self._uu * np.outer(d, d)
            vv[held:, :held] = vu[:-1]
            vv[:held, held:] = vu[:-1].conj().T
        elif self.pencil == "a" and self.flexible:
            d /= np.sqrt(sum_over_ranks(inner(u, u), self._comm).diagonal().real)
            w = self._block[:, : size + 1]
            wv[:, :held] = sum_over_ranks(inner(w, u), self._comm) * d
            wv[:, held:] = sum_over_ranks(inner(w, self._z[:, :steps]), self._comm)
        g = np.zeros((size + 1, size), dtype=self._block.dtype)
        g[range(held), range(held)] = d
        g[:, held:] = self._coefficients[: size + 1, 1 : steps + 1]
        p = harmonic_subspace(g, wv, min(self.recycle, size))
        if p.shape[1] == 0:
            self._held = 0
            return
        q, r, pivots = qr(g @ p, mode="economic", pivoting=True)
        # A direction that B maps to rounding has no image to be normalised.
        rank = int(np.count_nonzero(abs(r.diagonal()) > size * EPSILON * np.linalg.norm(g)))
        t = p[:, pivots[:rank]] @ solve_triangular(r[:rank, :rank], np.eye(rank))
        q = q[:, :rank]
        if self._tracked:
            self._cu, self._uu = q.conj().T @ wv @ t, t.conj().T @ vv @ t
        t[:held] *= d[:, None]
        directions = self._z[:, :steps] if self.flexible else self._block[:, held:size]
        combine(self._u[:, :rank], (self._u[:, :held], t[:held]), (directions, t[held:]))
        if images:
            combine(self._block[:, :rank], (self._block[:, : size + 1], q))
        self._held = rank


def _least_squares(h: Array, target: Array) -> Array:
    """Return the y that minimises ||h y - target||, the shortest one if h is singular."""
    columns = h.shape[1]
    if columns == 0:
        return target[:0]
    (gels,) = lapack.get_lapack_funcs(("gels",), (h,))
    factor, y, _ = gels(h, target)
    pivots = abs(factor.diagonal())
    if pivots.min() > EPSILON * pivots.max():
        return np.asarray(y.ravel()[:columns])
    return np.asarray(np.linalg.lstsq(h, target, rcond=None)[0])


class GMRESDR(GCRODR):
    """GMRES with deflated restarting, which carries nothing from system to system.

    GCRO-DR that starts each system without a recycled space is algebraically GMRES-DR (R. B.
    Morgan, SIAM J. Sci. Comput. 24 (2002) 20-37; Parks et al. 2006, section 3). It shows how
    much of GCRO-DR's gain is due to deflation within one system.
    """

    NAME = "gmresdr"
    LABEL = "GMRES-DR"

    def solve(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> None:
        """Solve A x = b, and keep nothing for the next system."""
        super().solve(ksp, b, x)
        self.space = self.solution = None
