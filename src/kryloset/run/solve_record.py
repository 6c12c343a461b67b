# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve instances one after another, and record what each solve took."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError, KrylosetError
from kryloset.krylov import AutomaticState, ResumableSolver, SolveResult, State, solve_or_escalate
from kryloset.problems import Discretisation, Instance

logger = logging.getLogger(__name__)

#: The solution of one instance: its fields and unknowns by name.
type Solution = dict[str, NDArray[Any]]


@dataclass
class SolveRecord:
    """What it took to solve one instance, over all of its linear systems.

    Attributes:
        instance: Number of the instance.
        systems: Linear systems solved.
        iterations: Krylov iterations; this and the next two are sums over the systems.
        operator_applications: Products with A.
        preconditioner_applications: Products with M^-1.
        seconds_setup: Making preconditioners and factors.
        seconds_rebuild: Rebuilding the recycled subspace for the new operator.
        seconds_iterate: The rest of the linear solves.
        true_residual: Largest true relative residual ||b - A x|| / ||b||; of a nonlinear
            equation, ||F(x)|| / ||F(0)||.
        converged: Whether every system reached the tolerance.
        recycled: Whether directions of an earlier system were used.
        reason: Why the last solve stopped, a number of `krylov.Reason`; 0 without any system.
        escalations: Methods that failed before one succeeded.
        strategy: Number of the strategy that solved the last system.
        label: Name of that strategy in messages, such as "cg + cholesky, reused".
        seconds_assemble: Everything else: reading, assembling and evaluating.
    """

    instance: int
    systems: int = 0
    iterations: int = 0
    operator_applications: int = 0
    preconditioner_applications: int = 0
    seconds_setup: float = 0.0
    seconds_rebuild: float = 0.0
    seconds_iterate: float = 0.0
    true_residual: float = 0.0
    converged: bool = True
    recycled: bool = False
    reason: int = 0
    escalations: int = 0
    strategy: int = 0
    label: str = "none"
    seconds_assemble: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds spent in linear solves."""
        return self.seconds_setup + self.seconds_rebuild + self.seconds_iterate

    def add(self, result: SolveResult) -> None:
        """Count one more system."""
        self.systems += 1
        self.iterations += result.iterations
        self.operator_applications += result.operator_applications
        self.preconditioner_applications += result.preconditioner_applications
        self.reason = int(result.reason)
        self.recycled |= result.recycled
        self.converged &= result.converged
        # Unlike `max`, this keeps a NaN.
        self.true_residual = float(np.maximum(self.true_residual, result.true_residual))
        self.seconds_setup += result.seconds_setup
        self.seconds_rebuild += result.seconds_rebuild
        self.seconds_iterate += result.seconds_iterate


class RecordedSolve:
    """The solver as a discretisation sees it; calling it solves A x = b.

    If the configured method fails, it escalates to one that asks less of the matrix.

    Args:
        solver: The solver.
        state: Its state after the systems before.
        instance: Number of the instance whose systems are solved.

    Attributes:
        state: The solver's state after the last system.
        record: What the solves took so far.
    """

    def __init__(self, solver: ResumableSolver[Any], state: State, instance: int) -> None:
        """Begin the record of an instance."""
        self.state = state
        self.record = SolveRecord(instance)
        self._solver = solver
        self._began = time.perf_counter()

    @property
    def tolerance(self) -> float:
        """Largest acceptable true relative residual."""
        return self._solver.tolerance

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Solve one system and add it to the record.

        Raises:
            KrylosetError: No method reached the tolerance.
        """
        before = self.state.for_operator(operator)
        result, state, attempts = solve_or_escalate(self._solver, operator, rhs, before)
        self.state = state
        for attempt in attempts:
            logger.warning("escalated after %s", attempt)
        self.record.add(result)
        self.record.escalations += len(attempts)
        self.record.label = self._solver.used(state).label
        if isinstance(state, AutomaticState):
            self.record.strategy = state.choices[-1]
        return result.solution

    def solve(self, discretisation: Discretisation, instance: Instance) -> Solution:
        """Solve an instance and complete the record.

        Raises:
            DataError: The parameters do not describe an instance of the problem.
            KrylosetError: A linear system, or the nonlinear equation, was not solved to the
                tolerance.
        """
        solution = discretisation.solve(instance, self)
        residual = discretisation.nonlinear_residual()
        if residual is not None:
            self.record.true_residual = residual
            # Written so that a NaN is refused, too.
            if not residual <= self.tolerance:
                raise KrylosetError(
                    f"the nonlinear equation was not solved to the tolerance {self.tolerance:g}: "
                    f"||F(x)|| / ||F(0)|| is {residual:.2e}; check the family's Newton iteration, "
                    "or draw milder parameters"
                )
        self.record.seconds_assemble = time.perf_counter() - self._began - self.record.seconds
        return solution


def solve_in_order(
    discretisation: Discretisation,
    solver: ResumableSolver[Any],
    instances: Iterable[tuple[int, Instance]],
) -> Iterator[tuple[Solution, SolveRecord]]:
    """Solve instances in the given order, recycling from each to the next.

    Args:
        discretisation: Turns instances into linear systems.
        solver: Solves them.
        instances: Number and parameters of each instance.

    Yields:
        Solution and solve record of each instance.

    Raises:
        DataError: The parameters of an instance, which is named, do not describe one.
        KrylosetError: An instance, which is named, was not solved to the tolerance.
    """
    state: State = solver.init()
    for number, instance in instances:
        solve = RecordedSolve(solver, state, number)
        try:
            solution = solve.solve(discretisation, instance)
        except DataError as error:
            raise DataError(f"instance {number}: {error}") from error
        except KrylosetError as error:
            raise KrylosetError(f"instance {number}: {error}") from error
        state = solve.state
        yield solution, solve.record
