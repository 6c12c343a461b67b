# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solving a sequence of linear systems, one call a system."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.collective import any_rank, largest
from kryloset.krylov.fast_replace import evolve
from kryloset.krylov.preconditioners.set_up import Preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.reuse.guess import Guess
from kryloset.krylov.reuse.reference import (
    Owner,
)
from kryloset.krylov.scaling import Scaling, is_safe, largest_entry, needs_scaling
from kryloset.krylov.state import SolverState
from kryloset.krylov.workspace import CONTEXTS, Costs, Workspace

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
        if not (isinstance(workspace, Workspace) and workspace.serves(self, operator)):
            workspace = Workspace(self, operator)
        workspace.counts = counts = Costs(clock=began)
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
    state: SolverState, owner: Owner | None, counts: Costs, comm: PETSc.Comm
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
