# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What one writes by hand with PETSc: a KSP that is set up once and handed every system."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

from kryloset.krylov import Reason, SolveResult
from kryloset.problems import OperatorTraits

ITERATION_LIMIT = 10_000

MARGIN = 0.9
"""Part of the tolerance that is asked of PETSc, so that a residual computed afresh holds it."""

STRICTER = 0.1
"""The same for BiCGStab(2), which PETSc preconditions from the left."""

KSP_TYPES = {"gmres": "gmres", "cg": "cg", "bicgstab": "bcgsl", "direct": "preonly"}
"""PETSc's names of the methods."""


@dataclass(frozen=True)
class KeptKSP:
    """The state of a loop by hand: its KSP, which recycles nothing."""

    ksp: PETSc.KSP | None = None

    def without_space(self) -> Self:
        """Return this state."""
        return self

    def for_operator(self, operator: PETSc.Mat) -> Self:
        """Return this state."""
        return self


@dataclass(frozen=True)
class HandWritten:
    """A KSP as one sets it up by hand, which PETSc itself keeps up to date. A `Solver`.

    It has no initial guess, and trusts PETSc: of the true residual it knows nothing.

    Attributes:
        method: gmres (restarted after 40, preconditioned from the right), cg, bicgstab
            (BiCGStab(2)) or direct (MUMPS where PETSc has it).
        preconditioner: PETSc's name of a PC.
        tolerance: On the true relative residual.
    """

    method: Literal["gmres", "cg", "bicgstab", "direct"]
    preconditioner: str
    tolerance: float

    def init(self) -> KeptKSP:
        """Return the state before the first system."""
        return KeptKSP()

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: KeptKSP
    ) -> tuple[SolveResult, KeptKSP]:
        """Solve a system; the seconds of the result are the processor's."""
        began = time.process_time()
        ksp = state.ksp or self._make(operator)
        ksp.setOperators(operator)
        x = rhs.duplicate()
        reason, middle = Reason.CONVERGED, began
        try:
            ksp.setUp()
            # A KSP that is set up leaves a refilled matrix to the first application.
            ksp.getPC().setUp()
            middle = time.process_time()
            ksp.solve(rhs, x)
        except PETSc.Error:
            reason = Reason.PRECONDITIONER_FAILED
        else:
            if ksp.getConvergedReason() < 0:
                limit = ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT
                reason = Reason.ITERATION_LIMIT if limit else Reason.BREAKDOWN
        ended = time.process_time()
        iterations = ksp.getIterationNumber()
        result = SolveResult(
            solution=x,
            iterations=iterations,
            operator_applications=iterations,
            preconditioner_applications=iterations,
            true_residual=math.nan,
            seconds_setup=middle - began,
            seconds_rebuild=0.0,
            seconds_iterate=ended - middle,
            seconds_processor=ended - began,
            reason=reason,
            method=self.method,
            recycled=False,
        )
        return result, KeptKSP(ksp if result.converged else None)

    def _make(self, operator: PETSc.Mat) -> PETSc.KSP:
        ksp = PETSc.KSP().create(operator.comm)
        ksp.setOperators(operator)
        ksp.setType(KSP_TYPES[self.method])
        margin = STRICTER if self.method == "bicgstab" else MARGIN
        ksp.setTolerances(rtol=margin * self.tolerance, atol=0.0, max_it=ITERATION_LIMIT)
        ksp.getPC().setType(self.preconditioner)
        if self.method == "cg":
            ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        elif self.method == "direct" and PETSc.Sys.hasExternalPackage("mumps"):
            ksp.getPC().setFactorSolverType("mumps")
        elif self.method == "gmres":
            ksp.setGMRESRestart(40)
            # From the right, the residual that PETSc watches is the true one.
            ksp.setPCSide(PETSc.PC.Side.RIGHT)
        return ksp


PEERS: Mapping[str, tuple[Literal["gmres", "cg", "bicgstab", "direct"], str]] = {
    "GMRES(40) + ILU": ("gmres", "ilu"),
    "GMRES(40) + GAMG": ("gmres", "gamg"),
    "BiCGStab(2) + ILU": ("bicgstab", "ilu"),
    "CG + GAMG": ("cg", "gamg"),
    "CG + ICC": ("cg", "icc"),
    "MUMPS LDLᵀ": ("direct", "cholesky"),
    "MUMPS LU": ("direct", "lu"),
}


def choose_peers(operator: OperatorTraits, tolerance: float) -> dict[str, HandWritten]:
    """Return what one chooses by hand for an operator, by label: four loops, GMRES first."""
    chosen = ["GMRES(40) + ILU", "MUMPS LDLᵀ" if operator.symmetric else "MUMPS LU"]
    if operator.symmetric and operator.definite:
        chosen += ["CG + GAMG", "CG + ICC"]
    else:
        chosen += ["GMRES(40) + GAMG", "BiCGStab(2) + ILU"]
    return {label: HandWritten(*PEERS[label], tolerance) for label in chosen}
