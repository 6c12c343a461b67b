# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The grids of a family: that of the dataset, and further ones."""

import numpy as np

from kryloset.config import GridPoints
from kryloset.fem.evaluation import Evaluation
from kryloset.fem.unknowns import Unknowns
from kryloset.problems.base import Array, Family, Variable

#: Name of a grid: None for that of the dataset, the entry of `mesh.grids` for a further one.
type Name = GridPoints | None


class Grids:
    """Points of the grids of a family, and values at these points.

    Attributes:
        axes: Coordinates of the dataset's grid.
    """

    def __init__(self, family: Family) -> None:
        """Take the coordinates from a family."""
        self.axes = family.coordinates
        self._coordinates: dict[Name, dict[str, Array]] = {None: self.axes}
        self._coordinates |= {points: family.further_grid(points) for points in family.mesh.grids}

    def lengths(self, grid: Name) -> tuple[int, ...]:
        """Return the number of points along each axis of a grid."""
        return tuple(map(len, self._coordinates[grid].values()))

    def points(self, grid: Name) -> Array:
        """Return the points of a grid, (points, dimension), in C order."""
        lines = self._coordinates[grid].values()
        return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(lines))

    def are_nodes(self, unknowns: Unknowns) -> bool:
        """Return whether the points of the dataset's grid are the nodes of a space."""
        grid, nodes = self.points(None), unknowns.points
        if unknowns.tangents is not None or nodes.shape != grid.shape:
            return False
        return bool(np.allclose(nodes, grid, rtol=0, atol=1e-9 * np.ptp(grid, axis=0).max()))

    def evaluations(self, unknowns: Unknowns, nodal: bool) -> dict[Name, Evaluation]:
        """Return evaluations on all grids other than the nodes. Collective.

        Args:
            unknowns: Degrees of freedom of the functions.
            nodal: Whether the points of the dataset's grid are their nodes.
        """
        others = [grid for grid in self._coordinates if grid is not None or not nodal]
        return {grid: Evaluation(unknowns, self.points(grid)) for grid in others}

    def spread(self, variable: Variable, values: Array) -> Array:
        """Extend profiles to the whole grid, constant along the axes that they lack.

        Args:
            variable: What the profiles are of.
            values: (lanes, ...), a profile of each lane.
        """
        sizes = {axis: len(points) for axis, points in self.axes.items()}
        shape = tuple(n if axis in variable.axes else 1 for axis, n in sizes.items())
        components = values.shape[1 + len(variable.axes) :]
        whole = (len(values), *sizes.values(), *components)
        return np.broadcast_to(values.reshape(-1, *shape, *components), whole)
