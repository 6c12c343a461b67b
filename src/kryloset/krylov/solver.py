# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solving a sequence of linear systems, one call a system."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.agreement import any_rank, largest
from kryloset.krylov.dense import Array
from kryloset.krylov.gcrodr import GCRODR, GMRESDR
from kryloset.krylov.guess import Guess
from kryloset.krylov.owner import (
    NEIGHBOUR_GROWTH,
    NEIGHBOUR_LIMIT,
    Owner,
    SharedPreconditioner,
)
from kryloset.krylov.preconditioner import FACTORS, Preconditioner, set_up_preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.recycling_bicgstab import RecyclingBiCGStab
from kryloset.krylov.recycling_cg import RecyclingCG
from kryloset.krylov.recycling_ksp import RecyclingKSP
from kryloset.krylov.recycling_minres import RecyclingMINRES
from kryloset.krylov.revision import Revision, get_revision
from kryloset.krylov.scaling import Scaling, is_safe, largest_entry, needs_scaling
from kryloset.krylov.state import SolverState
from kryloset.krylov.values import evolve

FILLED = ("icc", "ilu")
"""Incomplete factors, which have levels of fill."""

FILL_LIMIT = 10
"""Beyond, an incomplete factor is about as large as a complete one, but takes longer to make."""

Method = Literal[
    "gcrodr",
    "gmresdr",
    "gmres",
    "rcg",
    "cg",
    "rminres",
    "minres",
    "rbicgstab",
    "bicgstab",
    "hpddm",
    "direct",
]

type Refresh = Literal["always", "rental"] | tuple[int, ...]

INNER = 0.999
"""Part of the tolerance asked of PETSc, so that a residual summed in another order passes."""

CONTEXTS: dict[str, type[RecyclingKSP]] = {
    "gcrodr": GCRODR,
    "gmresdr": GMRESDR,
    "rcg": RecyclingCG,
    "rminres": RecyclingMINRES,
    "rbicgstab": RecyclingBiCGStab,
}

SYMMETRIC_METHODS = ("rcg", "cg", "rminres", "minres")
"""Methods that need a symmetric preconditioner, and one that is positive definite."""

SINGLE_METHODS = ("cg", "gmres")
"""Methods that get along with a factor in single precision: CG, whose residual is updated by
products with A alone, and GMRES, which is flexible then."""

PROGRESS = 0.5
"""A continued solve or a step of refinement that leaves more than this was the last."""


@dataclass(frozen=True, eq=False)
class SolveResult:
    """One solved (or failed) system.

    Attributes:
        solution: x, a vector of its own.
        iterations: Krylov steps; for direct 1 and one more per step of refinement.
        operator_applications: products with A: those of the method, those that rebuild the
            recycled space, and those that check the result.
        preconditioner_applications: products with M^-1, those that rebuild the recycled
            space too (with none: of the identity).
        true_residual: ||b - A x|| / ||b||, computed from A, x and b after the solve; 0 for
            b = 0, whose solution is 0.
        seconds_setup: preconditioner or factorisation, and the KSP where a new one was due.
        seconds_rebuild: making C = A M^-1 U of the recycled space.
        seconds_iterate: the rest of the solve.
        seconds_processor: of this rank's processor, for all of these.
        reason: why it ended.
        method: the method that ran.
        recycled: whether directions from an earlier system took part.
    """

    solution: PETSc.Vec
    iterations: int
    operator_applications: int
    preconditioner_applications: int
    true_residual: float
    seconds_setup: float
    seconds_rebuild: float
    seconds_iterate: float
    seconds_processor: float
    reason: Reason
    method: Method
    recycled: bool

    @property
    def converged(self) -> bool:
        """Whether the true residual is within the tolerance."""
        return self.reason is Reason.CONVERGED


@dataclass(frozen=True)
class SequenceSolver:
    """How to solve each system of a sequence. Numbers only; what changes is `SolverState`.

    Refill one Mat for all systems where you can: the KSP, its memory and the symbolic part
    of a factorisation are then used again. A different Mat gets a KSP of its own, since a
    KSP that is handed another Mat can keep a stale preconditioner.

    Attributes:
        method: those that recycle are gcrodr (GCRO-DR(restart, recycle), preconditioned from
            the left so that the directions are in x), rcg (recycling CG, A symmetric positive
            definite), rminres (recycling MINRES, A symmetric) and rbicgstab (recycling
            BiCGStab(2) on the space of GCRO-DR). hpddm is GCRO-DR of HPDDM,
            where PETSc has it; what it recycles stays in its KSP and not in the state.
            Nothing is carried by gmresdr (GMRES-DR(restart, recycle)), gmres (GMRES(restart),
            from the right), cg, minres, bicgstab (BiCGStab(2)) and direct (not iterative;
            MUMPS where PETSc has it, else PETSc's own: LU, or the factor of a symmetric
            matrix where the preconditioner is cholesky).
        preconditioner: PETSc's. On several ranks icc and ilu become block Jacobi with icc or
            ilu in each rank's block. For multigrid the matrix brings interpolations along, as
            those of families on a lattice do. The factors lu and cholesky are for `refresh`.
        tolerance: on the true relative residual ||b - A x|| / ||b||.
        restart: directions that a cycle of gcrodr, gmresdr, hpddm or gmres, or that rcg and
            rminres hold for the next space.
        recycle: of these, directions carried on.
        max_iterations: per system.
        refresh: which systems get a preconditioner of their own: always; by the ski-rental
            rule on measured seconds of `Rental`, the others using that of an earlier one,
            scaled to fit; or those with these numbers, counted from 0 (a replay of
            `SolverState.refreshes`). A system that an earlier one's preconditioner does not
            solve gets its own too.
        fill: levels of fill of icc and ilu, from 0, the pattern of A, to `FILL_LIMIT`; the other
            preconditioners have none, as cg has no restart.
        omega: relaxation factor of sor, between 0 and 2; the other preconditioners have none.
        guess: none, or projection: the combination of earlier solutions with the least residual,
            for systems that share a matrix, as time steps do; one that is within the tolerance
            is the solution.

    Raises:
        ValueError: for a name that is not known, a number out of range, or hpddm where PETSc
            was built without it.
    """

    method: Method = "gcrodr"
    preconditioner: Preconditioner = "ilu"
    tolerance: float = 1e-8
    restart: int = 40
    recycle: int = 20
    max_iterations: int = 10_000
    refresh: Refresh = "always"
    fill: int = 0
    omega: float = 1.0
    guess: Literal["none", "projection"] = "none"

    def __post_init__(self) -> None:
        """Check the numbers."""
        for key, known in (("method", Method), ("preconditioner", Preconditioner)):
            value, names = getattr(self, key), get_args(known)
            if value not in names:
                raise ValueError(f"{key} {value!r} is not known: use one of {', '.join(names)}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must lie between 0 and 1, got {self.tolerance}")
        for key, least in (("restart", 1), ("recycle", 0), ("max_iterations", 1)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be at least {least}, got {getattr(self, key)}")
        if not 0 <= self.fill <= FILL_LIMIT:
            raise ValueError(
                f"fill must be from 0 to {FILL_LIMIT}, got {self.fill}: with more levels take "
                "preconditioner lu or cholesky, the complete factors"
            )
        if not 0 < self.omega < 2:
            raise ValueError(
                f"omega must lie between 0 and 2, where SOR converges, got {self.omega}: 1 is "
                "Gauss and Seidel's"
            )
        if isinstance(self.refresh, str) and self.refresh not in ("always", "rental"):
            raise ValueError(
                f"refresh {self.refresh!r} is not known: use always, rental or numbers of systems"
            )
        if self.refresh != "always" and self.method == "direct":
            raise ValueError(
                "a factor is reused by an iterative method: use cg or gmres with "
                "preconditioner cholesky or lu"
            )
        if self.guess not in ("none", "projection"):
            raise ValueError(f"guess {self.guess!r} is not known: use none or projection")
        if self.guess != "none" and self.refresh != "always":
            raise ValueError(
                "guesses are for systems that share a matrix, whose preconditioner is kept "
                "anyway: use refresh always"
            )
        if self.method == "hpddm" and not PETSc.Sys.hasExternalPackage("hpddm"):
            raise ValueError("this PETSc was built without HPDDM: use method gcrodr")
        if self.method in (*CONTEXTS, "hpddm") and self.recycle >= self.restart:
            raise ValueError(
                f"recycle={self.recycle} must be smaller than restart={self.restart}: a cycle "
                "needs room for new directions"
            )

    @property
    def label(self) -> str:
        """What people call it, such as "cg + cholesky, reused" or "cg + icc(2)"."""
        factor = self.method == "direct" and self.preconditioner != "cholesky"
        preconditioner: str = "lu" if factor else self.preconditioner
        if self.fill and self.preconditioner in FILLED:
            preconditioner += f"({self.fill})"
        elif self.preconditioner == "sor" and self.omega != 1.0:
            preconditioner += f"({self.omega:g})"
        reused = ", reused" if self.refresh != "always" else ""
        guessed = ", guessed" if self.guess != "none" else ""
        return f"{self.method} + {preconditioner}{reused}{guessed}"

    def init(self) -> SolverState:
        """Return the state before the first system: nothing recycled."""
        return SolverState()

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve operator x = rhs with what `state` recycles. Collective.

        A failure is a result too: `reason`, and the best x that there is, which may be 0. The
        state that comes back then recycles nothing, so that a bad space ends with the system that
        made it. Where the squares of a norm would leave the range of double precision, b and A
        are scaled by powers of two first.

        Args:
            operator: square, assembled.
            rhs: laid out as the operator's rows.
            state: from `init`, an earlier solve or `SolverState.load`; left as it is.

        Raises:
            ValueError: if the sizes do not fit, or there are no rows.
            KrylosetError: for multigrid of a matrix without interpolations.
        """
        rows = check_sizes(operator, rhs)
        if state.space is not None and state.space.shape[0] != rows:
            raise ValueError(
                f"the state recycles vectors with {state.space.shape[0]} local rows, the "
                f"operator has {rows}: start with SequenceSolver.init() or use the same ranks"
            )
        norm = rhs.norm()
        if is_safe(norm):
            # What leaves the range of numbers on its way is found by the residual.
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                result, after = self._solve(operator, rhs, norm, state)
            if result.converged or not needs_scaling(operator):
                return result, after
        size = largest_entry(rhs)
        if 0.0 < size < math.inf:
            return self._solve_scaled(operator, rhs, state)
        reason = Reason.CONVERGED if size == 0.0 else Reason.NON_FINITE
        solution = rhs.duplicate()
        solution.set(0.0)
        result = SolveResult(
            solution, 0, 0, 0, 0.0 if size == 0.0 else math.nan, 0.0, 0.0, 0.0, 0.0, reason,
            self.method, False,
        )  # fmt: skip
        return result, evolve(state, **_count(state, result))

    def _solve_scaled(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve for b times a power of two, and A too where it asks for that. Collective.

        A matrix that is scaled is another one: nothing is recycled for it, or from it.
        """
        scaling = Scaling.of(operator, rhs)
        scaled, b = scaling.apply(operator, rhs)
        norm = b.norm()
        held = self.init() if scaling.operator else state
        result, after = self._solve(scaled, b, norm, held)
        solution = scaling.restore(result.solution)
        # Of x as it is now, of which digits may be gone.
        difference = scaled.createVecLeft()
        scaled.mult(scaling.take(solution), difference)
        difference.aypx(-1.0, b)
        residual, reason = difference.norm() / norm, result.reason
        if result.converged and not residual <= self.tolerance:
            finite = math.isfinite(residual)
            reason = Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE if finite else Reason.NON_FINITE
        if not residual <= 1.0:
            solution.set(0.0)
            residual = 1.0
        applied = result.operator_applications + 1
        result = replace(
            result, solution=solution, true_residual=residual, reason=reason,
            operator_applications=applied,
        )  # fmt: skip
        if scaling.operator:
            after = evolve(state.without_space(), owner=None, guess=None, workspace=None)
        return result, evolve(after, **_count(state, result))

    def _solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, norm: float, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve a system as it is, whose right-hand side has that norm. Collective."""
        solution = rhs.duplicate()
        solution.set(0.0)
        start, began = time.perf_counter(), time.process_time()
        workspace = state.workspace
        if not (isinstance(workspace, _Workspace) and workspace.serves(self, operator)):
            workspace = _Workspace(self, operator)
        workspace.counts = counts = _Counts(clock=began)
        owner = self._choose_owner(operator, state)
        counts.setup = time.perf_counter() - start
        start = time.perf_counter()
        guess = Guess.serve(operator, state.guess) if self.guess != "none" else None
        workspace.guess = first = guess.combine(rhs) if guess is not None else None
        counts.iterate = time.perf_counter() - start

        reason, residual = workspace.attempt(operator, rhs, solution, norm, state, owner)
        if reason is not Reason.CONVERGED and owner is not None and owner is state.owner:
            solution.set(0.0)
            counts.last = 0
            start = time.perf_counter()
            owner = Owner.of(operator)
            counts.setup += time.perf_counter() - start
            reason, residual = workspace.attempt(operator, rhs, solution, norm, state, owner)
        start = time.perf_counter()
        if reason is not Reason.CONVERGED:
            residual = workspace.settle_for(rhs, solution, residual)
            reason = reason if math.isfinite(residual) else Reason.NON_FINITE
        if guess is not None and counts.preconditioner and reason is Reason.CONVERGED:
            guess = guess.extend(operator, solution, first)
            counts.operator += 1
        counts.iterate += time.perf_counter() - start

        result = SolveResult(
            solution=solution,
            iterations=counts.iterations,
            operator_applications=counts.operator,
            preconditioner_applications=counts.preconditioner,
            true_residual=residual,
            seconds_setup=counts.setup,
            seconds_rebuild=counts.rebuild,
            seconds_iterate=counts.iterate,
            seconds_processor=counts.clock - began,
            reason=reason,
            method=self.method,
            recycled=counts.recycled,
        )
        carried = workspace.carried(result) | {"guess": guess if result.converged else None}
        if self.refresh != "always":
            carried |= _settle(state, owner if result.converged else None, counts, operator.comm)
        # A KSP that failed may hold half a factor: the next system gets a new one.
        kept = workspace if result.converged else None
        return result, evolve(state, **_count(state, result), **carried, workspace=kept)

    def _choose_owner(self, operator: PETSc.Mat, state: SolverState) -> Owner | None:
        """Return the matrix to precondition with: None for the operator itself. Collective."""
        if self.refresh == "always":
            return None
        due = state.rental.due if self.refresh == "rental" else state.systems in self.refresh
        owner = state.owner
        misfit = owner is None or owner.rows != operator.getLocalSize()[0]
        if due or any_rank(operator.comm, misfit):
            return Owner.of(operator)
        return owner


def check_sizes(operator: PETSc.Mat, rhs: PETSc.Vec) -> int:
    """Return the number of local rows of a system.

    Raises:
        ValueError: if the sizes do not fit, or there are no rows at all.
    """
    rows, columns = operator.getLocalSize()
    if rows != columns or rhs.getLocalSize() != rows:
        raise ValueError(
            f"a square operator and a right-hand side of its size are needed, got local "
            f"sizes {rows} x {columns} and {rhs.getLocalSize()}"
        )
    if operator.getSize()[0] == 0:
        raise ValueError("the operator has no rows: there is nothing to solve")
    return int(rows)


def _settle(
    state: SolverState, owner: Owner | None, counts: "_Counts", comm: PETSc.Comm
) -> dict[str, Any]:
    """Return the owner and the account of the next state, the same on all ranks. Collective."""
    price, seconds = largest(comm, counts.price), largest(comm, counts.rent)
    rental, refreshes = state.rental, state.refreshes
    if owner is None:
        rental = evolve(rental, owed=0.0)
    elif owner is state.owner:
        rental = rental.after_neighbour(counts.last, seconds)
    else:
        rental = rental.after_refresh(counts.last, price, seconds)
        refreshes = (*refreshes, state.systems)
    return {"owner": owner, "rental": rental, "refreshes": refreshes}


def _count(state: SolverState, result: SolveResult) -> dict[str, Any]:
    """Return the statistics with one more system counted."""
    return {
        "systems": state.systems + 1,
        "failures": state.failures + (not result.converged),
        "iterations": state.iterations + result.iterations,
        "operator_applications": state.operator_applications + result.operator_applications,
        "preconditioner_applications": (
            state.preconditioner_applications + result.preconditioner_applications
        ),
    }


@dataclass
class _Counts:
    """Costs of one solve, over all runs of the KSP that it took.

    `last`, `price` and `rent` are those of the last preconditioner that was tried: iterations,
    and seconds of the processor for its set-up and for them. `clock` is the processor's when
    that began to be measured, and then when it ended.
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


class _Workspace:
    """A KSP bound to one operator and set up as a `SequenceSolver` says."""

    def __init__(self, solver: SequenceSolver, operator: PETSc.Mat) -> None:
        self.solver = solver
        self.counts = _Counts()
        self.residual = operator.createVecLeft()
        self.ksp = ksp = PETSc.KSP().create(operator.comm)
        # The KSP holds a reference, so that no other Mat can get this one's address.
        ksp.setOperators(operator)
        self.prepared: Revision | None = None
        self.context: RecyclingKSP | None = None
        self.shared: SharedPreconditioner | None = None
        self.guess: Array | None = None
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
                # Flexible, it keeps M^-1 v: in single precision that would not be the same again.
                self.flexible = solver.refresh != "always" and solver.preconditioner in FACTORS
                ksp.setType(PETSc.KSP.Type.FGMRES if self.flexible else PETSc.KSP.Type.GMRES)
                ksp.setGMRESRestart(solver.restart)
                ksp.setPCSide(PETSc.PC.Side.RIGHT)
            case "hpddm":
                _set_hpddm(ksp, solver.restart, solver.recycle)
            case _:
                ksp.setType(PETSc.KSP.Type.PYTHON)
                self.context = CONTEXTS[solver.method](solver.restart, solver.recycle)
                ksp.setPythonContext(self.context)

    def serves(self, solver: SequenceSolver, operator: PETSc.Mat) -> bool:
        """Whether this workspace can be used for that solver and that Mat.

        A limit of iterations of its own is no hindrance.

        Where an earlier matrix preconditions, which only changes on our word, any Mat of the
        same layout will do; else only the one that it was made for.
        """
        mine = self.ksp.getOperators()[0]
        if self.solver is not solver and self.solver != solver:
            if self.solver != replace(solver, max_iterations=self.solver.max_iterations):
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
        owner: Owner | None,
    ) -> tuple[Reason, float]:
        """Set the preconditioner up, of that owner if there is one, and run."""
        counts, start = self.counts, time.perf_counter()
        reason = self.prepare() if owner is None else self._share(operator, owner)
        residual = 1.0
        now = time.perf_counter()
        ready = time.process_time()
        counts.setup += now - start
        counts.price, counts.clock = ready - counts.clock, ready
        if reason is not Reason.CONVERGED:
            return reason, residual
        self.limit = self.solver.max_iterations
        if owner is not None and owner is state.owner:
            limit = NEIGHBOUR_LIMIT + NEIGHBOUR_GROWTH * int(state.rental.own)
            self.limit = min(self.limit, limit)
        rebuilt = counts.rebuild
        reason, residual = self.run(rhs, solution, norm, state)
        counts.clock = time.process_time()
        counts.rent = counts.clock - ready
        counts.iterate += time.perf_counter() - now - (counts.rebuild - rebuilt)
        return reason, residual

    def prepare(self) -> Reason:
        """Set the preconditioner up for the operator's present entries, unless it is."""
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
        )
        if reason is Reason.CONVERGED:
            self.prepared = get_revision(operator)
        return reason

    def _share(self, operator: PETSc.Mat, owner: Owner) -> Reason:
        """Let the preconditioner of the owner be that of the operator."""
        self.ksp.setOperators(operator)
        if self.shared is None:
            self.shared = SharedPreconditioner(
                self.solver.preconditioner,
                symmetric=self.solver.method in SYMMETRIC_METHODS,
                single=self.solver.method in SINGLE_METHODS,
                fill=self.solver.fill,
                omega=self.solver.omega,
            )
            pc = self.ksp.getPC()
            pc.setType(PETSc.PC.Type.PYTHON)
            pc.setPythonContext(self.shared)
        return self.shared.take(operator, owner)

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
            except PETSc.Error:
                return Reason.PRECONDITIONER_FAILED, self._true_residual(rhs, solution) / norm
            previous, residual = residual, self._true_residual(rhs, solution) / norm
            # What a row or column of zeros lets grow is in no residual.
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
            # The method's own estimate was too kind: go on from here while that helps.
            if residual > PROGRESS * previous:
                return Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE, residual
            before = solution.copy()
            # Some methods judge by the norm of M^-1 r, which they have to make smaller then.
            self.asked *= PROGRESS * tolerance / residual

    def _once(self, rhs: PETSc.Vec, solution: PETSc.Vec, norm: float) -> Reason:
        """Run the KSP once more from the present solution, counting what it costs."""
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
            # A residual at the start of each cycle but that from zero, an update at its end.
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
        """Put x = 0 for what a method that failed has left, where that is worse.

        Returns:
            The relative residual.
        """
        fit = residual <= 1.0 and bool(np.isfinite(solution.array_r).all())
        if any_rank(rhs.comm, not fit):
            solution.set(0.0)
            # With a matrix that is not finite that is none.
            residual = self._true_residual(rhs, solution) / rhs.norm()
        return residual

    def carried(self, result: SolveResult) -> dict[str, Any]:
        """Return what goes on to the next system: nothing after a failure."""
        if self.context is None or not result.converged:
            return {"space": None, "solution": None, "learnt": ()}
        return {
            "space": self.context.space,
            "solution": self.context.solution,
            "learnt": self.context.numbers,
        }


def _set_hpddm(ksp: PETSc.KSP, restart: int, recycle: int) -> None:
    """Make the KSP HPDDM's GCRO-DR, which takes its numbers from the options database only."""
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


def _reason(ksp: PETSc.KSP, method: Method) -> Reason:
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
