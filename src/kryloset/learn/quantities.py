# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The quantities of a dataset as channels on one of its grids."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.dataset.cells import axes_varying, cells_of_points, is_in_cells, is_on_grid
from kryloset.dataset.layout import SAMPLE_VARYING, TIME_VARYING, grid_group
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.dataset.rows import ReadRow, read_rows
from kryloset.learn.batches import spread
from kryloset.learn.states import name_state

type Array = NDArray[np.float64]

#: Instances that tell which parameters are initial states.
_LOOKED_AT = 8


def has_quantity(dataset: Dataset, name: str, points: GridPoints | None = None) -> bool:
    """Return whether a parameter is a number or a function on a grid, for `Quantity.find`.

    Args:
        dataset: The open dataset.
        name: Name of the parameter.
        points: Points of a further grid; by default the dataset's own grid.
    """
    if points is None or not is_on_grid(dataset, name):
        return is_on_grid(dataset, name)
    return not any(axes_varying(dataset, name)) or name in dataset.names_on(points)


def initial_states(dataset: Dataset) -> set[str]:
    """Return the parameters of a family with time steps that are the first state of a field.

    A few instances tell it, in their domains: all of them begin with the parameter, and at least
    one of them begins with a state that is not constant.

    Args:
        dataset: The open dataset.

    Raises:
        DataError: One of these instances is damaged.
    """
    looked_at = spread(len(dataset), _LOOKED_AT)
    with describable(dataset.path):  # all states of them may be many
        given = [dataset.instance(row) for row in looked_at]
        states = {
            name: [np.asarray(dataset.array(name)[row, 0], np.float64) for row in looked_at]
            for name in dataset.fields
        }

    def is_state(parameter: str, field: str) -> bool:
        varies = False
        for instance, state in zip(given, states[field], strict=True):
            values, inside = instance[parameter], ~np.isnan(state)
            if values.shape != state.shape or not np.array_equal(values[inside], state[inside]):
                return False
            varies |= bool(np.ptp(state[inside]))
        return varies

    return {p for p in dataset.parameters if any(is_state(p, field) for field in dataset.fields)}


@dataclass(frozen=True)
class Quantity:
    """A parameter or field of the file. It has one channel, or one for each component of a vector.

    Attributes:
        channels: Names of the channels.
        place: Path of its array.
        shape: Shape of one component of one instance, which broadcasts to the grid.
        own: Whether each instance has its own values.
        moving: Whether its array has an axis of times.
        vector: Whether its array has an axis of components.
        logarithmic: Whether a network should see its logarithm.
        cells: For values in cells, the places in an instance's array of those at the points of the
            grid; a point between two cells takes that of the lower one.
    """

    channels: tuple[str, ...]
    place: str
    shape: tuple[int, ...]
    own: bool
    moving: bool
    vector: bool
    logarithmic: bool
    cells: tuple[NDArray[np.int64], ...] | None = None

    @classmethod
    def find(cls, dataset: Dataset, name: str, points: GridPoints | None = None) -> Self:
        """Read the description of a quantity on the grid, or on a further one by its points."""
        described, coordinates = dataset.array(name), dataset.coordinates_on(points)
        varying = axes_varying(dataset, name)
        # Numbers are on every grid. On a further one, what is in cells has values at points.
        further = f"{grid_group(points)}/{name}" if points is not None and any(varying) else ""
        array = dataset.array(further) if further else described
        vector = bool(dataset.rank(name))
        return cls(
            tuple(f"{name}_{axis}" for axis in coordinates) if vector else (name,),
            array.name,
            tuple(
                len(line) if varies else 1
                for line, varies in zip(coordinates.values(), varying, strict=True)
            ),
            bool(array.attrs[SAMPLE_VARYING]),
            bool(array.attrs[TIME_VARYING]),
            vector,
            described.attrs.get("transform") == "log",
            None if further or not is_in_cells(dataset, name) else cells_of_points(dataset),
        )

    def at_state(self, number: int, states: int) -> Self:
        """Return it as one of several states, by its number and how many there are."""
        return replace(self, channels=name_state(self.channels, number, states))

    def open(self, file: h5py.File, memory: memoryview) -> Callable[[int, int], Array]:
        """Return what reads an instance's channels at a time, which broadcast to (C, *grid).

        To find an array and its attributes takes ten times as long as to read an instance of it, so
        that is done once, and numbers are read at once: an HDF5 chunk has those of many instances.

        Args:
            file: The open file.
            memory: The same file, mapped into memory.
        """
        array: Any = file[self.place]
        shape = (len(self.channels), *self.shape)
        rows = self._rows(array, memory)

        def read(instance: int, time: int) -> Array:
            values = rows(instance, time if self.moving else None)
            if self.cells is not None:
                values = values[self.cells]
            return (np.moveaxis(values, -1, 0) if self.vector else values).reshape(shape)

        return read

    def _rows(self, array: h5py.Dataset, memory: memoryview) -> ReadRow:
        if self.own and set(self.shape) != {1}:
            return read_rows(array, memory)
        values = array[...]
        if self.own:
            return lambda row, state: np.asarray(values[row if state is None else (row, state)])
        return lambda _, state: np.asarray(values[() if state is None else state])
