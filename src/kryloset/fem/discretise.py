# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes the discretisation of a family, and guards against errors in a user's own."""

from collections.abc import Sequence
from typing import Any

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.errors import FamilyError
from kryloset.krylov.names import LANES
from kryloset.problems.base import Array, Discretisation, Family, Instance, Solve
from kryloset.problems.checks.mistakes import blamed, describe_class, own_modules


def discretise(
    family: Family, comm: MPI.Comm, lanes: int = LANES[-1], *, kernels: bool = True
) -> Discretisation:
    """Return the discretisation of a family.

    Exceptions that a user's family raises, now or in any method of the discretisation, become a
    `FamilyError` that names the line.

    Args:
        family: The family.
        comm: Processes that share it.
        lanes: Largest number of instances that it is to solve at once.
        kernels: Whether it may assemble by kernels with lanes. Otherwise DOLFINx assembles one
            instance after another.

    Raises:
        FamilyError: A user's family raised an exception or did not return a discretisation, or a
            parameter changes no solution.
    """
    with blamed(family):
        found = family.discretise(comm)
    if own_modules(family) and not isinstance(found, Discretisation):
        raise FamilyError(
            f"{describe_class(family)}, discretise returned a {type(found).__name__}: return a "
            "Discretisation"
        )
    if not (isinstance(found.lanes, int) and found.lanes >= 1):
        raise FamilyError(
            f"{describe_class(family)}, lanes of its discretisation is {found.lanes!r}: take a "
            "number of instances, 1 or more"
        )
    if not kernels:
        found.with_kernels, lanes = False, 1
    if found.lanes > lanes:
        found.lanes = lanes
    forgotten = found.forgotten()
    if forgotten:
        raise FamilyError(
            f"{describe_class(family)}: {', '.join(forgotten)} is drawn but changes no solution: "
            "no form, condition or initial state uses it. Use it in `weak_form`, or declare "
            "Variable(..., descriptive=True) if it only describes the instance"
        )
    return _Guarded(family, found) if own_modules(family) else found


class _Guarded(Discretisation):
    """Passes all calls on, and turns exceptions into errors that name the family."""

    def __init__(self, family: Family, inner: Discretisation) -> None:
        self._family = family
        self._inner = inner
        self.lanes = inner.lanes

    def solve(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        with blamed(self._family):
            found: Any = self._inner.solve(instances, solve)
        where = f"{describe_class(self._family)}, solve of its discretisation returned"
        each = "return a list with a dictionary of fields for each instance"
        if not isinstance(found, list):
            raise FamilyError(f"{where} a {type(found).__name__}: {each}")
        if len(found) != len(instances) or not all(isinstance(one, dict) for one in found):
            kinds = ", ".join(type(one).__name__ for one in found) or "nothing"
            raise FamilyError(f"{where} {kinds} for {len(instances)} instances: {each}")
        return found

    def residual(self, instance: Instance, solution: Instance) -> float:
        with blamed(self._family):
            return self._inner.residual(instance, solution)

    def residuals(self, solved: Sequence[tuple[Instance, Instance]]) -> list[float]:
        with blamed(self._family):
            return self._inner.residuals(solved)

    def nonlinear_residuals(self) -> list[float]:
        with blamed(self._family):
            return self._inner.nonlinear_residuals()

    def resample(
        self, points: GridPoints, instance: Instance, solution: Instance
    ) -> dict[str, Array]:
        with blamed(self._family):
            try:
                return self._inner.resample(points, instance, solution)
            except NotImplementedError as error:
                unknown = error
        raise unknown

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        with blamed(self._family):
            return self._inner.evaluate(instance, solution)

    def meshes(self) -> dict[str, Array]:
        with blamed(self._family):
            return self._inner.meshes()

    def masks(self) -> dict[GridPoints | None, NDArray[np.int8]]:
        with blamed(self._family):
            return self._inner.masks()
