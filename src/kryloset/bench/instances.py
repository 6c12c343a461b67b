# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solving the systems of a family's instances: by one solver, or by several side by side."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

from kryloset.bench.harness import Contestant
from kryloset.config import DatasetConfig
from kryloset.errors import KrylosetError
from kryloset.problems import Family, load_family
from kryloset.progress import track
from kryloset.run.comparison import Method, in_turn
from kryloset.sampling import generator


@dataclass
class Account:
    """What it took to solve the systems of one instance.

    Attributes:
        deadline: Reading of the processor's clock after which it is not waited for.
        unknowns: Rows of a system.
        systems: Linear systems.
        iterations: Of all of them.
        escalations: Systems that a fallback solved.
        setup: Seconds for preconditioners and factors.
        iterate: Seconds for the rest of the solves.
        assembly: Seconds for assembly, and for gathering the solution.
        write: Seconds for writing the solution.
        true_residual: The largest, computed from an assembly of its own.
    """

    deadline: float = math.inf
    unknowns: int = 0
    systems: int = 0
    iterations: int = 0
    escalations: int = 0
    setup: float = 0.0
    iterate: float = 0.0
    assembly: float = 0.0
    write: float = 0.0
    true_residual: float = math.nan

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.assembly + self.setup + self.iterate + self.write


class Stopped(KrylosetError):
    """A method failed, or takes too long."""


class Sequential:
    """A `Solve` that hands the state of a solver from system to system."""

    def __init__(self, solver: Any, solve: Callable[..., Any] | None = None) -> None:
        """Begin before the first system.

        Args:
            solver: A `Solver`.
            solve: What to call with the solver, A, b and the state, such as `solve_or_escalate`;
                by default the solver itself, whose failure is then the end.
        """
        self.solver = solver
        self.state: Any = solver.init()
        self.account = Account()
        self._solve = solve

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""
        return float(self.solver.tolerance)

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x.

        Raises:
            Stopped: It takes too long, or the solver fails.
            KrylosetError: No fallback solves the system either.
        """
        account, began = self.account, time.process_time()
        if began > account.deadline:
            raise Stopped(f"given up after {account.systems} systems of an instance")
        state = self.state.for_operator(operator)
        if self._solve is None:
            result, self.state = self.solver.solve(operator, rhs, state)
            if not result.converged:
                raise Stopped(
                    f"does not converge after {result.iterations:,} iterations "
                    f"({result.reason.name.lower()})"
                )
        else:
            result, self.state, failed = self._solve(self.solver, operator, rhs, state)
            account.escalations += len(failed)
        seconds = time.process_time() - began
        reported = result.seconds_setup + result.seconds_rebuild + result.seconds_iterate
        # Solvers report wall-clock seconds, of which only the shares are used.
        setup = seconds * result.seconds_setup / reported if reported else 0.0
        account.unknowns = operator.getSize()[0]
        account.systems += 1
        account.iterations += result.iterations
        account.setup += setup
        account.iterate += seconds - setup
        return result.solution


@dataclass
class SideBySide:
    """A `Solve` that lets all contestants solve each system, and returns a solution.

    The residual of every solution is computed here, outside of the clock. Who leaves a system
    unsolved is out of the race.

    Attributes:
        choose: Returns the methods for such matrices, when the first is there.
        tolerance: On the true relative residual.
        contestants: In the order of the methods.
        unknowns: Rows of a system.
        systems: So far.
    """

    choose: Callable[[PETSc.Mat], Sequence[Method]]
    tolerance: float
    contestants: list[Contestant] = field(default_factory=list)
    unknowns: int = 0
    systems: int = 0

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x of the first method that is still there.

        Raises:
            Stopped: No method is left.
        """
        if not self.contestants:
            self.unknowns = operator.getSize()[0]
            self.contestants = [Contestant(method) for method in self.choose(operator)]
        running = [one for one in self.contestants if one.running]
        residual, norm, kept = rhs.duplicate(), rhs.norm(), None
        for contestant in in_turn(running, self.systems):
            result = contestant.solve(self.systems, operator, rhs)
            operator.mult(result.solution, residual)
            residual.aypx(-1.0, rhs)
            contestant.turns[-1].true_residual = residual.norm() / norm
            contestant.running = result.converged
            if result.converged and (kept is None or contestant is running[0]):
                kept = result.solution
        self.systems += 1
        if kept is None:
            raise Stopped(f"no method solves system {self.systems - 1}")
        return kept


@dataclass(frozen=True)
class Case:
    """Instances of a family.

    Attributes:
        label: What people call them.
        family: Its name.
        points: Points a side.
        dimension: Of the domain; the family's own if None.
        degree: Of the elements.
        parameters: Settings of the family that differ from its defaults.
    """

    label: str
    family: str
    points: int
    dimension: int | None = None
    degree: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Family:
        """Return the family."""
        mesh = {"points": self.points, "dimension": self.dimension, "degree": self.degree}
        given = {"family": self.family, "mesh": mesh, "parameters": dict(self.parameters)}
        return load_family(DatasetConfig.model_validate(given))


def race_in_family(
    case: Case,
    choose: Callable[[Family, PETSc.Mat], Sequence[Method]],
    count: int,
    tolerance: float,
) -> SideBySide:
    """Let methods solve every system of the first instances of a family.

    Args:
        case: Of which family the instances are.
        choose: Returns the methods.
        count: Instances.
        tolerance: On the true relative residual.
    """
    family = case.load()
    discretisation = family.discretise(MPI.COMM_SELF)
    solve = SideBySide(lambda operator: choose(family, operator), tolerance)
    for number in track(range(count), f"measuring {case.label}, {case.points} points a side"):
        discretisation.solve(family.draw(generator(0, number)), solve)
    return solve
