# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances solved on a grid with few points, to see which of them resemble each other."""

from mpi4py import MPI  # isort: skip  # (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from kryloset.errors import ConfigError, DataError
from kryloset.fem.discretise import discretise
from kryloset.problems.base import Array, Family, Instance, Variable

SIDES = (9, 11, 13, 17, 25, 33)
"""Points a side of coarse grids, coarsest first; odd, as elements of degree 2 need it."""


class SolveByFactor:
    """A `Solve` for a few hundred unknowns: SuperLU, which starts quicker than MUMPS."""

    tolerance = 1e-8

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x; of a matrix that constants are mapped to zero by, the one of mean zero."""
        offsets, columns, entries = operator.getValuesCSR()
        rows = len(offsets) - 1
        matrix = scipy.sparse.csr_array((entries, columns, offsets), (rows, rows))
        b = np.array(rhs.array_r)
        if operator.getNullSpace().handle:
            ones = np.ones((rows, 1))
            matrix = scipy.sparse.block_array([[matrix, ones], [ones.T, None]])
            b = np.append(b, 0.0)
        solution = rhs.duplicate()
        x = scipy.sparse.linalg.splu(scipy.sparse.csc_array(matrix)).solve(b)
        solution.setArray(x[:rows])
        return solution


class CoarseGrid:
    """A family on the coarsest grid of `SIDES` that its rules allow.

    Parameters are interpolated linearly along each axis: the rules have the grid resolve them.

    Attributes:
        points: Of the coarse grid, a side.
        restrict: Takes the parameters of an instance there.
    """

    def __init__(self, family: Family) -> None:
        """Find the grid and discretise the family there.

        Args:
            family: On its own grid.

        Raises:
            ConfigError: No such grid is coarser than the family's own, instances have meshes
                of their own, or there are time steps.
        """
        if any(variable.ragged for variable in (*family.parameters, *family.unknowns)):
            raise ConfigError(
                f"features solutions: each instance of {type(family).__name__} has a mesh of its "
                "own, so that their solutions on a coarse grid do not compare; take parameters"
            )
        if family.times is not None:
            raise ConfigError(
                f"features solutions: {type(family).__name__} solves {len(family.times) - 1} "
                "systems an instance on a coarse grid too; take cosines"
            )
        self._coarse = _coarsen(family)
        self.points = self._coarse.mesh.points
        self._discretisation = discretise(self._coarse, MPI.COMM_SELF)
        self._solve = SolveByFactor()
        self.restrict = Restriction(family, self._coarse)

    def solve(self, instance: Instance) -> list[Array]:
        """Return the fields of an instance on the coarse grid, each (points, ...).

        Outside of the domain, where they have no values, they are 0 in every instance.

        Raises:
            DataError: The instance has no solution there, such as waves at resonance.
        """
        try:
            solution = self._discretisation.solve(self.restrict(instance), self._solve)
        except DataError as error:
            raise DataError(
                f"on a coarse grid of {self.points} points a side, {error}; "
                "take other features than solutions"
            ) from error
        return [np.nan_to_num(solution[v.name]) for v in self._coarse.fields]


class Restriction:
    """Takes the parameters of an instance to a coarser grid."""

    def __init__(self, family: Family, coarse: Family) -> None:
        """Keep what the two grids ask for."""
        self._parameters = family.parameters
        self._weights = {
            axis: _interpolation(fine, coarse.coordinates[axis])
            for axis, fine in family.coordinates.items()
        }

    def __call__(self, instance: Instance) -> dict[str, Array]:
        """Return the parameters on the coarse grid."""
        return {v.name: self._restrict(v, instance[v.name]) for v in self._parameters}

    def _restrict(self, variable: Variable, values: Array) -> Array:
        for place, axis in enumerate(variable.axes):
            if axis in self._weights:
                values = np.moveaxis(
                    np.tensordot(self._weights[axis], values, axes=(1, place)), 0, place
                )
        return np.asarray(values)


def make_coarse(family: Family, points: int, grids: tuple[int, ...] = ()) -> Family:
    """Return the family on a grid of so many points a side, and on these further ones.

    Raises:
        ConfigError: Its rules do not allow that.
    """
    mesh = family.mesh.model_copy(update={"points": points, "grids": grids})
    coarse = type(family)(family.settings, mesh)
    coarse.check()
    return coarse


def _coarsen(family: Family) -> Family:
    """Return the family on the coarsest grid that it does not refuse."""
    refused = f"it has {family.mesh.points} points a side itself"
    for points in SIDES:
        if points >= family.mesh.points:
            break
        try:
            return make_coarse(family, points)
        except ConfigError as error:
            refused = str(error)
    raise ConfigError(
        f"features solutions: {type(family).__name__} has no coarse grid of "
        f"{SIDES[0]} to {SIDES[-1]} points a side: {refused}. Or take other features, such as "
        "cosines"
    )


def _interpolation(fine: Array, coarse: Array) -> Array:
    """Return the weights of linear interpolation, (coarse, fine), all of them positive."""
    return np.stack([np.interp(coarse, fine, unit) for unit in np.eye(len(fine))], axis=1)
