# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recycling BiCGStab(2): a short recurrence on the space that GCRO-DR found.

The deflation is that of K. Ahuja, P. Benner, E. de Sturler and L. Feng, "Recycling BiCGSTAB
with an application to parametric model order reduction", SIAM J. Sci. Comput. 37 (2015)
S429-S446, with one space for both sides; the recurrence is PETSc's BiCGStab(l) of
G. L. G. Sleijpen and D. R. Fokkema, Electron. Trans. Numer. Anal. 1 (1993) 11-32.
"""

from dataclasses import dataclass, replace
from typing import Self

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.methods.dense import Array, combine, sum_over_ranks
from kryloset.krylov.methods.gcrodr import GCRODR
from kryloset.krylov.methods.recycling_ksp import RecyclingKSP

HARVESTS = 3
"""Number of systems that GCRO-DR solves before its space is considered good."""

STALE = 1.25
"""Factor by which the iterations must grow before GCRO-DR makes a new space."""


@dataclass(frozen=True)
class Pace:
    """Which systems GCRO-DR solves, decided by iteration counts alone. Immutable.

    Attributes:
        harvests: systems that GCRO-DR still has to solve.
        level: iterations of the first solve with the present space; 0 before that solve.
    """

    harvests: int = HARVESTS
    level: int = 0

    def after_harvest(self) -> Self:
        """Return the pace after a system that GCRO-DR solved."""
        return replace(self, harvests=self.harvests - 1, level=0)

    def after(self, iterations: int) -> Self:
        """Return the pace after a system that BiCGStab solved."""
        level = self.level or iterations
        return replace(self, level=level, harvests=int(iterations > STALE * level))


class RecyclingBiCGStab(GCRODR):
    """Recycling BiCGStab(2) as a Python context of a PETSc KSP, from the left.

    GCRO-DR(m, k) solves the first systems, which leaves k good directions Y. Each later system
    computes C R = qr(B Y) and U = Y R^-1, as GCRO-DR does with B = M^-1 A. BiCGStab(2) then solves

        (I - C C') B t = (I - C C') M^-1 r,

    and the solution is x + t + U C'(M^-1 r - B t).

    An iteration takes a product with A and one with M^-1, and two passes over C, where GCRO-DR
    needs its whole basis. It takes more iterations, but less time if products are cheap. The
    directions are kept until the iterations grow by the factor `STALE`. If BiCGStab breaks down,
    GCRO-DR continues from where it stopped.

    Attributes:
        pace: which systems GCRO-DR solves.
    """

    NAME = "rbicgstab"
    LABEL = "recycling BiCGStab(2)"
    SIDES = (PETSc.PC.Side.LEFT,)

    def __init__(self, restart: int = 40, recycle: int = 10) -> None:
        """Make a context for recycling BiCGStab(2) on a space of GCRO-DR(restart, recycle).

        Raises:
            ValueError: unless 0 <= recycle < restart.
        """
        super().__init__(restart, recycle)
        self.pace = Pace()

    @property
    def numbers(self) -> tuple[float, ...]:
        """What the method has learnt besides directions. Assign them to continue elsewhere."""
        return (self.pace.harvests, self.pace.level, *super().numbers)

    @numbers.setter
    def numbers(self, values: tuple[float, ...]) -> None:
        self.pace = Pace(*(int(value) for value in values[:2]))
        RecyclingKSP.numbers.__set__(self, values[2:])  # type: ignore[attr-defined]

    def reset(self, ksp: PETSc.KSP) -> None:
        """Free the memory and forget the recycled space."""
        super().reset(ksp)
        self.pace = Pace()

    def _iterate(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> int:
        """Solve by BiCGStab, or by GCRO-DR as long as there is no good space."""
        if self.space is None:
            self.pace = Pace()
        if self.pace.harvests > 0 or self.space is None:
            reason = super()._iterate(ksp, b, x)
            if reason > 0 and ksp.getIterationNumber() > 0:
                self.pace = self.pace.after_harvest()
            return reason
        self._b, self._x = b, x
        reason = self._start(ksp, b, x, self._residual)
        if reason != 0:
            return reason
        self._u = np.zeros((len(self._block), self.recycle), dtype=self._block.dtype, order="F")
        self._rebuild(np.asfortranarray(self.space[:, : self.recycle]))
        self.counts.recycled = self._held
        reason = self._run_bicgstab(ksp)
        if reason == 0:
            reason = self._run_cycles(ksp)
            self.space = self._u[:, : self._held] if self._held else None
        if reason > 0:
            self.pace = self.pace.after(ksp.getIterationNumber())
        return reason

    def _run_bicgstab(self, ksp: PETSc.KSP) -> int:
        """Run BiCGStab on the remaining residual until the computed norm passes.

        Returns:
            The reason; 0 when GCRO-DR should take over from x.
        """
        limit = ksp.getTolerances()[3]
        norm = ksp.getResidualNorm()
        while True:
            its = ksp.getIterationNumber()
            if its >= limit:
                return int(PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT)
            if not self._improve(ksp, its, norm, limit - its):
                return 0
            self._compute_residual(self._b, self._candidate, self._residual)
            previous, norm = norm, self._residual.norm()
            if not norm < 0.5 * previous:
                self._compute_residual(self._b, self._x, self._residual)
                return 0
            self._candidate.copy(self._x)
            its = ksp.getIterationNumber()
            self._log(ksp, its, norm)
            reason = int(ksp.callConvergenceTest(its, norm))
            if reason != 0:
                return reason

    def _improve(self, ksp: PETSc.KSP, its: int, norm: float, left: int) -> bool:
        """Run PETSc's BiCGStab(2) once and set the candidate to its result.

        Returns:
            Whether it took a step.
        """
        c, u = self._block[:, : self._held], self._u[:, : self._held]
        start, correction = self._columns[self._held], self._combined
        self._precondition(self._residual, start)
        projection = self._project(start)
        scale = norm / start.norm()

        def test(inner: PETSc.KSP, step: int, measure: float) -> int:
            """Apply the test of the whole solve to the norm scaled by the last computed one."""
            if step == 0:
                return 0
            estimate = scale * measure
            reason = int(ksp.callConvergenceTest(its + step, estimate))
            if reason <= 0:
                self._log(ksp, its + step, estimate)
            return reason

        inner = self._inner_ksp(ksp)
        inner.setTolerances(rtol=1e-30, max_it=left)
        inner.setConvergenceTest(test)
        inner.solve(start, correction)
        steps = inner.getIterationNumber()
        ksp.setIterationNumber(its + steps)
        if steps == 0:
            return False
        # The candidate is x + t + U C'(M^-1 r - B t).
        self.apply_operator(correction, self._image_of)
        image = self._image_of.getArray(readonly=True)
        along = projection - sum_over_ranks(np.dot(c.T, image.conj()).conj(), self._comm)
        update = self._image_of.getArray()[:, None]
        combine(update, (u, along[:, None]))
        self._image_of.stateIncrease()
        self._candidate.waxpy(1.0, correction, self._x)
        self._candidate.axpy(1.0, self._image_of)
        return True

    def _inner_ksp(self, ksp: PETSc.KSP) -> PETSc.KSP:
        """Return the KSP that runs BiCGStab(2) on the projected operator."""
        operator, _ = ksp.getOperators()
        size = operator.getSizes()
        projected = PETSc.Mat().createPython(size, _Projected(self), comm=operator.comm)
        projected.setUp()
        inner = PETSc.KSP().create(operator.comm)
        inner.setOperators(projected)
        inner.setType(PETSc.KSP.Type.BCGSL)
        inner.getPC().setType(PETSc.PC.Type.NONE)
        return inner

    def _allocate(self, ksp: PETSc.KSP, operator: PETSc.Mat) -> None:
        super()._allocate(ksp, operator)
        self._image_of = operator.createVecRight()

    def _project(self, vector: PETSc.Vec) -> Array:
        """Remove from a vector its part in range(C), and return that part's coefficients."""
        c, local = self._block[:, : self._held], vector.getArray()
        along = sum_over_ranks(np.dot(c.T, local.conj()).conj(), self._comm)
        local -= np.dot(c, along)
        vector.stateIncrease()
        return along


class _Projected:
    """(I - C C') B as a matrix."""

    def __init__(self, method: RecyclingBiCGStab) -> None:
        self.method = method

    def mult(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Set y to the product with x."""
        self.method.apply_operator(x, y)
        self.method._project(y)
