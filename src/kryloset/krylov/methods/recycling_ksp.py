# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The base class of recycling methods: Python contexts of a PETSc KSP."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

from mpi4py import MPI
from petsc4py import PETSc

from kryloset.krylov.methods.dense import Array
from kryloset.krylov.reuse.space_benefit import SpaceBenefit
from kryloset.krylov.scaling import is_safe, largest_entry


@dataclass
class Counts:
    """What one solve has cost.

    Attributes:
        operator: applications of A.
        preconditioner: applications of M^-1 (of the identity too, where there is none).
        rebuild: seconds spent on fitting the recycled space to the present operator.
        recycled: number of recycled directions that took part.
    """

    operator: int = 0
    preconditioner: int = 0
    rebuild: float = 0.0
    recycled: int = 0


class RecyclingKSP(ABC):
    """A Krylov method that carries directions from each `ksp.solve` to the next.

    Use a subclass as `ksp.setType("python"); ksp.setPythonContext(GCRODR(40, 20))`, or by
    options: `-ksp_type python -ksp_python_type kryloset.krylov.GCRODR -ksp_gcrodr_restart 40
    -ksp_gcrodr_recycle 20`, under the KSP's own prefix. Convergence tests, monitors,
    histories and `-ksp_view` work as for PETSc's own KSPs, with any PC that the method allows.
    `ksp.reset` drops the recycled space.

    A solve succeeds only if the computed norm of b - A x passes the test. First, for one product
    with A, the best multiple of the last solution is tried, so that the same system is not solved
    twice.

    A right-hand side whose norm is below 1e-90 or above 1e90 gives DIVERGED_NANORINF, since the
    squares of its residuals may underflow or overflow: scale it, as `SequenceSolver` does.

    Attributes:
        restart: m, the largest number of directions held at a time.
        recycle: k < m, the largest number of them carried to the next system.
        space: (local rows, at most k), Fortran order: the recycled directions, or None.
            Assign an array to start from it; a solve leaves that array unchanged and puts another
            one here.
        solution: (local rows), the last solution, or None.
        benefit: whether the space has been worth using; if not, it is set aside for a while.
        counts: what the last solve has cost.
    """

    NAME: ClassVar[str]
    """The method's name in options, such as `-ksp_<NAME>_restart`."""

    LABEL: ClassVar[str]
    """The method's name in messages."""

    SIDES: ClassVar[tuple[PETSc.PC.Side, ...]] = (PETSc.PC.Side.LEFT,)
    """Sides from which the method can be preconditioned, the default first."""

    def __init__(self, restart: int = 40, recycle: int = 20) -> None:
        """Make a context.

        Raises:
            ValueError: unless 0 <= recycle < restart.
        """
        self.restart = restart
        self.recycle = recycle
        self.space: Array | None = None
        self.solution: Array | None = None
        self.benefit = SpaceBenefit()
        self.counts = Counts()
        self._check()

    @property
    def numbers(self) -> tuple[float, ...]:
        """What the method has learnt besides directions. Assign them to continue elsewhere."""
        return tuple(getattr(self.benefit, field.name) for field in fields(SpaceBenefit))

    @numbers.setter
    def numbers(self, values: tuple[float, ...]) -> None:
        costs, counts = values[:2], values[2:]
        self.benefit = SpaceBenefit(*costs, *(int(count) for count in counts))  # type: ignore[arg-type]

    def _check(self) -> None:
        if not 0 <= self.recycle < self.restart:
            raise ValueError(
                f"{self.LABEL} needs 0 <= recycle < restart, got recycle={self.recycle} and "
                f"restart={self.restart}: make restart larger or recycle smaller"
            )

    # What PETSc calls

    def create(self, ksp: PETSc.KSP) -> None:
        """Set the side of the preconditioner, and the norm of the unpreconditioned residual."""
        ksp.setPCSide(self.SIDES[0])
        ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)

    def setFromOptions(self, ksp: PETSc.KSP) -> None:
        """Read `-ksp_<name>_restart` and `-ksp_<name>_recycle`."""
        options = PETSc.Options(ksp.getOptionsPrefix())
        self.restart = options.getInt(f"ksp_{self.NAME}_restart", self.restart)
        self.recycle = options.getInt(f"ksp_{self.NAME}_recycle", self.recycle)
        self._check()

    def view(self, ksp: PETSc.KSP, viewer: PETSc.Viewer) -> None:
        """Print what `-ksp_view` shows."""
        if viewer.getType() == PETSc.Viewer.Type.ASCII:
            held = 0 if self.space is None else self.space.shape[1]
            viewer.printfASCII(
                f"  {self.LABEL}: restart={self.restart}, recycle={self.recycle}, "
                f"directions held={held}\n"
            )

    def setUp(self, ksp: PETSc.KSP) -> None:
        """Allocate memory for the operator's local size.

        Raises:
            ValueError: for a side from which the method cannot be preconditioned.
        """
        if ksp.getPCSide() not in self.SIDES:
            names = " or ".join(_SIDE_NAMES[side] for side in self.SIDES)
            raise ValueError(
                f"{self.LABEL} preconditions from the {names}: "
                f"-ksp_pc_side {_SIDE_NAMES[self.SIDES[0]]}"
            )
        operator, _ = ksp.getOperators()
        self._comm: MPI.Comm = operator.comm.tompi4py()
        self._allocate(ksp, operator)

    def reset(self, ksp: PETSc.KSP) -> None:
        """Free the memory and forget the recycled space."""
        self.space = self.solution = None
        self.benefit = SpaceBenefit()
        self._release()

    def solve(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> None:
        """Solve A x = b; called by `ksp.solve`."""
        self.counts = Counts()
        self._pc: PETSc.PC = ksp.getPC()
        self._pc.setUp()
        if self._comm.allreduce(int(self._pc.getFailedReason()), op=MPI.MAX) != 0:
            ksp.setConvergedReason(PETSc.KSP.ConvergedReason.DIVERGED_PCSETUP_FAILED)
            return
        self._operator: PETSc.Mat = ksp.getOperators()[0]
        self._identity = self._pc.getType() == PETSc.PC.Type.NONE
        if not self.benefit.expected:
            self.space = None
        reason = self._iterate(ksp, b, x) if _is_measurable(b) else _NOT_MEASURABLE
        ksp.setConvergedReason(reason)
        if reason == PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN:
            # Directions found after the residual has stagnated are only rounding.
            self.space = None
        if reason < 0 and reason != PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT:
            self._settle_for(ksp, b, x)
        its = ksp.getIterationNumber()
        if reason > 0 and its > 0 and self.recycle > 0:
            self.benefit = self.benefit.after(its, self.counts.recycled > 0)
            self.solution = x.getArray(readonly=True).copy()

    def _settle_for(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> None:
        """After a breakdown, replace an x that is worse than 0 by 0.

        If the user gave an initial guess, x is left alone.
        """
        if ksp.getInitialGuessNonzero():
            return
        residual = b.duplicate()
        self._compute_residual(b, x, residual)
        if not residual.norm() <= b.norm():
            x.set(0.0)

    # What a method defines

    @abstractmethod
    def _allocate(self, ksp: PETSc.KSP, operator: PETSc.Mat) -> None:
        """Allocate work memory, unless it is there already and fits."""

    @abstractmethod
    def _release(self) -> None:
        """Free what `_allocate` made."""

    @abstractmethod
    def _iterate(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec) -> int:
        """Run from the guess in x, leave the solution there and the next space in `space`.

        Returns:
            PETSc's reason. Stagnation is DIVERGED_BREAKDOWN.
        """

    # What methods use

    def _start(self, ksp: PETSc.KSP, b: PETSc.Vec, x: PETSc.Vec, residual: PETSc.Vec) -> int:
        """Set x to the initial guess and residual to b - A x, and log its norm.

        Without a guess by the user, the guess is zero, unless the best multiple of the last
        solution passes the convergence test. A multiple that does not pass is dropped, since its
        residual lies in the directions that converge slowly.

        Returns:
            The reason of the convergence test.
        """
        guessed = ksp.getInitialGuessNonzero()
        if not guessed and self.solution is not None and self.recycle > 0:
            x.setArray(self.solution)
            self._operator.mult(x, residual)
            self.counts.operator += 1
            square = residual.norm() ** 2
            weight = b.dot(residual) / square if square > 0.0 else 0.0
            x.scale(weight)
            residual.aypx(-weight, b)
            norm = residual.norm()
            # Otherwise PETSc's test would measure against the first residual, not against b.
            ksp.setInitialGuessNonzero(True)
            reason = int(ksp.callConvergenceTest(0, norm))
            ksp.setInitialGuessNonzero(False)
            if reason > 0:
                self._log(ksp, 0, norm)
                return reason
        if guessed:
            self._compute_residual(b, x, residual)
        else:
            x.set(0.0)
            b.copy(residual)
        norm = residual.norm()
        if not math.isfinite(norm):
            return int(PETSc.KSP.ConvergedReason.DIVERGED_NANORINF)
        self._log(ksp, 0, norm)
        return int(ksp.callConvergenceTest(0, norm))

    def _compute_residual(self, b: PETSc.Vec, x: PETSc.Vec, residual: PETSc.Vec) -> None:
        """Set residual to b - A x."""
        self._operator.mult(x, residual)
        self.counts.operator += 1
        residual.aypx(-1.0, b)

    def _precondition(self, vector: PETSc.Vec, target: PETSc.Vec) -> None:
        """Set target to M^-1 vector."""
        if self._identity:
            vector.copy(target)
        else:
            self._pc.apply(vector, target)
        self.counts.preconditioner += 1

    @staticmethod
    def _log(ksp: PETSc.KSP, its: int, norm: float) -> None:
        """Report the iteration and the norm to PETSc, its history and its monitors."""
        ksp.setIterationNumber(its)
        ksp.setResidualNorm(norm)
        ksp.logConvergenceHistory(norm)
        ksp.monitor(its, norm)


def _is_measurable(b: PETSc.Vec) -> bool:
    """Return whether b is zero, or the squares of its residuals are in range."""
    norm = float(b.norm())
    return is_safe(norm) or (norm == 0.0 and largest_entry(b) == 0.0)


_NOT_MEASURABLE = int(PETSc.KSP.ConvergedReason.DIVERGED_NANORINF)

_SIDE_NAMES = {
    PETSc.PC.Side.LEFT: "left",
    PETSc.PC.Side.RIGHT: "right",
    PETSc.PC.Side.SYMMETRIC: "symmetric",
}
