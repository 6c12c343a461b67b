# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw, assemble and solve an instance of a dataset again from its file alone, and compare.

The code that made the dataset is avoided where there is other code for the same: DOLFINx assembles
the matrix, and a direct method solves the system. `kryloset check` verifies all instances, but
solves nothing.
"""

from functools import cache, partial
from pathlib import Path

from mpi4py import MPI

import numpy as np

from kryloset.dataset.failures import count_attempts
from kryloset.dataset.integrity import changed_rows
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.fem.accuracy import relative_errors, stricter
from kryloset.fem.discretise import discretise
from kryloset.problems import Discretisation, Family, Instance
from kryloset.problems.checks.drawing import Given
from kryloset.problems.populations import Drawings, load_populations, population_of
from kryloset.run.checks.description import check_description
from kryloset.run.checks.family import load_same_family
from kryloset.run.checks.given import find_given
from kryloset.run.checks.outcome import Check, attempt
from kryloset.run.checks.rounding import allowed, find_rounded, moved
from kryloset.run.checks.solver_records import RESIDUAL_ROUNDING

#: How far parameters may be from the stored ones, relative to the largest value: another kind of
#: processor, or another version of a library, rounds otherwise (docs/explanation/sampling.md).
PARAMETER_ROUNDING = 1e-8


def run(path: Path, number: int) -> list[Check]:
    """Make an instance again, and compare it with what is stored.

    A family in a user's own file is loaded from that file, whose text must be that in the dataset.
    No text of the dataset is run.

    Args:
        path: The dataset's file.
        number: Number of the instance, as drawn.

    Returns:
        What was compared. If the description of the file is wrong, only that.

    Raises:
        DataError: The file is missing, damaged or not a dataset, or has no such instance.
    """
    with Dataset(path) as data:
        data.require_unchanged_texts()
        row = data.row_of(number)

        @cache
        def make() -> tuple[Family, Discretisation]:
            family = load_same_family(data)
            return family, discretise(family, MPI.COMM_SELF, kernels=False)

        described = attempt("description", partial(check_description, data, make))
        if not described.passed:
            return [described]
        # A family, and what reads arrays of its solution, may raise any exception on damaged ones.
        with describable(path):
            family, discretisation = make()
            population = population_of(load_populations(data.config), number)
            if population.shift:
                family = population.family
                discretisation = discretise(family, MPI.COMM_SELF, kernels=False)
            rows = attempt("stored rows", partial(_rows, data, row))
            attempts = count_attempts(data.provenance().failures)
            given = find_given(data, family)
            draw = Drawings([population], given, attempts, data.config.storage.precision)
            instance = draw(data.config.seed, number)
            parameters = attempt(
                "parameters", partial(_parameters, data.instance(row), instance, given)
            )
            solved = _Solved(data, row, family, discretisation, instance)
            residual = attempt("residual", solved.compare_residuals)
            return [described, rows, parameters, residual, attempt("solution", solved.compare)]


def describe(path: Path, number: int, checks: list[Check]) -> str:
    """Return the outcome as a table for people."""
    width = max(len(check.name) for check in checks)
    lines = [
        f"  {'agrees ' if check.passed else 'DIFFERS'}  {check.name.ljust(width)}  {check.detail}"
        for check in checks
    ]
    return "\n".join([f"{path}, instance {number}, made again from the file alone:", *lines])


def _rows(data: Dataset, row: int) -> str:
    """Check that the stored rows of the instance are those that were sealed."""
    changed, count = changed_rows(data.file, row)
    if changed:
        raise DataError(f"{', '.join(changed)}: not the digest that was sealed")
    return f"{count} arrays have the digests that were sealed"


def _parameters(stored: Instance, drawn: Instance, given: Given | None) -> str:
    """Compare the parameters: bit for bit, or within the rounding of another machine."""
    apart = {
        name: float(np.abs(values - stored[name]).max() / (np.abs(stored[name]).max() or 1.0))
        for name, values in drawn.items()
        if values.tobytes() != stored[name].tobytes()
    }
    told = ", ".join(f"{name} by {distance:.1e}" for name, distance in apart.items())
    if not all(distance <= PARAMETER_ROUNDING for distance in apart.values()):
        raise DataError(f"{told} of its largest value: another instance than that of the seed")
    if apart:
        return f"{told} of its largest value: another processor or library rounds otherwise"
    read = frozenset() if given is None else given.names
    parts = [] if given is None else [f"{', '.join(sorted(read))} {given.told}"]
    if again := [name for name in drawn if name not in read]:
        parts.append(f"{', '.join(again)}: bit for bit")
    return "; ".join(parts)


class _Solved:
    """The stored solution of an instance, and one by a direct method.

    Args:
        data: The dataset.
        row: Row of the instance.
        family: Its family.
        discretisation: Its discretisation.
        instance: Its parameters, drawn again.
    """

    def __init__(
        self,
        data: Dataset,
        row: int,
        family: Family,
        discretisation: Discretisation,
        instance: Instance,
    ) -> None:
        """Solve it again."""
        self._config = data.config
        quantity = "stored_residual" if data.config.storage.rounds else "true_residual"
        self._recorded = float(data.solver()[quantity][row])
        self._stored = data.solution(row)
        strict = stricter(family, self._config.solver.tolerance)
        (self._again,) = discretisation.solve([instance], strict)
        self._residuals = [
            discretisation.residual(instance, one) for one in (self._stored, self._again)
        ]
        self._rounding = 0.0
        if rounded := find_rounded(data.config, family):
            far = discretisation.residual(
                instance, moved(self._stored, rounded, int(data.numbers[row]))
            )
            self._rounding = allowed(far)

    def compare_residuals(self) -> str:
        """Check the residual of the stored solution: in the tolerance, and the recorded one."""
        found, again = self._residuals
        tolerance = self._config.solver.tolerance
        told = f"{found:.2e} (recorded {self._recorded:.2e}), {again:.0e} when solved again"
        # Written so that a NaN is refused, too.
        if not found <= tolerance + self._rounding:
            raise DataError(f"{told}: the tolerance is {tolerance:.0e}")
        if not abs(found - self._recorded) <= RESIDUAL_ROUNDING * (found + tolerance):
            raise DataError(f"{told}: not the recorded one")
        rounded = ", and no more than rounding to float32 adds" if self._rounding else ""
        return f"{told}, tolerance {tolerance:.0e}{rounded}"

    def compare(self) -> str:
        """Compare the solutions, in the L2 norm of the grid or of the degrees of freedom."""
        stored, again, allowed = self._stored, self._again, self._config.allowed_error
        other = [name for name, values in again.items() if values.shape != stored[name].shape]
        errors = relative_errors({n: v for n, v in again.items() if n not in other}, stored)
        told = ", ".join(f"{name} by {error:.1e}" for name, error in errors.items())
        told = f"{told} (relative L2; the tolerance allows {allowed:.0e})"
        if other:
            raise DataError(f"{told}; {', '.join(other)}: another mesh")
        if not all(error <= allowed for error in errors.values()):
            raise DataError(told)
        return told
