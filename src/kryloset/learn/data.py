# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs of functions from a dataset file."""

import os
from collections.abc import Iterable, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.config import GridPoints, name_points
from kryloset.dataset.grids import rows_of_split
from kryloset.dataset.integrity import identity
from kryloset.dataset.opening import open_hdf5
from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError, DataError
from kryloset.learn.grid_batch import GridBatch
from kryloset.learn.march import March, Walk
from kryloset.learn.models.base import Task
from kryloset.learn.quantities import Quantity, has_quantity, initial_states
from kryloset.learn.states import States
from kryloset.problems.checks.coverage import INSIDE

type Array = NDArray[np.float64]


class FieldPairs(torch.utils.data.Dataset[dict[str, Tensor]]):  # type: ignore[misc]
    """The instances of one split as pairs of parameters and solution on a grid of the file.

    An item is `{"x": (C, *grid), "y": (K, *grid), "row": (), "state": (M,)}`: functions in float32
    and physical units, the row of the instance in the file, and the numbers of the states of y in
    its trajectory, which of a steady problem is 0. There is one channel for each parameter and each
    field of the solution, and for each component of a vector. A parameter that is a number, or
    varies only along some axes, is constant along the others. A parameter with axes of its own is
    left out. The solution of a trajectory is its last state.

    With a `window`, an item is instead a few states of a trajectory, after the parameters, and the
    next ones. It begins at any state; first come all items of the first instance. A parameter that
    is the initial state is left out then, which no later state depends on but through the others.

    If the grid has points outside the domain, the last input channel is the mask `inside`: 1 in
    the domain and 0 outside, where the solution is NaN.

    Items are read on demand, so a dataset may be larger than memory. Each process opens the file by
    itself, so a `DataLoader` may have workers.

    Args:
        path: The dataset's file.
        split: One of its splits, such as `train`.
        window: States of x, one after another; none: y is the last state.
        stride: Time steps from one of the states of an item to the next.
        bundle: States of y that are predicted at once, and are channels of it one after another.
        steps: How often that is done. If several times, y is (steps, K, *grid). None: an item is a
            whole trajectory, of which x has the first states and y all others, (steps, K, *grid).
        points: Points of a grid of the file, such as 33 for `/grid_33`; by default its own
            grid. A parameter along only some of the axes is not on a further grid.

    Attributes:
        inputs: Names of the input channels: names of parameters and states, with `_x`, `_y` or
            `_z` for the components of vectors. Several states have a number at the end, as in
            `u_0`, `u_1`.
        outputs: Names of the output channels, formed in the same way.
        fields: Names of the channels of one state.
        masked: Whether the last input is the mask of the domain.
        steps: Steps of y.
        times: With a `window`, the times of the states of a trajectory that begins at the first.
        points: Points of the further grid; None if it is the grid of the file.
        logarithmic: For each input, whether a network should see its logarithm.
        axes: Names of the axes of the grid.
        coordinates: Coordinates of the grid, one array per axis.
        closed_coordinates: The same, with the end of each periodic axis: for `metrics`.
        instances: The rows of the instances of the split in the file.
        digest: SHA-256 of the digests of everything in the file.

    Raises:
        DataError: The file is missing, damaged or not a dataset; it has no such split or grid, or
            trajectories that are so long; no parameter is a number or a function on
            the grid; or a field of the solution is not defined on the whole grid.
    """

    #: Where functions are.
    place: Final = "grid"

    def __init__(
        self,
        path: Path | str,
        split: str,
        *,
        window: int = 0,
        stride: int = 1,
        bundle: int = 1,
        steps: int | None = 1,
        points: GridPoints | None = None,
    ) -> None:
        """Read the description of the dataset, but no fields."""
        self.path = Path(path)
        self.split = split
        self.points = points
        self.window = window
        self.bundle = bundle
        with Dataset(self.path) as dataset:
            self.instances = rows_of_split(dataset, split)
            times = np.zeros(1) if dataset.times is None else dataset.times
            self._walk = Walk.find(self.path, len(times), March(window, stride, bundle), steps)
            if points is not None:
                points = self.points = _find_grid(dataset, points)
            self.axes = tuple(dataset.coordinates)
            self.coordinates = tuple(dataset.coordinates_on(points).values())
            self.closed_coordinates = tuple(dataset.closed_coordinates_on(points).values())
            given = [name for name in dataset.parameters if has_quantity(dataset, name, points)]
            if window:
                initial = initial_states(dataset)
                given = [name for name in given if name not in initial]
            # A domain that differs between instances is an input, too.
            nothing = not given and dataset.masked != "own" and not window
            self.masked = dataset.inside(0, points) is not None
            inputs = [Quantity.find(dataset, name, points) for name in given]
            self._outputs = [Quantity.find(dataset, name, points) for name in dataset.fields]
            self.fields = tuple(c for quantity in self._outputs for c in quantity.channels)
            states = [[q.at_state(s, window) for q in self._outputs] for s in range(window)]
            mask = [Quantity.find(dataset, INSIDE.name, points)] if self.masked else []
            self._inputs = [*inputs, *(q for state in states for q in state), *mask]
            self.inputs = tuple(c for quantity in self._inputs for c in quantity.channels)
            later = range(window, window + bundle) if bundle > 1 else [0]
            named = [q.at_state(s, bundle) for s in later for q in self._outputs]
            self.outputs = tuple(c for quantity in named for c in quantity.channels)
            self.logarithmic = tuple(q.logarithmic for q in self._inputs for _ in q.channels)
            self.digest = identity(dataset.file)
        self.steps = self._walk.steps
        self.times = self._walk.times(times)
        #: The state of each input, counted from that at which an item begins.
        known = [state for state in self._walk.known for _ in self._outputs]
        latest = self._walk.present
        self._delays = [latest for _ in inputs] + known + [latest for _ in mask]
        if nothing:
            raise DataError(
                f"{path}: no parameter is a number or a function on the grid, so a neural operator "
                "would have no input"
            )
        for quantity in self._outputs:
            if quantity.shape != self.grid:
                raise DataError(
                    f"{path}: `{', '.join(quantity.channels)}` has the shape {quantity.shape}, not "
                    f"that of the grid, {self.grid}; a neural operator maps to functions on the "
                    "whole grid"
                )
        self._opened: _Opened | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(len(axis) for axis in self.coordinates)

    @property
    def task(self) -> Task:
        """What a network maps between that learns from these pairs."""
        ends = zip(self.coordinates, self.closed_coordinates, strict=True)
        return Task(
            inputs=self.inputs,
            outputs=self.outputs,
            coordinates=self.coordinates,
            periodic=tuple(len(closed) > len(points) for points, closed in ends),
            dimensions=len(self.grid),
            window=self.window,
            time_step=float(self.times[1] - self.times[0]) if self.window else None,
            bundle=self.bundle,
        )

    @property
    def states(self) -> States | None:
        """Which of the inputs are states, if any are."""
        return self.task.states

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.instances) * len(self._walk.starts)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """Return one pair."""
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several pairs, which share their memory: a `DataLoader` asks for a batch by it."""
        numbers, starts = self._walk.place(items, len(self.instances))
        states = np.add.outer(starts, np.asarray(self._walk.later, np.int64))
        read = (*self._read(items, np.float32), self.instances[numbers], states)
        parts = zip(*map(torch.from_numpy, read), strict=True)
        return [dict(zip(("x", "y", "row", "state"), part, strict=True)) for part in parts]

    def join(self, items: Sequence[dict[str, Tensor]]) -> GridBatch:
        """Return a batch of items, such as the `collate_fn` of a `DataLoader` does."""
        names = ("x", "y", "row", "state")
        x, y, rows, states = (torch.stack([item[key] for item in items]) for key in names)
        return GridBatch(x, y, self.closed_coordinates, rows, states)

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open file: the process that unpickles opens its own."""
        return self.__dict__ | {"_opened": None}

    def arrays(self, item: int) -> tuple[Array, Array]:
        """Return one pair as stored: arrays (C, *grid) and (K, *grid) or more in float64."""
        x, y = self.stack([item])
        return x[0], y[0]

    def columns(self, item: int) -> tuple[Array, Array]:
        """Return the values of each channel of one pair in the domain: (C, points), (K, points).

        Of several states of y it is the first.
        """
        x, y = self.arrays(item)
        if self._walk.several:
            y = y[0]
        # Without a mask, this only flattens the grid.
        inside = x[-1] != 0 if self.masked else np.ones(self.grid, np.bool_)
        return x[:, inside], y[:, inside]

    def stack(self, items: Iterable[int]) -> tuple[Array, Array]:
        """Return several pairs at once: arrays (N, C, *grid), (N, K, *grid) or more in float64."""
        x, y = self._read(items, np.float64)
        return x, y

    def _read(self, items: Iterable[int], dtype: type[np.floating[Any]]) -> list[NDArray[Any]]:
        """Read inputs and outputs of several pairs, each with one axis more for the pairs.

        Raises:
            DataError: A row is damaged.
        """
        # After a fork, HDF5 must not use a file that the parent process opened.
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = _Opened(self.path, [*self._inputs, *self._outputs])
        numbers, starts = self._walk.place(items, len(self.instances))
        instances, times = self.instances[numbers].tolist(), starts.tolist()
        later = [(quantity, delay) for delay in self._walk.later for quantity in self._outputs]
        pairs = []
        for quantities in (zip(self._inputs, self._delays, strict=True), later):
            readers = [(self._opened.read[q.place], len(q.channels), d) for q, d in quantities]
            count = sum(channels for _, channels, _ in readers)
            stacked = np.empty((len(instances), count, *self.grid), dtype)
            for row, instance, time in zip(stacked, instances, times, strict=True):
                place = 0
                for read, channels, delay in readers:
                    row[place : place + channels] = read(instance, time + delay)
                    place += channels
            pairs.append(stacked)
        x, y = pairs
        steps = (self.steps,) if self._walk.several else ()
        return [x, y.reshape(len(y), *steps, len(self.outputs), *self.grid)]


def _find_grid(dataset: Dataset, points: GridPoints) -> GridPoints | None:
    """Return the further grid with these points, or None for the dataset's own.

    Raises:
        DataError: There is none.
    """
    try:
        return dataset.config.mesh.find_grid(points)
    except ConfigError:
        named = name_points(points)
        has = ", ".join(map(name_points, dataset.config.mesh.grids)) or "none"
        raise DataError(
            f"{dataset.path} has no further grid of {named} points: it has {has}; "
            f"`kryloset extend {dataset.path} --grid {named}` adds it"
        ) from None


class _Opened:
    """The file of some pairs, opened by the process that reads it.

    Attributes:
        process: Number of that process.
        read: What reads each array, by its place.
    """

    def __init__(self, path: Path, quantities: Iterable[Quantity]) -> None:
        """Open the file, which is closed when nothing refers to it any more."""
        self.process = os.getpid()
        self._hdf5 = open_hdf5(path)
        with path.open("rb") as file:
            memory = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        found = {quantity.place: quantity for quantity in quantities}
        self.read = {place: of.open(self._hdf5, memory) for place, of in found.items()}
