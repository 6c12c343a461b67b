# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What of a dataset is exported: instances, grids and precision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.dataset.cells import axes_varying, cells_of_points, is_in_cells, is_on_grid
from kryloset.dataset.layout import grid_group
from kryloset.dataset.reader import Dataset

type Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Selection:
    """A part of a dataset.

    Attributes:
        dataset: The open dataset.
        instances: Rows of the instances, ascending.
        splits: Those of each split; splits without any are left out.
        grids: The points of each further grid, None for the dataset's own grid.
        dtype: The type of floating-point numbers.
        origin: Where the data come from, by names that are attributes in many formats.
    """

    dataset: Dataset
    instances: NDArray[np.int64]
    splits: Mapping[str, NDArray[np.int64]]
    grids: tuple[GridPoints | None, ...]
    dtype: np.dtype[Any]
    origin: Mapping[str, str]

    @property
    def view(self) -> "GridView":
        """The dataset on the first of the grids."""
        return self.on(self.grids[0])

    def on(self, points: GridPoints | None) -> "GridView":
        """Return the dataset on one of the grids."""
        return GridView(self.dataset, points)


@dataclass(frozen=True)
class _Variable:
    """Where a variable is on a grid.

    Attributes:
        key: Its key in the dataset.
        varies: Along which axes of the grid it varies.
        rank: 1 for a vector.
        in_cells: Whether its array has values in cells, and not at the points of the grid.
    """

    key: str
    varies: tuple[bool, ...]
    rank: int
    in_cells: bool = False


@dataclass(frozen=True)
class GridView:
    """Parameters and fields of a dataset on one of its grids.

    Attributes:
        dataset: The open dataset.
        points: Those of a further grid, None for the dataset's own.
    """

    dataset: Dataset
    points: GridPoints | None

    @cached_property
    def coordinates(self) -> dict[str, NDArray[np.float64]]:
        """Coordinates by axis, in the order of the axes."""
        return self.dataset.coordinates_on(self.points)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(map(len, self.coordinates.values()))

    @cached_property
    def _variables(self) -> dict[str, _Variable]:
        """Return by name what is on the grid; numbers are on every grid."""
        dataset, points = self.dataset, self.points
        there = () if points is None else dataset.names_on(points)
        found = {}
        for name in (*dataset.parameters, *dataset.fields):
            if not is_on_grid(dataset, name):
                continue
            varies, rank = axes_varying(dataset, name), dataset.rank(name)
            if points is None or not any(varies):
                found[name] = _Variable(name, varies, rank, in_cells=is_in_cells(dataset, name))
            elif name in there:
                found[name] = _Variable(f"{grid_group(points)}/{name}", varies, rank)
        return found

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters that are functions on the grid, along all axes or some, or numbers."""
        return tuple(name for name in self.dataset.parameters if name in self._variables)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Parameters that are not on this grid: those with axes of their own, or along a few."""
        return tuple(name for name in self.dataset.parameters if name not in self._variables)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the solution."""
        return self.dataset.fields

    def rank(self, name: str) -> int:
        """Return 1 for a vector, which has an axis of components, last; otherwise 0."""
        return self._variables[name].rank

    def is_number(self, name: str) -> bool:
        """Return whether a parameter is one number."""
        return not self.rank(name) and not any(self._variables[name].varies)

    def is_whole(self, name: str) -> bool:
        """Return whether a variable varies along all axes of the grid."""
        return all(self._variables[name].varies)

    def components(self, name: str) -> tuple[str, ...]:
        """Return the names of a variable's components: its own name unless it is a vector."""
        return tuple(f"{name}_{axis}" for axis in self.coordinates) if self.rank(name) else (name,)

    def values(self, name: str, instance: int) -> Array:
        """Return a variable of an instance as it is stored, or at points what is in cells.

        Returns:
            ([time,] axes along which it varies, [component]); a steady field has no time.
        """
        variable = self._variables[name]
        values: Array = self.dataset.rows(variable.key, instance, instance + 1)[0]
        return values[cells_of_points(self.dataset)] if variable.in_cells else values

    def given(self, instance: int) -> dict[str, Array]:
        """Return the parameters of an instance, each as `values`.

        On the dataset's own grid there are also those with axes of their own, as they are stored.
        """
        found = {}
        for name in self.dataset.parameters:
            if name in self._variables:
                found[name] = self.values(name, instance)
            elif self.points is None:
                found[name] = self.dataset.rows(name, instance, instance + 1)[0]
        return found

    def whole(self, name: str, instance: int) -> Array:
        """Return a variable of an instance at all points of the grid.

        Returns:
            ([time,] *grid [, component]): what does not vary along an axis is constant along it.
        """
        values, variable = self.values(name, instance), self._variables[name]
        times = values.ndim - sum(variable.varies) - variable.rank
        before, after = values.shape[:times], values.shape[values.ndim - variable.rank :]
        along = (n if v else 1 for n, v in zip(self.shape, variable.varies, strict=True))
        spread = values.reshape(*before, *along, *after)
        return np.broadcast_to(spread, (*before, *self.shape, *after))

    def channels(self, names: Iterable[str], instance: int) -> list[Array]:
        """Return the components of some variables at all points of the grid.

        Returns:
            ([time,] *grid) each, as many as `components` has names.
        """
        found: list[Array] = []
        for name in names:
            whole = self.whole(name, instance)
            found += list(np.moveaxis(whole, -1, 0)) if self.rank(name) else [whole]
        return found

    def inside(self, instance: int) -> NDArray[np.bool_] | None:
        """Return which points lie in the domain of an instance; None if all do."""
        return self.dataset.inside(instance, self.points)
