# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs of functions from a dataset file, and their scaling for a network."""

import os
from collections.abc import Callable, Iterable, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kryloset.config import GridPoints, name_points
from kryloset.dataset.grids import rows_of_split
from kryloset.dataset.integrity import identity
from kryloset.dataset.opening import open_hdf5
from kryloset.dataset.reader import Dataset
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError
from kryloset.learn.grid_batch import GridBatch
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.models.base import Task
from kryloset.learn.quantities import Quantity, has_quantity
from kryloset.problems.checks.coverage import INSIDE

type Array = NDArray[np.float64]


class FieldPairs(torch.utils.data.Dataset[dict[str, Tensor]]):  # type: ignore[misc]
    """The instances of one split as pairs of parameters and solution on a grid of the file.

    An item is `{"x": (C, *grid), "y": (K, *grid)}` in float32 and physical units, with one channel
    for each parameter and each field of the solution, and for each component of a vector. A
    parameter that is a number, or varies only along some axes, is constant along the others. A
    parameter with axes of its own is left out. The solution of a trajectory is its last state. With
    `steps`, an item is instead a state of a trajectory, after the parameters, and the one some
    time steps later; first come all items of the first instance.

    If the grid has points outside the domain, the last input channel is the mask `inside`: 1 in
    the domain and 0 outside, where the solution is NaN.

    Items are read on demand, so a dataset may be larger than memory. Each process opens the file by
    itself, so a `DataLoader` may have workers.

    Args:
        path: The dataset's file.
        split: One of its splits, such as `train`.
        steps: Time steps from x to y.
        points: Points of a further grid of the file, such as 33 for `/grid_33`; by default its own
            grid. A parameter along only some of the axes is not on a further grid.

    Attributes:
        inputs: Names of the input channels: names of parameters and states, with `_x`, `_y` or
            `_z` for the components of vectors.
        outputs: Names of the output channels, formed in the same way.
        masked: Whether the last input is the mask of the domain.
        points: Points of the further grid; None if it is the grid of the file.
        logarithmic: For each input, whether a network should see its logarithm.
        axes: Names of the axes of the grid.
        coordinates: Coordinates of the grid, one array per axis.
        closed_coordinates: The same, with the end of each periodic axis: for `metrics`.
        instances: The rows of the instances of the split in the file.
        digest: SHA-256 of the digests of everything in the file.

    Raises:
        DataError: The file is missing, damaged or not a dataset; it has no such split or grid, or
            no two states that are so many steps apart; no parameter is a number or a function on
            the grid; or a field of the solution is not defined on the whole grid.
    """

    #: Where functions are.
    place: Final = "grid"

    def __init__(
        self,
        path: Path | str,
        split: str,
        *,
        steps: int | None = None,
        points: GridPoints | None = None,
    ) -> None:
        """Read the description of the dataset, but no fields."""
        self.path = Path(path)
        self.split = split
        self.points = points
        with Dataset(self.path) as dataset:
            self.instances = rows_of_split(dataset, split)
            states = 1 if dataset.times is None else len(dataset.times)
            if steps is not None and not 1 <= steps < states:
                has = f"{states} states" if states > 1 else "no time steps"
                raise DataError(f"{path} has {has}: there are no two that are {steps} steps apart")
            further = dataset.config.mesh.grids
            if points is not None and points not in further:
                has = ", ".join(map(name_points, further)) or "none"
                raise DataError(
                    f"{path} has no further grid of {name_points(points)} points: it has {has}; "
                    f"`kryloset extend {path} --grid {name_points(points)}` adds it"
                )
            self.axes = tuple(dataset.coordinates)
            self.coordinates = tuple(dataset.coordinates_on(points).values())
            self.closed_coordinates = tuple(dataset.closed_coordinates_on(points).values())
            given = [name for name in dataset.parameters if has_quantity(dataset, name, points)]
            if steps is not None:
                given.extend(dataset.fields)
            # A domain that differs between instances is an input, too.
            nothing = not given and dataset.masked != "own"
            self.masked = dataset.inside(0, points) is not None
            if self.masked:
                given.append(INSIDE.name)
            self._inputs = [Quantity.find(dataset, name, points) for name in given]
            self._outputs = [Quantity.find(dataset, name, points) for name in dataset.fields]
            self.inputs = tuple(c for quantity in self._inputs for c in quantity.channels)
            self.outputs = tuple(c for quantity in self._outputs for c in quantity.channels)
            self.logarithmic = tuple(q.logarithmic for q in self._inputs for _ in q.channels)
            self.digest = identity(dataset.file)
        #: The states of an instance that are x of an item, and how far from each its y is.
        self._starts = range(states - 1, states) if steps is None else range(states - steps)
        self._steps = steps or 0
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
        )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.instances) * len(self._starts)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """Return one pair."""
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several pairs, which share their memory: a `DataLoader` asks for a batch by it."""
        x, y = map(torch.from_numpy, self._read(items, np.float32))
        return [{"x": one, "y": other} for one, other in zip(x, y, strict=True)]

    def join(self, items: Sequence[dict[str, Tensor]]) -> GridBatch:
        """Return a batch of items, such as the `collate_fn` of a `DataLoader` does."""
        x, y = (torch.stack([item[key] for item in items]) for key in ("x", "y"))
        return GridBatch(x, y, self.closed_coordinates)

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open file: the process that unpickles opens its own."""
        return self.__dict__ | {"_opened": None}

    def arrays(self, item: int) -> tuple[Array, Array]:
        """Return one pair as stored: arrays (C, *grid) and (K, *grid) in float64."""
        x, y = self.stack([item])
        return x[0], y[0]

    def columns(self, item: int) -> tuple[Array, Array]:
        """Return the values of each channel of one pair in the domain: (C, points), (K, points)."""
        x, y = self.arrays(item)
        # Without a mask, this only flattens the grid.
        inside = x[-1] != 0 if self.masked else np.ones(self.grid, np.bool_)
        return x[:, inside], y[:, inside]

    def stack(self, items: Iterable[int]) -> tuple[Array, Array]:
        """Return several pairs at once: arrays (N, C, *grid) and (N, K, *grid) in float64."""
        x, y = self._read(items, np.float64)
        return x, y

    def _read(self, items: Iterable[int], dtype: type[np.floating[Any]]) -> list[NDArray[Any]]:
        """Read inputs and outputs of several pairs, each with one axis more for the pairs.

        Raises:
            DataError: A row is damaged.
        """
        # After a fork, HDF5 must not use a file that the parent process opened.
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = _Opened(self.path, self._inputs, self._outputs)
        items = np.fromiter(items, np.intp)
        if len(items) and not -len(self) <= items.min() <= items.max() < len(self):
            raise IndexError(f"{self.path}: the split {self.split} has {len(self)} items")
        numbers, starts = np.divmod(items % len(self), len(self._starts))
        instances, times = self.instances[numbers].tolist(), (starts + self._starts.start).tolist()
        pairs = []
        for readers, channels, later in (
            (self._opened.inputs, self.inputs, 0),
            (self._opened.outputs, self.outputs, self._steps),
        ):
            stacked = np.empty((len(items), len(channels), *self.grid), dtype)
            for row, instance, time in zip(stacked, instances, times, strict=True):
                place = 0
                for read in readers:
                    values = read(instance, time + later)
                    row[place : place + len(values)] = values
                    place += len(values)
            pairs.append(stacked)
        return pairs


class _Opened:
    """The file of some pairs, opened by the process that reads it.

    Attributes:
        process: Number of that process.
        inputs: What reads each of the inputs.
        outputs: What reads each of the outputs.
    """

    def __init__(self, path: Path, inputs: Sequence[Quantity], outputs: Sequence[Quantity]) -> None:
        """Open the file, which is closed when nothing refers to it any more."""
        self.process = os.getpid()
        self._hdf5 = open_hdf5(path)
        with path.open("rb") as file:
            memory = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        self.inputs, self.outputs = (
            [quantity.open(self._hdf5, memory) for quantity in quantities]
            for quantities in (inputs, outputs)
        )


class Scaling(nn.Module):  # type: ignore[misc]
    """The scaling between physical functions and those of a network, channel by channel.

    Inputs are scaled by x -> (t(x) - m) / s, where t is the logarithm for a positive coefficient
    and otherwise the identity. Outputs are scaled back by z -> m + s z. The mean m and standard
    deviation s are taken over all points in the domain of all instances of the training split.
    They are buffers, so they are part of a model's weights.

    A mask of the domain is not scaled. Where there is one, the other inputs are 0 at points
    outside the domain.

    Args:
        logarithmic: Whether t is the logarithm, for each input channel.
        inputs: m and s of each input channel, after t.
        outputs: m and s of each output channel.
        axes: Number of axes of the grid; none for functions on points.
        masked: Whether the last input channel is the mask.
    """

    logarithmic: Tensor
    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor

    def __init__(
        self,
        logarithmic: Iterable[bool],
        inputs: Iterable[tuple[float, float]],
        outputs: Iterable[tuple[float, float]],
        axes: int,
        *,
        masked: bool = False,
    ) -> None:
        """Store the means and deviations in shapes that broadcast over the grid."""
        super().__init__()
        self.masked = masked
        means_in, stds_in = zip(*inputs, strict=True)
        means_out, stds_out = zip(*outputs, strict=True)
        numbers = {
            "logarithmic": torch.tensor(tuple(logarithmic)),
            "input_mean": torch.tensor(means_in),
            "input_std": torch.tensor(stds_in),
            "output_mean": torch.tensor(means_out),
            "output_std": torch.tensor(stds_out),
        }
        for name, values in numbers.items():
            self.register_buffer(name, values.reshape(-1, *[1] * axes))

    @classmethod
    def fit(cls, pairs: FieldPairs | MeshPairs) -> Self:
        """Compute the means and deviations in one pass over the training split.

        Points count equally, also the nodes of meshes.

        Raises:
            DataError: A parameter with a logarithmic transform is not positive.
        """
        inputs = [Moments() for _ in pairs.inputs]
        outputs = [Moments() for _ in pairs.outputs]
        transforms: list[Callable[[Array], Array]] = [
            np.log if logarithmic else np.asarray for logarithmic in pairs.logarithmic
        ]
        for item in range(len(pairs)):
            x, y = pairs.columns(item)
            for name, transform, moments, values in zip(
                pairs.inputs, transforms, inputs, x, strict=True
            ):
                if transform is np.log and values.min() <= 0:
                    raise DataError(
                        f"{pairs.path}: `{name}` of instance {pairs.instances[item]} is not "
                        'positive everywhere, so it cannot have the transform "log"; correct it '
                        "in the family's Variable"
                    )
                moments.add(transform(values))
            for moments, values in zip(outputs, y, strict=True):
                moments.add(values)
        scales = [_mean_and_scale(moments) for moments in inputs]
        if pairs.masked:
            scales[-1] = (0.0, 1.0)
        return cls(
            pairs.logarithmic,
            scales,
            [_mean_and_scale(moments) for moments in outputs],
            len(pairs.grid),
            masked=pairs.masked,
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return scaled inputs for the network from physical inputs (N, C, *grid)."""
        if not self.masked:
            return self._scale(x)
        inside = x[:, -1:] != 0
        # `where` is applied twice, for the same reason as below.
        return torch.where(inside, self._scale(torch.where(inside, x, 1)), 0)

    def _scale(self, x: Tensor) -> Tensor:
        # `where` is applied twice: the gradient of log is NaN where another channel is negative.
        positive = torch.where(self.logarithmic, x, 1)
        return (torch.where(self.logarithmic, positive.log(), x) - self.input_mean) / self.input_std

    def decode(self, z: Tensor) -> Tensor:
        """Return physical outputs (N, K, *grid) from the network's scaled outputs."""
        return self.output_mean + self.output_std * z


def _mean_and_scale(moments: Moments) -> tuple[float, float]:
    summary = moments.summary()
    # A constant channel carries no information; any scale but zero will do.
    return summary["mean"], summary["std"] or 1.0
