# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Escalation: after a failed solve, methods that ask less of the matrix take over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from petsc4py import PETSc

from kryloset.errors import KrylosetError
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.names import Method, Preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import LaneResult, SolveResult
from kryloset.krylov.scaling import find_infinite
from kryloset.krylov.solver import ResumableSolver, SequenceSolver, State

FALLBACK_RESTART = 200
"""Restart of the GMRES that takes over. Hard systems need a long one."""


UNFIT = (
    Reason.PRECONDITIONER_FAILED,
    Reason.SINGULAR,
    Reason.OUT_OF_MEMORY,
    Reason.NON_FINITE,
)
"""Reasons for which the preconditioner is to blame."""


@dataclass(frozen=True)
class Attempt:
    """A solve that failed.

    Attributes:
        method: the method that ran.
        preconditioner: of that method; "cholesky" or "none" for direct.
        reason: why it failed.
        true_residual: ||b - A x|| / ||b|| where it stopped.
        iterations: how many it took.
        lane: of an ensemble, whose other lanes were solved by the same method or another.
    """

    method: Method
    preconditioner: Preconditioner
    reason: Reason
    true_residual: float
    iterations: int
    lane: int = 0

    def __str__(self) -> str:
        """Say what ran, how far it came, and what to try."""
        return (
            f"{self.method} with preconditioner {self.preconditioner}: relative residual "
            f"{self.true_residual:.2e} after {self.iterations} iterations; {self.reason.message}"
        )


class SolveError(KrylosetError):
    """No method of the ladder reached the tolerance.

    Attributes:
        attempts: all attempts, in order.
        tolerance: the tolerance that was not reached.
    """

    def __init__(self, attempts: tuple[Attempt, ...], tolerance: float) -> None:
        """Compose the message from the failed attempts."""
        self.attempts = attempts
        self.tolerance = tolerance
        lines = [f"  {attempt}" for attempt in attempts]
        super().__init__(
            f"the system was not solved to the tolerance {tolerance:g} on the true relative "
            "residual:\n" + "\n".join(lines) + "\nIf the matrix is singular, the right-hand "
            "side has to lie in its range; otherwise check how A and b were assembled"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error be pickled, so that it can come from another process."""
        return SolveError, (self.attempts, self.tolerance)


class LaneError(KrylosetError):
    """A lane of an ensemble cannot be solved.

    Attributes:
        lane: its number.
    """

    def __init__(self, lane: int, error: KrylosetError) -> None:
        """Take over the message of what a system alone would raise."""
        self.lane = lane
        self._error = error
        super().__init__(str(error))

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error be pickled, so that it can come from another process."""
        return LaneError, (self.lane, self._error)


def rungs(solver: SequenceSolver, failed: Reason) -> list[SequenceSolver]:
    """Return what to try after `solver` failed, the cheapest first.

    That is GMRES with a long restart, with jacobi if the preconditioner was at fault, and then LU.
    None of them uses the preconditioner of an earlier system.
    """
    ladder = []
    solver = solver.change(refresh="always")
    if solver.method == "direct":
        if solver.preconditioner == "cholesky":
            ladder.append(solver.change(preconditioner="lu"))
    else:
        restart = max(solver.restart, FALLBACK_RESTART)
        safe = failed in UNFIT
        gmres = solver.change(
            method="gmres",
            restart=restart,
            preconditioner="jacobi" if safe else solver.preconditioner,
        )
        ladder = [] if gmres == solver else [gmres]
        ladder.append(solver.change(method="direct", preconditioner="lu"))
    return ladder


def solve_or_escalate[S: State](
    solver: ResumableSolver[S], operator: PETSc.Mat, rhs: PETSc.Vec, state: S
) -> tuple[SolveResult, S, tuple[Attempt, ...]]:
    """Solve with a solver; if that fails, with GMRES(200), and then directly.

    The lanes of an ensemble that failed are solved so, each alone; the solutions of the others
    are kept.

    Returns:
        The result of the attempt that succeeded, the next state (with nothing recycled if an
        attempt failed) and the failed attempts.

    Raises:
        SolveError: if the last attempt fails, too.
        KrylosetError: if an entry of A or b is NaN or infinite.
        LaneError: in place of both, for a lane of an ensemble.
        ValueError: as `SequenceSolver.solve`.
    """
    result, after = solver.solve(operator, rhs, state)
    if result.converged:
        return result, after, ()
    ensemble = ensemble_of(operator)
    first = solver.used(after)
    if ensemble is None:
        refuse_infinite(operator, rhs)
        ladder = rungs(first, result.reason)
        result, attempts = _escalate(first, ladder, operator, rhs, result)
        return result, after, attempts
    columns = result.solution.array_w.reshape(-1, ensemble.lanes)
    results, failed = list(result.lanes), list[Attempt]()
    for lane, found in enumerate(result.lanes):
        if found.converged:
            continue
        system = ensemble.system(lane, rhs)
        alone = first.change(lanes=1)
        ladder = [*([alone] if first.together else []), *rungs(alone, found.reason)]
        try:
            refuse_infinite(*system)
            solved, attempts = _escalate(first, ladder, *system, found)
        except KrylosetError as error:
            raise LaneError(lane, error) from error
        columns[:, lane] = solved.solution.array_r
        results[lane] = solved
        failed += [replace(attempt, lane=lane) for attempt in attempts]
    return SolveResult.of_lanes(result.solution, results), after, tuple(failed)


def refuse_infinite(operator: PETSc.Mat, rhs: PETSc.Vec) -> None:
    """Refuse a system with entries that are not finite. Collective.

    Raises:
        KrylosetError: says where they are.
    """
    culprit = find_infinite(operator, rhs)
    if culprit is not None:
        raise KrylosetError(
            f"{culprit} of A x = b has entries that are NaN or infinite: look for a division "
            "by zero, a logarithm or an overflow in what it is assembled from"
        )


def _escalate(
    solver: SequenceSolver,
    ladder: Sequence[SequenceSolver],
    operator: PETSc.Mat,
    rhs: PETSc.Vec,
    result: LaneResult,
) -> tuple[SolveResult, tuple[Attempt, ...]]:
    """Return the result of the first rung that solves a system, and the attempts before it.

    Args:
        solver: failed.
        ladder: what to try.
        operator: of the system.
        rhs: of the system.
        result: of the solver.
    """
    attempts = [_attempt(solver, result)]
    for rung in ladder:
        result, _ = rung.solve(operator, rhs, rung.init())
        if result.converged:
            return result, tuple(attempts)
        attempts.append(_attempt(rung, result))
    raise SolveError(tuple(attempts), solver.tolerance)


def _attempt(solver: SequenceSolver, result: LaneResult) -> Attempt:
    plain = solver.method == "direct" and solver.preconditioner != "cholesky"
    return Attempt(
        solver.method,
        "none" if plain else solver.preconditioner,
        result.reason,
        result.true_residual,
        result.iterations,
    )
