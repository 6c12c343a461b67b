# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solves instances on a coarse grid, so that they can be sorted by their solutions."""

from mpi4py import MPI  # isort: skip  # (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np
import scipy

from kryloset.config import GridPoints, count_points
from kryloset.errors import ConfigError, DataError
from kryloset.fem.discretise import discretise
from kryloset.problems.base import Array, Family, Instance, Variable, cell_axis
from kryloset.problems.lattice import vertices_of

COARSE_POINTS = (9, 11, 13, 17, 25, 33)
"""Points along each axis of coarse grids, coarsest first. Elements of degree 2 need odd numbers."""


class SolveByFactor:
    """A `Solve` for a few hundred unknowns by SuperLU, which starts faster than MUMPS.

    Attributes:
        tolerance: Tolerance of Newton's method.
    """

    tolerance = 1e-8

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x, with mean zero if the matrix maps constants to zero."""
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
    """A family on the coarsest grid of `COARSE_POINTS` that its `check` accepts.

    Parameters are interpolated linearly along each axis. `check` ensures that the grid resolves
    them.

    Attributes:
        points: The points of the coarse grid.
        restrict: Restricts the parameters of an instance to the coarse grid.
    """

    def __init__(self, family: Family) -> None:
        """Find the grid and discretise the family there.

        Args:
            family: The family on its own grid.

        Raises:
            ConfigError: No such grid is coarser than that of the family, instances have meshes of
                their own, or there are time steps.
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

        Outside the domain, where fields have no values, they are set to 0.

        Raises:
            DataError: The instance has no solution there, such as waves at resonance.
        """
        try:
            (solution,) = self._discretisation.solve([self.restrict(instance)], self._solve)
        except DataError as error:
            raise DataError(
                f"on a coarse grid of {count_points(self.points)}, {error}; "
                "take other features than solutions"
            ) from error
        return [np.nan_to_num(solution[v.name]) for v in self._coarse.fields]


class Restriction:
    """Interpolates the parameters of an instance to a coarser grid."""

    def __init__(self, family: Family, coarse: Family) -> None:
        """Compute the weights of the interpolation along each axis."""
        self._parameters = family.parameters
        self._weights = {
            axis: _interpolation(fine, coarse.coordinates[axis])
            for axis, fine in family.coordinates.items()
        }
        coarse_vertices = vertices_of(coarse)
        for axis, fine in vertices_of(family).items():
            self._weights[cell_axis(axis)] = _overlaps(fine, coarse_vertices[axis])

    def __call__(self, instance: Instance) -> dict[str, Array]:
        """Return the parameters on the coarse grid."""
        return {v.name: self._restrict(v, instance[v.name]) for v in self._parameters}

    def _restrict(self, variable: Variable, values: Array) -> Array:
        for place, axis in enumerate(variable.axes):
            if axis in self._weights:
                along = np.moveaxis(values, place, 0)
                coarse = self._weights[axis] @ along.reshape(len(along), -1)
                values = np.moveaxis(coarse.reshape(-1, *along.shape[1:]), 0, place)
        return np.asarray(values)


def make_coarse(family: Family, points: GridPoints, grids: tuple[GridPoints, ...] = ()) -> Family:
    """Return the family on another grid.

    Args:
        family: The family.
        points: The points of the grid.
        grids: Further grids.

    Raises:
        ConfigError: It is the family's own grid, or the family's `check` refuses it.
    """
    if points == family.mesh.points:
        raise ConfigError(f"there is no coarser grid than {count_points(points)}")
    mesh = family.mesh.model_copy(update={"points": points, "grids": grids})
    coarse = type(family)(family.settings, mesh)
    coarse.given = family.given
    coarse.check()
    return coarse


def _coarsen(family: Family) -> Family:
    """Return the family on the coarsest grid that it accepts."""
    refused = f"it has {count_points(family.mesh.points)} itself"
    longest = max(family.mesh.points_along(1))
    for points in COARSE_POINTS:
        if points >= longest:
            break
        try:
            return make_coarse(family, scale_points(family, (points - 1) / (longest - 1)))
        except ConfigError as error:
            refused = str(error)
    raise ConfigError(
        f"features solutions: {type(family).__name__} has no coarse grid of "
        f"{COARSE_POINTS[0]} to {COARSE_POINTS[-1]} points along each axis: {refused}. Or take "
        "other features, such as cosines"
    )


def _overlaps(fine: Array, coarse: Array) -> "scipy.sparse.csr_array":
    """Return the part of each coarse cell that lies in each fine one, (coarse, fine)."""
    ends = np.unique(np.concatenate([fine, coarse]))
    middles = (ends[1:] + ends[:-1]) / 2
    cells = [np.searchsorted(line[1:-1], middles) for line in (coarse, fine)]
    parts = np.diff(ends) / np.diff(coarse)[cells[0]]
    return scipy.sparse.csr_array((parts, cells), (len(coarse) - 1, len(fine) - 1))


def scale_points(family: Family, part: float) -> GridPoints:
    """Return about a part of the points of a family's grid along each axis.

    Elements of degree 2 have a node between two corners, so that the number of points is odd, or
    even along a periodic axis, which has none at its end.
    """
    points, degree = family.mesh.points, family.mesh.degree
    scaled = []
    for axis, count in zip(family.coordinates, family.mesh.points_along(3), strict=False):
        last = 0 if family.is_periodic(axis) else 1
        scaled.append(degree * max(round(part * (count - last) / degree), 1) + last)
    return max(scaled) if isinstance(points, int) else tuple(scaled)


def _interpolation(fine: Array, coarse: Array) -> "scipy.sparse.csr_array":
    """Return the nonnegative weights of linear interpolation, (coarse, fine)."""
    left = np.clip(np.searchsorted(fine, coarse, side="right") - 1, 0, len(fine) - 2)
    right = np.clip((coarse - fine[left]) / np.diff(fine)[left], 0.0, 1.0)
    weights, columns = np.stack([1 - right, right]), np.stack([left, left + 1])
    rows = np.broadcast_to(np.arange(len(coarse)), columns.shape)
    entries = weights.ravel(), (rows.ravel(), columns.ravel())
    return scipy.sparse.csr_array(entries, (len(coarse), len(fine)))
