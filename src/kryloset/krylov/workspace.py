# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The KSP behind a `SequenceSolver`: set up once, used for one system after another."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.collective import any_rank
from kryloset.krylov.interrupts import pass_interrupt
from kryloset.krylov.methods.dense import Array
from kryloset.krylov.methods.recycling_ksp import RecyclingKSP
from kryloset.krylov.names import FACTORS, SINGLE_PRECISION_METHODS, SYMMETRIC_METHODS
from kryloset.krylov.options import USER_PREFIX, UserOptions, read_user_options
from kryloset.krylov.preconditioners.set_up import set_up_preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import SolveResult
from kryloset.krylov.reuse.reference import (
    NEIGHBOUR_GROWTH,
    NEIGHBOUR_LIMIT,
    ReferenceMatrix,
    ReferencePreconditioner,
)
from kryloset.krylov.revision import Revision, get_revision
from kryloset.krylov.settings import Settings
from kryloset.krylov.state import SolverState

INNER = 0.999
"""Fraction of the tolerance given to PETSc, to leave room for rounding in the true residual."""

CONTEXTS = ("gcrodr", "gmresdr", "rcg", "rminres", "rbicgstab")
"""Methods of this package; the others are PETSc's."""

PROGRESS = 0.5
"""A solve is continued, or refined, only as long as each run leaves at most this fraction of the
residual."""


@dataclass
class Costs:
    """Costs of one solve, over all runs of the KSP that it took.

    `last`, `price` and `rent` belong to the last preconditioner that was tried: the iterations,
    and the processor's seconds of its set-up and of these iterations. `clock` is the processor's
    clock at the last measurement.
    """

    iterations: int = 0
    last: int = 0
    operator: int = 0
    preconditioner: int = 0
    setup: float = 0.0
    rebuild: float = 0.0
    iterate: float = 0.0
    price: float = 0.0
    rent: float = 0.0
    clock: float = 0.0
    recycled: bool = False


def make_context(solver: Settings) -> RecyclingKSP:
    """Return the context of a method in `CONTEXTS`. Only these import SciPy."""
    from kryloset.krylov.methods.gcrodr import GCRODR, GMRESDR
    from kryloset.krylov.methods.recycling_bicgstab import RecyclingBiCGStab
    from kryloset.krylov.methods.recycling_cg import RecyclingCG
    from kryloset.krylov.methods.recycling_minres import RecyclingMINRES

    contexts: dict[str, type[RecyclingKSP]] = {
        "gcrodr": GCRODR,
        "gmresdr": GMRESDR,
        "rcg": RecyclingCG,
        "rminres": RecyclingMINRES,
        "rbicgstab": RecyclingBiCGStab,
    }
    return contexts[solver.method](solver.restart, solver.recycle)


class Workspace:
    """A KSP that is bound to one operator and configured by `Settings`."""

    def __init__(self, solver: Settings, operator: PETSc.Mat) -> None:
        """Make the KSP; `attempt` sets its preconditioner up."""
        self.solver = solver
        self.counts = Costs()
        self.residual = operator.createVecLeft()
        self.ksp = ksp = PETSc.KSP().create(operator.comm)
        # The KSP holds a reference, so that no other Mat can get this one's address.
        ksp.setOperators(operator)
        self.prepared: Revision | None = None
        self.context: RecyclingKSP | None = None
        self.shared: ReferencePreconditioner | None = None
        self.guess: Array | None = None
        self.user_options = UserOptions(solver.petsc_options)
        if self.user_options:
            ksp.setOptionsPrefix(USER_PREFIX)
        self.configured = False
        match solver.method:
            case "direct":
                ksp.setType(PETSc.KSP.Type.PREONLY)
            case "cg":
                ksp.setType(PETSc.KSP.Type.CG)
                ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
            case "minres":
                ksp.setType(PETSc.KSP.Type.MINRES)
            case "bicgstab":
                ksp.setType(PETSc.KSP.Type.BCGSL)
            case "gmres":
                # The flexible method keeps M^-1 v, which single precision would not reproduce.
                self.flexible = solver.refresh != "always" and solver.preconditioner in FACTORS
                ksp.setType(PETSc.KSP.Type.FGMRES if self.flexible else PETSc.KSP.Type.GMRES)
                ksp.setGMRESRestart(solver.restart)
                ksp.setPCSide(PETSc.PC.Side.RIGHT)
            case "hpddm":
                _set_hpddm(ksp, solver.restart, solver.recycle)
            case _:
                ksp.setType(PETSc.KSP.Type.PYTHON)
                self.context = make_context(solver)
                ksp.setPythonContext(self.context)

    def serves(self, solver: Settings, operator: PETSc.Mat) -> bool:
        """Whether this workspace can be used for a solver and a Mat.

        The tolerance and the limit of iterations may differ. If the preconditioner is that of an
        earlier matrix, any Mat of the same layout will do, since this package alone changes that
        matrix. Otherwise it must be the Mat that the workspace was made for.
        """
        mine = self.ksp.getOperators()[0]
        if self.solver is not solver and self.solver != solver:
            held = self.solver
            if held != replace(
                solver, tolerance=held.tolerance, max_iterations=held.max_iterations
            ):
                return False
            self.solver = solver
        if solver.refresh == "always":
            return bool(mine.handle == operator.handle)
        differs = mine.handle != operator.handle and (
            mine.getSizes() != operator.getSizes() or mine.comm != operator.comm
        )
        return not any_rank(operator.comm, differs)

    def attempt(
        self,
        operator: PETSc.Mat,
        rhs: PETSc.Vec,
        solution: PETSc.Vec,
        norm: float,
        state: SolverState,
        reference: ReferenceMatrix | None,
    ) -> tuple[Reason, float]:
        """Set up the preconditioner, that of the reference if there is one, and run the method.

        Raises:
            KrylosetError: if PETSc did not read some of the user's options.
        """
        if not self.user_options:
            return self._attempt(operator, rhs, solution, norm, state, reference)
        with self.user_options.given():
            reason, residual = self._attempt(operator, rhs, solution, norm, state, reference)
        if reason is Reason.CONVERGED or self.counts.iterations:
            self.user_options.require_used(self.solver.method, self.solver.preconditioner)
        return reason, residual

    def _attempt(
        self,
        operator: PETSc.Mat,
        rhs: PETSc.Vec,
        solution: PETSc.Vec,
        norm: float,
        state: SolverState,
        reference: ReferenceMatrix | None,
    ) -> tuple[Reason, float]:
        counts, start = self.counts, time.perf_counter()
        reason = self.prepare() if reference is None else self._share(operator, reference)
        residual = 1.0
        now = time.perf_counter()
        ready = time.process_time()
        counts.setup += now - start
        counts.price, counts.clock = ready - counts.clock, ready
        if reason is not Reason.CONVERGED:
            return reason, residual
        if self.user_options and not self.configured:
            # Once, and after the preconditioner's type is set: otherwise PETSc would choose one.
            read_user_options(self.ksp)
            self.configured = True
        self.limit = self.solver.max_iterations
        if reference is not None and reference is state.reference:
            limit = NEIGHBOUR_LIMIT + NEIGHBOUR_GROWTH * int(state.ski_rental.own)
            self.limit = min(self.limit, limit)
        rebuilt = counts.rebuild
        reason, residual = self.run(rhs, solution, norm, state)
        counts.clock = time.process_time()
        counts.rent = counts.clock - ready
        counts.iterate += time.perf_counter() - now - (counts.rebuild - rebuilt)
        return reason, residual

    def prepare(self) -> Reason:
        """Set up the preconditioner for the operator's present entries, unless that is done."""
        operator = self.ksp.getOperators()[0]
        revision = get_revision(operator)
        kept = revision is not None and revision == self.prepared
        if not any_rank(operator.comm, not kept):
            return Reason.CONVERGED
        self.prepared = None
        direct = self.solver.method == "direct"
        name = self.solver.preconditioner
        if direct and name != "cholesky":
            name = "lu"
        symmetric = self.solver.method in SYMMETRIC_METHODS
        reason = set_up_preconditioner(
            self.ksp,
            name,
            symmetric=symmetric,
            direct=direct,
            fill=self.solver.fill,
            omega=self.solver.omega,
            from_options=bool(self.user_options),
        )
        if reason is Reason.CONVERGED:
            self.prepared = get_revision(operator)
        return reason

    def _share(self, operator: PETSc.Mat, reference: ReferenceMatrix) -> Reason:
        """Use the reference's preconditioner for the operator."""
        self.ksp.setOperators(operator)
        if self.shared is None:
            self.shared = ReferencePreconditioner(
                self.solver.preconditioner,
                symmetric=self.solver.method in SYMMETRIC_METHODS,
                single=self.solver.method in SINGLE_PRECISION_METHODS,
                fill=self.solver.fill,
                omega=self.solver.omega,
                from_options=bool(self.user_options),
            )
            pc = self.ksp.getPC()
            pc.setType(PETSc.PC.Type.PYTHON)
            pc.setPythonContext(self.shared)
        return self.shared.take(operator, reference)

    def run(
        self, rhs: PETSc.Vec, solution: PETSc.Vec, norm: float, state: SolverState
    ) -> tuple[Reason, float]:
        """Solve until the true residual is within the tolerance or no longer falls.

        Returns:
            The reason, and the relative residual of the best solution found.
        """
        if self.context is not None:
            self.context.space, self.context.solution = state.space, state.solution
            self.context.numbers = state.learnt
        tolerance = self.solver.tolerance
        self.asked = INNER * tolerance
        residual, before = math.inf, solution
        self.started = self.guess is not None
        if self.guess is not None:
            solution.setArray(self.guess)
            self.counts.recycled = True
            guessed = self._true_residual(rhs, solution) / norm
            if guessed <= self.asked:
                return Reason.CONVERGED, guessed
        while True:
            try:
                reason = self._once(rhs, solution, norm)
            except PETSc.Error as error:
                pass_interrupt(error)
                return Reason.PRECONDITIONER_FAILED, self._true_residual(rhs, solution) / norm
            previous, residual = residual, self._true_residual(rhs, solution) / norm
            # A row or column of zeros can let x grow without a trace in the residual.
            finite = math.isfinite(residual) and bool(np.isfinite(solution.array_r).all())
            if any_rank(rhs.comm, not finite):
                return Reason.NON_FINITE, residual
            if residual <= tolerance:
                return Reason.CONVERGED, residual
            if not residual <= previous:
                before.copy(solution)
                residual = previous
            if reason is not Reason.CONVERGED:
                return reason, residual
            # The method's estimate was too optimistic: go on from here as long as that helps.
            if residual > PROGRESS * previous:
                return Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE, residual
            before = solution.copy()
            # Some methods test the norm of M^-1 r, which then has to become smaller.
            self.asked *= PROGRESS * tolerance / residual

    def _once(self, rhs: PETSc.Vec, solution: PETSc.Vec, norm: float) -> Reason:
        """Run the KSP once more from the present solution, and count the costs."""
        ksp, counts, solver = self.ksp, self.counts, self.solver
        again = counts.last > 0 or self.started
        if solver.method == "direct":
            # Iterative refinement: self.residual holds b - A x from the second run on.
            correction = solution.duplicate()
            ksp.solve(self.residual if again else rhs, correction)
            solution.axpy(1.0, correction)
            counts.iterations += 1
            counts.last += 1
            counts.preconditioner += 1
            return _reason(ksp, solver.method)
        left = self.limit - counts.last
        if left <= 0:
            return Reason.ITERATION_LIMIT
        ksp.setTolerances(rtol=self.asked, atol=0.0, divtol=1e30, max_it=left)
        ksp.setInitialGuessNonzero(again)
        ksp.solve(rhs, solution)
        its = ksp.getIterationNumber()
        counts.iterations += its
        counts.last += its
        if self.context is not None:
            spent = self.context.counts
            counts.operator += spent.operator
            counts.preconditioner += spent.preconditioner
            counts.rebuild += spent.rebuild
            counts.recycled = counts.recycled or spent.recycled > 0
        elif solver.method == "gmres":
            # A cycle starts with a residual, unless from zero, and ends with an update.
            cycles = math.ceil(its / solver.restart)
            counts.operator += its + max(cycles - (not again), 0)
            counts.preconditioner += its + (0 if self.flexible else cycles)
        elif solver.method == "bicgstab":
            counts.operator += 2 * its + again
            counts.preconditioner += 2 * its + 1 + 2 * again
        else:
            counts.operator += its + again
            counts.preconditioner += its + (solver.method == "minres") * (1 + again)
        return _reason(ksp, solver.method)

    def _true_residual(self, rhs: PETSc.Vec, solution: PETSc.Vec) -> float:
        """Compute ||b - A x|| and keep the vector."""
        self.ksp.getOperators()[0].mult(solution, self.residual)
        self.counts.operator += 1
        self.residual.aypx(-1.0, rhs)
        return float(self.residual.norm())

    def settle_for(self, rhs: PETSc.Vec, solution: PETSc.Vec, residual: float) -> float:
        """After a failed method, replace an x that is worse than 0 by 0.

        Returns:
            The relative residual.
        """
        fit = residual <= 1.0 and bool(np.isfinite(solution.array_r).all())
        if any_rank(rhs.comm, not fit):
            solution.set(0.0)
            # Not finite if the matrix is not finite.
            residual = self._true_residual(rhs, solution) / rhs.norm()
        return residual

    def carried(self, result: SolveResult) -> dict[str, Any]:
        """Return what the next system recycles: nothing after a failure."""
        if self.context is None or not result.converged:
            return {"space": None, "solution": None, "learnt": ()}
        return {
            "space": self.context.space,
            "solution": self.context.solution,
            "learnt": self.context.numbers,
        }


def _set_hpddm(ksp: PETSc.KSP, restart: int, recycle: int) -> None:
    """Make the KSP HPDDM's GCRO-DR, which reads its settings only from the options database."""
    prefix = "kryloset_hpddm_"
    ksp.setOptionsPrefix(prefix)
    options = PETSc.Options(prefix)
    chosen = {
        "ksp_type": "hpddm",
        "ksp_hpddm_type": "gcrodr" if recycle else "gmres",
        "ksp_gmres_restart": restart,
        "ksp_hpddm_recycle": recycle,
    }
    for key, value in chosen.items():
        options[key] = value
    ksp.setFromOptions()
    for key in chosen:
        del options[key]


def _reason(ksp: PETSc.KSP, method: str) -> Reason:
    """Translate a KSP's reason."""
    code, petsc = ksp.getConvergedReason(), PETSc.KSP.ConvergedReason
    if code > 0:
        return Reason.CONVERGED
    if code == petsc.DIVERGED_BREAKDOWN and method in CONTEXTS:
        return Reason.STAGNATION
    return {
        petsc.DIVERGED_MAX_IT: Reason.ITERATION_LIMIT,
        petsc.DIVERGED_NANORINF: Reason.NON_FINITE,
        petsc.DIVERGED_PCSETUP_FAILED: Reason.PRECONDITIONER_FAILED,
        petsc.DIVERGED_INDEFINITE_MAT: Reason.NOT_POSITIVE_DEFINITE,
        petsc.DIVERGED_INDEFINITE_PC: Reason.NOT_POSITIVE_DEFINITE,
    }.get(code, Reason.BREAKDOWN)
