# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Escalation: after a failed solve, methods that ask less of the matrix take over."""

from dataclasses import dataclass

from petsc4py import PETSc

from kryloset.errors import KrylosetError
from kryloset.krylov.names import Method, Preconditioner
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import SolveResult
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
    """

    method: Method
    preconditioner: Preconditioner
    reason: Reason
    true_residual: float
    iterations: int

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

    Returns:
        The result of the attempt that succeeded, the next state (with nothing recycled if an
        attempt failed) and the failed attempts.

    Raises:
        SolveError: if the last attempt fails, too.
        KrylosetError: if an entry of A or b is NaN or infinite.
        ValueError: as `SequenceSolver.solve`.
    """
    attempts: list[Attempt] = []
    result, after = solver.solve(operator, rhs, state)
    if not result.converged:
        culprit = find_infinite(operator, rhs)
        if culprit is not None:
            raise KrylosetError(
                f"{culprit} of A x = b has entries that are NaN or infinite: look for a division "
                "by zero, a logarithm or an overflow in what it is assembled from"
            )
    first = solver.used(after)
    ladder = [first] if result.converged else [first, *rungs(first, result.reason)]
    for rung in ladder:
        if rung is not first:
            result, _ = rung.solve(operator, rhs, rung.init())
        if result.converged:
            return result, after, tuple(attempts)
        plain = rung.method == "direct" and rung.preconditioner != "cholesky"
        attempts.append(
            Attempt(
                rung.method,
                "none" if plain else rung.preconditioner,
                result.reason,
                result.true_residual,
                result.iterations,
            )
        )
    raise SolveError(tuple(attempts), solver.tolerance)
