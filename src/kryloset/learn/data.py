# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset file as pairs of functions, and the scaling under which a network sees them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kryloset.dataset.integrity import read_seals
from kryloset.dataset.layout import SAMPLE_VARYING, TIME_VARYING, WELL_GROUPS
from kryloset.dataset.opening import open_hdf5
from kryloset.dataset.reader import Dataset
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError
from kryloset.problems.checks.coverage import INSIDE

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Quantity:
    """A parameter or field of the file, which is a channel, or one for each of its components.

    Attributes:
        channels: Names of the channels.
        place: Path of its array.
        shape: The shape in which one component of one instance broadcasts to the grid.
        grid: Points along each axis.
        logarithmic: Whether its logarithm is what a network should see.
    """

    channels: tuple[str, ...]
    place: str
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    logarithmic: bool

    @classmethod
    def find(cls, dataset: Dataset, name: str) -> Self:
        """Read what the file says of a quantity that is on the grid."""
        array, axes = dataset.array(name), tuple(dataset.coordinates)
        varying = array.attrs.get("dim_varying", [False] * len(axes))
        return cls(
            tuple(f"{name}_{axis}" for axis in axes) if _is_vector(array) else (name,),
            array.name,
            tuple(n if varies else 1 for n, varies in zip(dataset.grid, varying, strict=True)),
            dataset.grid,
            array.attrs.get("transform") == "log",
        )

    def read(self, file: h5py.File, instance: int) -> Array:
        """Return an instance's channels (C, *grid); of a solution those of the last time."""
        array = file[self.place]
        # A mask of all instances has no axis of them.
        at: tuple[int, ...] = (instance,) if array.attrs[SAMPLE_VARYING] else ()
        values = array[*at, -1] if array.attrs[TIME_VARYING] else array[at]
        components = np.moveaxis(values, -1, 0) if _is_vector(array) else np.asarray(values)
        spread = np.reshape(components, (len(self.channels), *self.shape))
        return np.broadcast_to(spread, (len(self.channels), *self.grid))


def _is_vector(array: h5py.Dataset) -> bool:
    return bool(array.parent.name == "/t1_fields")


def _on_grid(array: h5py.Dataset) -> bool:
    """Return whether a parameter is a function on the grid or a number."""
    return array.parent.name.removeprefix("/") in WELL_GROUPS


class FieldPairs(torch.utils.data.Dataset[dict[str, Tensor]]):  # type: ignore[misc]
    """The instances of one split: parameters in, solution out, both on the grid of the file.

    An item is `{"x": (C, *grid), "y": (K, *grid)}` in float32 and in physical
    units, a channel for each parameter and each field of the solution, and for each
    component of a vector. A parameter that is a number, or varies along some axes only,
    is constant along the others; one that has axes of its own is left out. Of a
    trajectory the solution is the last state.

    Where the grid has points outside of the domain, the last channel in is the mask,
    `inside`, 1 in the domain and 0 outside of it, where the solution is NaN.

    Items are read when they are asked for, so that a dataset may be larger than
    memory. Each process opens the file for itself: a `DataLoader` may have workers.

    Args:
        path: The dataset's file.
        split: One of its splits, such as `train`.

    Attributes:
        inputs: Names of the channels in: those of parameters, with `_x`, `_y` or `_z` for
            the components of vectors.
        outputs: Names of the channels out, alike.
        masked: Whether the last input is the mask of the domain.
        logarithmic: For each input, whether its logarithm is what a network should see.
        coordinates: Coordinates of the grid, an array an axis.
        instances: The instances of the split, as drawn.
        digest: SHA-256 of the digests of all that is in the file.

    Raises:
        DataError: The file is missing, damaged or no dataset, it has no such split,
            no parameter is on the grid or a number, or a field of the solution is not
            on the whole grid.
    """

    def __init__(self, path: Path | str, split: str) -> None:
        """Read what the file says of itself, and none of its fields."""
        self.path = Path(path)
        self.split = split
        with Dataset(self.path) as dataset:
            splits = dataset.splits()
            if split not in splits:
                raise DataError(
                    f"{path} has no split `{split}`: it has {', '.join(splits)}; "
                    "add it under `splits` and make the dataset again"
                )
            self.coordinates = tuple(dataset.coordinates.values())
            given = [name for name in dataset.parameters if _on_grid(dataset.array(name))]
            # A domain that varies is something to learn from, too.
            nothing = not given and dataset.masked != "own"
            self.masked = dataset.inside(0) is not None
            if self.masked:
                given.append(INSIDE.name)
            self._inputs = [_Quantity.find(dataset, name) for name in given]
            self._outputs = [_Quantity.find(dataset, name) for name in dataset.fields]
            self.inputs = tuple(c for quantity in self._inputs for c in quantity.channels)
            self.outputs = tuple(c for quantity in self._outputs for c in quantity.channels)
            self.logarithmic = tuple(q.logarithmic for q in self._inputs for _ in q.channels)
            self.instances = splits[split]
            seals = json.dumps(read_seals(dataset.file), sort_keys=True)
            self.digest = hashlib.sha256(seals.encode()).hexdigest()
        if nothing:
            raise DataError(
                f"{path}: no parameter is a function on the grid or a number, so there is nothing "
                "that a neural operator could be given"
            )
        for quantity in self._outputs:
            if quantity.shape != self.grid:
                raise DataError(
                    f"{path}: `{', '.join(quantity.channels)}` has the shape {quantity.shape}, not "
                    f"that of the grid, {self.grid}; a neural operator maps to functions on the "
                    "whole grid"
                )
        self._file: h5py.File | None = None
        self._process = 0

    @property
    def grid(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(len(axis) for axis in self.coordinates)

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.instances)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """Return one pair."""
        x, y = self.arrays(item)
        return {"x": torch.from_numpy(x).float(), "y": torch.from_numpy(y).float()}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: the process that unpickles opens its own."""
        return self.__dict__ | {"_file": None, "_process": 0}

    def arrays(self, item: int) -> tuple[Array, Array]:
        """Return one pair as it is stored: arrays (C, *grid) and (K, *grid) in float64."""
        file, instance = self._open(), self.instances[item]
        x, y = (
            np.concatenate([quantity.read(file, instance) for quantity in quantities])
            for quantities in (self._inputs, self._outputs)
        )
        return x, y

    def stack(self, items: Iterable[int]) -> tuple[Array, Array]:
        """Return several pairs at once: arrays (N, C, *grid) and (N, K, *grid) in float64."""
        x, y = zip(*map(self.arrays, items), strict=True)
        return np.stack(x), np.stack(y)

    def _open(self) -> h5py.File:
        # HDF5 must not use a file that another process opened before it forked.
        if self._file is None or self._process != os.getpid():
            self._file, self._process = open_hdf5(self.path), os.getpid()
        return self._file


class Scaling(nn.Module):  # type: ignore[misc]
    """Between physical functions and what a network works on, channel by channel.

    In: x -> (t(x) - m) / s, where t is the logarithm of a positive coefficient, and
    else the identity. Out: z -> m + s z. Mean m and standard deviation s are over all
    points of all instances of the train split that lie in the domain. They are buffers, and
    so part of a model's weights.

    Where there is a mask of the domain, it is seen as it is, and everything else as 0 at the
    points outside.

    Args:
        logarithmic: Whether t is the logarithm, for each channel in.
        inputs: m and s of each channel in, after t.
        outputs: m and s of each channel out.
        dimensions: Number of axes of the grid.
        masked: Whether the last channel in is the mask.
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
        dimensions: int,
        *,
        masked: bool = False,
    ) -> None:
        """Keep the numbers in the shapes in which they broadcast."""
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
            self.register_buffer(name, values.reshape(-1, *[1] * dimensions))

    @classmethod
    def fit(cls, pairs: FieldPairs) -> Self:
        """Compute the numbers in one pass over the train split.

        Raises:
            DataError: A coefficient whose logarithm is to be taken is not positive.
        """
        inputs = [Moments() for _ in pairs.inputs]
        outputs = [Moments() for _ in pairs.outputs]
        transforms: list[Callable[[Array], Array]] = [
            np.log if logarithmic else np.asarray for logarithmic in pairs.logarithmic
        ]
        for item in range(len(pairs)):
            x, y = pairs.arrays(item)
            # Without a mask this only makes points one axis.
            inside = x[-1] != 0 if pairs.masked else np.ones(pairs.grid, np.bool_)
            x, y = x[:, inside], y[:, inside]
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
        """Return what the network sees of physical inputs (N, C, *grid)."""
        if not self.masked:
            return self._scale(x)
        inside = x[:, -1:] != 0
        # Twice `where`, for the same reason as below.
        return torch.where(inside, self._scale(torch.where(inside, x, 1)), 0)

    def _scale(self, x: Tensor) -> Tensor:
        # Twice `where`, for the gradient of log at a negative value of another channel is NaN.
        positive = torch.where(self.logarithmic, x, 1)
        return (torch.where(self.logarithmic, positive.log(), x) - self.input_mean) / self.input_std

    def decode(self, z: Tensor) -> Tensor:
        """Return the physical outputs (N, K, *grid) that the network means."""
        return self.output_mean + self.output_std * z


def _mean_and_scale(moments: Moments) -> tuple[float, float]:
    summary = moments.summary()
    # A channel that is the same everywhere carries nothing; any scale will do but zero.
    return summary["mean"], summary["std"] or 1.0
