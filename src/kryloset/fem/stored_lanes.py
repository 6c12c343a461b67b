# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is stored of the solutions of a group, filled a state at a time."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from kryloset.fem.part import Part
from kryloset.problems.base import Array


class StoredLanes:
    """Fields and unknowns of some instances, at one time or several.

    Each variable has one array for all instances and times. States are written into it as they are
    found, so that a trajectory is copied once.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        lengths: tuple[int, ...],
        stores: Callable[[Part], bool],
        *,
        lanes: int,
        times: int,
    ) -> None:
        """Make room.

        Args:
            parts: Of the space.
            lengths: Of the axes of the grid.
            stores: Whether the degrees of freedom of a part are stored.
            lanes: Number of instances.
            times: Number of states of each.
        """
        self._parts, self._stores, self._lanes = parts, stores, lanes
        #: By name, (lanes, times, points, components).
        self._arrays: dict[str, Array] = {}
        #: The same of each instance, in the shapes in which they are stored.
        self._views: list[dict[str, Array]] = [{} for _ in range(lanes)]
        for part in parts:
            if stores(part):
                self._add(part.dofs, times, part.unknowns.shape, math.prod(part.unknowns.shape))
            for field, size in zip(part.fields, part.components, strict=True):
                shape = (*lengths, size) if field.rank else lengths
                self._add(field.name, times, shape, math.prod(lengths))

    def _add(self, name: str, times: int, shape: tuple[int, ...], points: int) -> None:
        components = math.prod(shape) // points
        self._arrays[name] = np.empty((self._lanes, times, points, components))
        for views, array in zip(self._views, self._arrays[name], strict=True):
            views[name] = array.reshape(times, *shape)

    def write(self, number: int, vectors: Array) -> None:
        """Write the states of a time.

        Args:
            number: Of the time.
            vectors: (n, any), degrees of freedom of the instances, and perhaps of further lanes.
        """
        for part in self._parts:
            rows, nodes = part.unknowns.gather_lanes(vectors), len(part.unknowns.points)
            if self._stores(part):
                self._put(part.dofs, number, rows[:, None])
            if not part.nodal:
                rows = part.evaluations[None].of_lanes(rows.reshape(nodes, -1))
            found = rows.reshape(-1, sum(part.components), vectors.shape[1])
            begin = 0
            for field, size in zip(part.fields, part.components, strict=True):
                self._put(field.name, number, found[:, begin : begin + size])
                begin += size

    def state(self, lane: int, number: int) -> dict[str, Array]:
        """Return the state of an instance at a time, as views."""
        return {name: array[number] for name, array in self._views[lane].items()}

    def trajectories(self) -> list[dict[str, Array]]:
        """Return all states of each instance, with a first axis of times, as views."""
        return self._views

    def _put(self, name: str, number: int, values: Array) -> None:
        """Write a variable at a time, (points, components, any)."""
        self._arrays[name][:, number] = np.moveaxis(values, -1, 0)[: self._lanes]
