# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solvers of sequences of linear systems: the protocol, and the solver with fixed settings."""

import math
import os
import time
from dataclasses import replace
from typing import Any, Protocol, Self

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.collective import any_rank, largest
from kryloset.krylov.ensemble.matrix import EnsembleMatrix, ensemble_of
from kryloset.krylov.ensemble.solver import EnsembleSolver
from kryloset.krylov.fast_replace import fast_replace
from kryloset.krylov.native.kernels import load_kernels
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import SolveResult
from kryloset.krylov.reuse.guess import Guess
from kryloset.krylov.reuse.reference import ReferenceMatrix
from kryloset.krylov.scaling import Scaling, is_safe, largest_entry, needs_scaling
from kryloset.krylov.settings import Settings
from kryloset.krylov.state import SolverState
from kryloset.krylov.workspace import Costs, Workspace


class State(Protocol):
    """What a solver carries from one system to the next: a value."""

    def for_operator(self, operator: PETSc.Mat) -> Self:
        """Return this state without what does not fit an operator of another size. Collective."""

    def without_space(self) -> Self:
        """Return this state with nothing recycled."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, one for each rank."""


class Solver[S: State](Protocol):
    """Solves the systems of a sequence, one in each call.

    A solver itself never changes. What it learns from a system is in the state that `solve`
    returns. Pass that state to the next call.
    """

    @property
    def tolerance(self) -> float:
        """Largest true relative residual ||b - A x|| / ||b|| of a solution."""

    def init(self) -> S:
        """Return the state before the first system."""

    def solve(self, operator: PETSc.Mat, rhs: PETSc.Vec, state: S) -> tuple[SolveResult, S]:
        """Solve operator x = rhs; return the result and the next state. Collective.

        A solve that misses the tolerance raises no error: `SolveResult.reason` says why it ended.
        """


class ResumableSolver[S: State](Solver[S], Protocol):
    """A solver whose sequence can be resumed, and whose failures can be escalated."""

    def load(self, path: str | os.PathLike[str]) -> S:
        """Read a state that `State.save` wrote.

        Raises:
            KrylosetError: if the file is missing, damaged or not such a state.
        """

    def used(self, state: S) -> "SequenceSolver":
        """Return the solver with fixed settings that solved the last system."""


class SequenceSolver(Settings):
    """A solver with fixed settings; what changes from system to system is `SolverState`.

    Refill one Mat for all systems where you can. The KSP, its memory and the symbolic part of a
    factorisation are then used again. Each new Mat gets a new KSP, since a KSP that is handed
    another Mat can keep a stale preconditioner.
    """

    def init(self) -> SolverState:
        """Return the state before the first system: nothing recycled."""
        return SolverState()

    def load(self, path: str | os.PathLike[str]) -> SolverState:
        """As `SolverState.load`."""
        return SolverState.load(path)

    def used(self, state: SolverState) -> Self:
        """Return this solver, which solves every system."""
        return self

    @property
    def together(self) -> bool:
        """Whether the lanes of an ensemble are solved side by side, by compiled kernels."""
        return self.lanes > 1 and load_kernels() is not None

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve operator x = rhs, recycling what `state` holds. Collective.

        A failed solve returns a result, too: its `reason`, and the best x found, which may be 0.
        The state that comes back then recycles nothing, so that a bad space does no further harm.
        If the square of a norm would leave the range of double precision, b and A are scaled by
        powers of two first.

        The lanes of an ensemble (`ensemble.matrix`) are solved side by side, or with `lanes` 1 one
        after another. `SolveResult.lanes` says how each of them went.

        Args:
            operator: square, assembled.
            rhs: laid out like the operator's rows.
            state: from `init`, an earlier solve or `SolverState.load`. It is not changed.

        Raises:
            ValueError: if the sizes do not fit, or there are no rows.
            KrylosetError: for multigrid of a matrix without interpolations.
        """
        rows = check_sizes(operator, rhs)
        ensemble = ensemble_of(operator)
        if ensemble is not None:
            if self.together:
                return self._solve_together(operator, rhs, state)
            return self._solve_in_turn(ensemble, rhs, state)
        if state.space is not None and state.space.shape[0] != rows:
            raise ValueError(
                f"the state recycles vectors with {state.space.shape[0]} local rows, the "
                f"operator has {rows}: start with SequenceSolver.init() or use the same ranks"
            )
        norm = rhs.norm()
        if is_safe(norm):
            # The residual shows whether a number has left the range on the way.
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
            solution=solution,
            iterations=0,
            operator_applications=0,
            preconditioner_applications=0,
            true_residual=0.0 if size == 0.0 else math.nan,
            seconds_setup=0.0,
            seconds_rebuild=0.0,
            seconds_iterate=0.0,
            seconds_processor=0.0,
            reason=reason,
            method=self.method,
            recycled=False,
        )
        return result, fast_replace(state, **_count(state, result))

    def _solve_together(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve the lanes of an ensemble side by side."""
        workspace = state.workspace
        if not (isinstance(workspace, EnsembleSolver) and workspace.serves(self, operator)):
            workspace = EnsembleSolver(self, operator, double=state.double)
        result = workspace.solve(rhs, first=state.systems == 0)
        kept = {"workspace": workspace, "double": workspace.double}
        return result, fast_replace(state, **_count(state, result), **kept)

    def _solve_in_turn(
        self, ensemble: EnsembleMatrix, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve the lanes of an ensemble one after another."""
        solution = rhs.duplicate()
        columns = solution.array_w.reshape(-1, ensemble.lanes)
        columns[:] = 0.0
        results = []
        for lane in range(ensemble.active):
            result, state = self.solve(*ensemble.system(lane, rhs), state)
            columns[:, lane] = result.solution.array_r
            results.append(result)
        return SolveResult.of_lanes(solution, results), state

    def _solve_scaled(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve for b times a power of two, and for A times another if it needs one. Collective.

        A scaled matrix is another matrix: nothing is recycled for it or from it.
        """
        scaling = Scaling.of(operator, rhs)
        scaled, b = scaling.apply(operator, rhs)
        norm = b.norm()
        held = self.init() if scaling.operator else state
        result, after = self._solve(scaled, b, norm, held)
        solution = scaling.restore(result.solution)
        # The residual of the restored x, which may have lost digits.
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
            after = fast_replace(state.without_space(), reference=None, guess=None, workspace=None)
        return result, fast_replace(after, **_count(state, result))

    def _solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, norm: float, state: SolverState
    ) -> tuple[SolveResult, SolverState]:
        """Solve a system as it is, given the norm of its right-hand side. Collective."""
        solution = rhs.duplicate()
        solution.set(0.0)
        start, began = time.perf_counter(), time.process_time()
        workspace = state.workspace
        if not (isinstance(workspace, Workspace) and workspace.serves(self, operator)):
            workspace = Workspace(self, operator)
        workspace.counts = counts = Costs(clock=began)
        reference = self._choose_reference(operator, state)
        counts.setup = time.perf_counter() - start
        start = time.perf_counter()
        guess = Guess.serve(operator, state.guess) if self.guess != "none" else None
        workspace.guess = first = guess.combine(rhs) if guess is not None else None
        counts.iterate = time.perf_counter() - start

        reason, residual = workspace.attempt(operator, rhs, solution, norm, state, reference)
        if (
            reason is not Reason.CONVERGED
            and reference is not None
            and reference is state.reference
        ):
            solution.set(0.0)
            counts.last = 0
            start = time.perf_counter()
            reference = ReferenceMatrix.of(operator)
            counts.setup += time.perf_counter() - start
            reason, residual = workspace.attempt(operator, rhs, solution, norm, state, reference)
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
            carried |= _settle(
                state, reference if result.converged else None, counts, operator.comm
            )
        # A KSP that failed may hold half a factor. The next system gets a new one.
        kept = workspace if result.converged else None
        return result, fast_replace(state, **_count(state, result), **carried, workspace=kept)

    def _choose_reference(self, operator: PETSc.Mat, state: SolverState) -> ReferenceMatrix | None:
        """Return the matrix to precondition with; None for the operator itself. Collective."""
        if self.refresh == "always":
            return None
        due = state.ski_rental.due if self.refresh == "rental" else state.systems in self.refresh
        reference = state.reference
        misfit = reference is None or reference.rows != operator.getLocalSize()[0]
        if due or any_rank(operator.comm, misfit):
            return ReferenceMatrix.of(operator)
        return reference


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
    state: SolverState, reference: ReferenceMatrix | None, counts: Costs, comm: PETSc.Comm
) -> dict[str, Any]:
    """Return the next state's reference and account, the same on all ranks. Collective."""
    price, seconds = largest(comm, counts.price), largest(comm, counts.rent)
    account, refreshes = state.ski_rental, state.refreshes
    if reference is None:
        account = fast_replace(account, owed=0.0)
    elif reference is state.reference:
        account = account.after_neighbour(counts.last, seconds)
    else:
        account = account.after_refresh(counts.last, price, seconds)
        refreshes = (*refreshes, state.systems)
    return {"reference": reference, "ski_rental": account, "refreshes": refreshes}


def _count(state: SolverState, result: SolveResult) -> dict[str, Any]:
    """Return the statistics with one more system counted."""
    return {
        "systems": state.systems + len(result.of_each),
        "failures": state.failures + result.failures,
        "iterations": state.iterations + result.iterations,
        "operator_applications": state.operator_applications + result.operator_applications,
        "preconditioner_applications": (
            state.preconditioner_applications + result.preconditioner_applications
        ),
    }
