# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measures, on a few instances, the error of solutions that a tolerance on residuals leaves.

A residual alone does not bound the error: ||x - x*|| / ||x*|| may be as large as the condition
number times ||b - A x|| / ||b||. So a few instances are solved again with a much smaller tolerance.
The difference from the stored solution is the error that the tolerance leaves. It is compared with
the discretisation error, which no solver can remove. That is estimated by solving the same instance
on about half as many points along each axis (L. F. Richardson, Phil. Trans. A 210, 1911). Both
errors are relative to the solution in the L2 norm of the grid, for a trajectory at its last time.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from kryloset.errors import ConfigError, KrylosetError
from kryloset.fem.coarse_grid import Restriction, make_coarse, scale_points
from kryloset.fem.discretise import discretise
from kryloset.krylov import SequenceSolver, solve_or_escalate
from kryloset.krylov.scaling import norm_of
from kryloset.problems.base import Array, Discretisation, Family, Instance, OperatorTraits
from kryloset.problems.checks.coverage import POINT_ROUNDING

logger = logging.getLogger(__name__)

STRICTER = 1e-3
"""Fraction of the tolerance to which instances are solved again."""

STRICTEST = 1e-11
"""Smallest tolerance, which a direct solver reaches on most matrices."""

COARSE = 1e-8
"""Tolerance on the coarser grid, below its discretisation error."""


@dataclass(frozen=True)
class Accuracy:
    """The errors of a few instances, in the field with the largest algebraic error.

    Attributes:
        instances: Numbers of the instances.
        field: The field.
        tolerance: Tolerance to which they were solved.
        algebraic_error: Largest error that the tolerance leaves in any instance.
        discretisation_error: Estimated discretisation error of that instance; None if no coarser
            grid can be used.
    """

    instances: tuple[int, ...]
    field: str
    tolerance: float
    algebraic_error: float
    discretisation_error: float | None

    @property
    def excessive(self) -> bool:
        """Whether the algebraic error is larger than the discretisation error."""
        limit = self.discretisation_error
        return limit is not None and not self.algebraic_error <= limit

    def as_json(self) -> dict[str, Any]:
        """Return the errors as JSON has them, with a sentence for people."""
        return asdict(self) | {"excessive": self.excessive, "sentence": self.describe()}

    def log(self) -> None:
        """Log the errors, as a warning if the tolerance is too large."""
        level = logging.WARNING if self.excessive else logging.INFO
        logger.log(level, "%s", self.describe())

    def describe(self) -> str:
        """Describe the errors in a sentence, with advice if the tolerance is too large."""
        count = len(self.instances)
        sentence = (
            f"The tolerance {self.tolerance:.0e} leaves a relative L2 error of "
            f"{self.algebraic_error:.1e} in {self.field}, the largest of {count} "
            f"instance{'s' if count > 1 else ''} solved more strictly"
        )
        if self.discretisation_error is None:
            return f"{sentence}."
        sentence += f"; the discretisation's is about {self.discretisation_error:.0e}"
        if not self.excessive:
            return f"{sentence}."
        return f"{sentence}, which is less: set solver.tolerance to {self._wanted():.0e} or less."

    def _wanted(self) -> float:
        """Return the power of ten that leaves at most a tenth of the discretisation error."""
        assert self.discretisation_error is not None
        ratio = self.discretisation_error / self.algebraic_error
        return float(10.0 ** math.floor(math.log10(max(0.1 * ratio * self.tolerance, 1e-15))))


class SolveStrictly:
    """A `Solve` with a small tolerance, direct unless the matrix is singular.

    Attributes:
        tolerance: Largest relative residual.
    """

    def __init__(self, operator: OperatorTraits, tolerance: float, *, direct: bool = True) -> None:
        """Begin with an empty state.

        Args:
            operator: What is known of the matrix.
            tolerance: Largest relative residual.
            direct: Whether a factor fits in memory, unlike that of a fine mesh in space.
        """
        self.tolerance = tolerance
        self._solver = choose_strict(operator, tolerance, direct=direct)
        self._state = self._solver.init()

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x."""
        state = self._state.for_operator(operator)
        result, self._state, _ = solve_or_escalate(self._solver, operator, rhs, state)
        return result.solution


def choose_strict(
    operator: OperatorTraits, tolerance: float, *, direct: bool = True
) -> SequenceSolver:
    """Return a solver that reaches small tolerances: direct, unless the matrix is singular."""
    if direct and operator.nullspace == "none":
        return SequenceSolver("direct", "lu", tolerance)
    if operator.symmetric and operator.definite:
        return SequenceSolver("cg", "icc", tolerance)
    return SequenceSolver("gcrodr", "ilu", tolerance)


def stricter(family: Family, tolerance: float) -> SolveStrictly:
    """Return a solver to a thousandth of the tolerance to which instances were solved."""
    return SolveStrictly(family.operator, min(max(STRICTER * tolerance, STRICTEST), tolerance))


def measured(family: Family) -> int:
    """Return the number of instances whose errors are measured: 3, and 1 of trajectories."""
    return 3 if family.times is None else 1


def measure(
    family: Family,
    discretisation: Discretisation,
    tolerance: float,
    instances: Mapping[int, tuple[Instance, Instance]],
) -> Accuracy | None:
    """Measure the errors of a few instances.

    Args:
        family: The family.
        discretisation: Its discretisation.
        tolerance: Tolerance to which the instances were solved.
        instances: Parameters and stored solution by number of the instance.

    Returns:
        The errors; None, with a note in the log, if an instance cannot be solved more strictly.
    """
    strict = stricter(family, tolerance)
    worst: tuple[float, str, int] | None = None
    try:
        for number, (instance, solution) in instances.items():
            (reference,) = discretisation.solve([instance], strict)
            errors = relative_errors(_end(family, reference), _end(family, solution))
            name = max(errors, key=errors.__getitem__)
            if worst is None or errors[name] > worst[0]:
                worst = errors[name], name, number
    except KrylosetError as error:
        logger.info("the error that the tolerance leaves was not measured: %s", error)
        return None
    if worst is None:
        return None
    largest, name, number = worst
    beside = estimate_discretisation(family, *instances[number])
    of_field = None if beside is None else beside.get(name)
    return Accuracy(tuple(instances), name, tolerance, largest, of_field)


def estimate_discretisation(
    family: Family, instance: Instance, solution: Instance
) -> dict[str, float] | None:
    """Estimate the discretisation error of each field of an instance.

    Let e be the error on the grid, q the ratio of its mesh width to that of a coarser grid, and p
    the degree of the elements plus one. Asymptotically the two solutions differ by (q^-p - 1) e. If
    the solution is less smooth, the error is larger than this estimate.

    Returns:
        Errors by field; None, with a note in the log, if the family has no coarser grid on which
        its instances can be solved.
    """
    points = family.mesh.points
    try:
        coarse = _coarsen(family)
        for axis, line in coarse.further_grid(points).items():
            rounding = POINT_ROUNDING * np.ptp(line)
            if not np.allclose(line, family.coordinates[axis], rtol=0, atol=rounding):
                raise ConfigError(f"points along {axis} are not equidistant")
        restricted = Restriction(family, coarse)(instance)
        discretisation = discretise(coarse, MPI.COMM_SELF)
        (found,) = discretisation.solve([restricted], SolveStrictly(coarse.operator, COARSE))
        found = discretisation.resample(points, restricted, found)
        errors = relative_errors(_end(family, solution), _end(family, found))
    except Exception as error:
        # A user's family may be written for one grid.
        logger.info("the discretisation error was not estimated: %s", error)
        return None
    ratio = _most_intervals(family) / _most_intervals(coarse)
    return {name: e / (ratio ** (family.mesh.degree + 1) - 1) for name, e in errors.items()}


def _most_intervals(family: Family) -> int:
    """Return the number of intervals along the axis that has most."""
    lines = family.coordinates.items()
    return max(len(line) - (not family.is_periodic(axis)) for axis, line in lines)


def _coarsen(family: Family) -> Family:
    """Return the family on half its grid, or on three quarters if its `check` refuses that.

    Raises:
        ConfigError: Its `check` refuses both.
    """
    half, most = (scale_points(family, part) for part in (0.5, 0.75))
    try:
        return make_coarse(family, half, grids=(family.mesh.points,))
    except ConfigError:
        return make_coarse(family, most, grids=(family.mesh.points,))


def relative_errors(reference: Instance, found: Instance) -> dict[str, float]:
    """Return ||found - reference|| / ||reference|| of each field over points in the domain."""
    errors = {}
    for name, values in reference.items():
        u, other = np.asarray(values), np.asarray(found[name])
        inside = ~(np.isnan(u) | np.isnan(other))
        norm = norm_of(u[inside])
        errors[name] = norm_of((other - u)[inside]) / norm if norm > 0 else 0.0
    return errors


def _end(family: Family, solution: Instance) -> dict[str, Array]:
    """Return the fields, or those at the last time of a trajectory."""
    last = ... if family.times is None else -1
    return {v.name: np.asarray(solution[v.name])[last] for v in family.fields}
