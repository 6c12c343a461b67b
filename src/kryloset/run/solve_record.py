# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solve instances group by group, and record what each solve took."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.krylov import AutomaticState, LaneResult, ResumableSolver, State, solve_or_escalate
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.problems import Discretisation, Instance

logger = logging.getLogger(__name__)

FALLBACK = "fallback"
"""Label of the methods that take over where a strategy fails. Its number comes after theirs."""

#: The solution of one instance: its fields and unknowns by name.
type Solution = dict[str, NDArray[Any]]
#: Draws another instance for the number of one that an error names, leaves the number out, which is
#: None, or raises an error.
type Redraw = Callable[[int, Exception], Instance | None]


@dataclass
class SolveRecord:
    """What it took to solve one instance, over all of its linear systems.

    Attributes:
        instance: Number of the instance.
        lanes: Number of instances that were solved together with it, itself included.
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
        strategy: Number of the strategy that solved the last system; the number of strategies if
            all failed.
        label: Name of that strategy in messages, such as "cg + cholesky, reused".
        seconds_assemble: Everything else: reading, assembling and evaluating.
    """

    instance: int
    lanes: int = 1
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

    def add(self, result: LaneResult) -> None:
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
        instances: Numbers of the instances whose systems are solved together.

    Attributes:
        state: The solver's state after the last system.
        records: What the solves of each instance took so far.
    """

    def __init__(
        self, solver: ResumableSolver[Any], state: State, instances: Sequence[int]
    ) -> None:
        """Begin the records of a group."""
        self.state = state
        self.records = [SolveRecord(instance, len(instances)) for instance in instances]
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
        if len(result.of_each) != len(self.records):
            raise KrylosetError(
                f"{len(self.records)} instances were to be solved together, and a call of `solve` "
                f"had the systems of {len(result.of_each)}: hand over an ensemble of all, or set "
                "`lanes` of the discretisation to 1"
            )
        for attempt in attempts:
            record = self.records[attempt.lane]
            logger.warning("instance %d: escalated after %s", record.instance, attempt)
            record.escalations += 1
        ensemble = ensemble_of(operator)
        used = self._solver.used(state)
        alone = used.lanes > 1 and ensemble is None
        label = (used.change(lanes=1) if alone else used).label
        automatic = isinstance(state, AutomaticState)
        strategy, count = (state.choices[-1], len(state.strategies)) if automatic else (0, 1)
        escalated = {attempt.lane for attempt in attempts}
        for lane, (record, found) in enumerate(zip(self.records, result.of_each, strict=True)):
            if ensemble is not None and ensemble.resting[lane]:
                continue
            record.add(found)
            record.label, record.strategy = (
                (FALLBACK, count) if lane in escalated else (label, strategy)
            )
        return result.solution

    def solve(
        self, discretisation: Discretisation, instances: Sequence[Instance]
    ) -> list[Solution]:
        """Solve a group and complete its records.

        Raises:
            DataError: The parameters do not describe an instance of the problem.
            KrylosetError: A linear system, or the nonlinear equation, was not solved to the
                tolerance.
        """
        solutions = discretisation.solve(instances, self)
        residuals = discretisation.nonlinear_residuals()
        for record, residual in zip(self.records, residuals, strict=bool(residuals)):
            record.true_residual = residual
            # Written so that a NaN is refused, too.
            if not residual <= self.tolerance:
                raise KrylosetError(
                    f"the nonlinear equation was not solved to the tolerance {self.tolerance:g}: "
                    f"||F(x)|| / ||F(0)|| is {residual:.2e}; check the family's Newton iteration, "
                    "or draw milder parameters"
                )
        solving = sum(record.seconds for record in self.records)
        rest = time.perf_counter() - self._began - solving
        for record in self.records:
            record.seconds_assemble = rest / len(self.records)
        return solutions


def group_size(lanes: int, discretisation: Discretisation) -> int:
    """Return how many instances are solved together, of which the last group may have fewer.

    Args:
        lanes: How many systems the solver solves at once.
        discretisation: Turns instances into linear systems.
    """
    return min(lanes, discretisation.lanes)


def solve_group(
    discretisation: Discretisation,
    solver: ResumableSolver[Any],
    state: State,
    instances: Sequence[tuple[int, Instance]],
    redraw: Redraw | None = None,
) -> tuple[list[Solution], list[SolveRecord], State]:
    """Solve a group of neighbours; if that fails, each of them alone.

    So an error names its instance, and the others are solved.

    Args:
        discretisation: Turns the group into linear systems.
        solver: Solves them.
        state: Its state after the group before.
        instances: Number and parameters of each instance.
        redraw: Draws another one for an instance that is not solved; None if none is drawn.

    Returns:
        Solutions, solve records and the state after the group, without instances that are left out.

    Raises:
        DataError: The parameters of an instance, which is named, do not describe one.
        KrylosetError: An instance, which is named, was not solved to the tolerance.
    """
    numbers, parameters = zip(*instances, strict=True)
    while True:
        solve = RecordedSolve(solver, state, numbers)
        try:
            return solve.solve(discretisation, parameters), solve.records, solve.state
        except KrylosetError as error:
            if len(instances) > 1:
                names = ", ".join(map(str, numbers))
                logger.warning(
                    "instances %s are solved one at a time, not together: %s", names, error
                )
                break
            kind = DataError if isinstance(error, DataError) else KrylosetError
            named = kind(f"instance {numbers[0]}: {error}")
            # Another instance does not mend a family.
            if redraw is None or isinstance(error, ConfigError):
                raise named from error
            another = redraw(numbers[0], named)
            if another is None:
                return [], [], state
            parameters = (another,)
    solutions: list[Solution] = []
    records: list[SolveRecord] = []
    for instance in instances:
        found, taken, state = solve_group(discretisation, solver, state, [instance], redraw)
        for record in taken:
            record.escalations += 1
        solutions += found
        records += taken
    return solutions, records, state


def solve_in_order(
    discretisation: Discretisation,
    solver: ResumableSolver[Any],
    instances: Iterable[tuple[int, Instance]],
) -> Iterator[tuple[Solution, SolveRecord]]:
    """Solve instances in the given order, recycling from each group to the next.

    Args:
        discretisation: Turns instances into linear systems, `lanes` of them at once.
        solver: Solves them.
        instances: Number and parameters of each instance.

    Yields:
        Solution and solve record of each instance.

    Raises:
        DataError: The parameters of an instance, which is named, do not describe one.
        KrylosetError: An instance, which is named, was not solved to the tolerance.
    """
    state: State = solver.init()
    for group in batched(instances, discretisation.lanes):
        solutions, records, state = solve_group(discretisation, solver, state, group)
        yield from zip(solutions, records, strict=True)
