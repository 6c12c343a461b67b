# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a network of a neural operator is: one on the points of a grid, or one on any points.

A network maps channels of about unit size to such channels. `Operator` scales physical functions
for it and scales the result back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kryloset.config.section import Section
from kryloset.learn.march import March
from kryloset.learn.states import States
from kryloset.problems.checks.coverage import INSIDE

#: How far, as a share of a side, points may be from where a network takes them to be. Between those
#: of a coarser grid it interpolates linearly, and equidistant points are 0.1 from Chebyshev points.
_NEARLY = 0.03


@dataclass(frozen=True, eq=False)
class Task:
    """What a network maps between.

    Attributes:
        inputs: Names of the C input channels. If the last one is `inside`, it is the mask of the
            domain: 1 inside and 0 outside, where the other inputs are 0 and outputs do not matter.
        outputs: Names of the K output channels.
        coordinates: Coordinates of the points of the grid of training, one array per axis.
        periodic: Whether an axis is periodic, for each of them.
        dimensions: Number of axes of space.
        window: Number of states of a trajectory among the inputs, which come last but for a mask.
        time_step: Time from one of them to the next, and to the output.
        bundle: Number of states among the outputs, one after another.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    coordinates: tuple[NDArray[np.float64], ...]
    periodic: tuple[bool, ...]
    dimensions: int
    window: int = 0
    time_step: float | None = None
    bundle: int = 1

    @property
    def states(self) -> States | None:
        """Which of the inputs are states of a trajectory, if any are."""
        fields = len(self.outputs) // self.bundle
        first = len(self.inputs) - self.masked - self.window * fields
        return States(first, self.window, fields, self.bundle) if self.window else None

    @property
    def masked(self) -> bool:
        """Whether the last input channel is the mask of the domain."""
        return self.inputs[-1] == INSIDE.name

    def describe(self) -> dict[str, Any]:
        """Return the attributes as plain values, for a model's file."""
        return vars(self) | {"coordinates": [axis.tolist() for axis in self.coordinates]}

    @classmethod
    def read(cls, description: Mapping[str, Any]) -> Self:
        """Return the task that a model's file describes, perhaps beside other things."""
        names = [field.name for field in fields(cls)]
        told = {name: description[name] for name in names if name in description}
        return cls(**told | {"coordinates": tuple(map(np.asarray, told["coordinates"]))})


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a batch of instances, one instance after another.

    Attributes:
        positions: (P, D), in [0, 1] along each axis of the domain's box.
        instance: (P,), int64: which instance of the batch a point belongs to, ascending.
        count: Number of instances of the batch.
        edges: (2, E), int64: pairs of neighbouring points in the mesh or the grid, each in both
            directions.
        grid: If the points of each instance are all those of a grid, in C order: its shape.
    """

    positions: Tensor
    instance: Tensor
    count: int
    edges: Tensor
    grid: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> "Points":
        """Return the same points on another device."""
        return replace(
            self,
            positions=self.positions.to(device),
            instance=self.instance.to(device),
            edges=self.edges.to(device),
        )


class Network(nn.Module):  # type: ignore[misc]
    """What grid models and point models have in common; derive from one of these.

    A class is made by `Class(settings, task)`, whose `settings` is one of its own `Settings`.
    torch's global generator draws the weights. The first line of its docstring describes it in
    `kryloset models`.

    Attributes:
        learning_rate: Learning rate that suits the network where the configuration names none.
        any_grid: Whether it takes grids with other numbers of points than that of training.
        second_derivative: Whether gradients of it can be differentiated, as AdaHessian does.
    """

    learning_rate: ClassVar[float] = 1e-3
    any_grid: ClassVar[bool] = True
    second_derivative: ClassVar[bool] = True

    class Settings(Section):
        """The keys of `training.settings` for this network, with defaults and descriptions."""

    @classmethod
    def check(cls, settings: Any, march: March) -> None:
        """Refuse settings that do not suit how an operator goes along trajectories.

        Args:
            settings: One of the class's own `Settings`.
            march: How it goes.

        Raises:
            ConfigError: They do not.
        """


class GridModel(Network):
    """A network between functions on a grid."""

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid), both of about unit size.

        The grid may have other numbers of points than that of training, unless `any_grid` is
        false. Coordinates are not among the channels: see `with_coordinates`.
        """
        raise NotImplementedError


class PointModel(Network):
    """A network between functions on points, which may differ from instance to instance."""

    def forward(self, x: Tensor, points: Points) -> Tensor:
        """Return outputs (P, K) for inputs (P, C), both of about unit size."""
        raise NotImplementedError


class OnGrid(nn.Module):  # type: ignore[misc]
    """A network on points as one on a grid, whose neighbours are those along the axes.

    Points outside the domain are left out, and outputs there are 0.

    Args:
        network: The network on points.
        task: What it maps between.
    """

    def __init__(self, network: PointModel, task: Task) -> None:
        """Keep the network."""
        super().__init__()
        self.network = network
        self.task = task

    @property
    def any_grid(self) -> bool:
        """Whether the network takes grids with other numbers of points than that of training."""
        return self.network.any_grid

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        if not self.task.masked:
            found = self.network(x.movedim(1, -1).flatten(0, -2), whole_grid(self.task, x))
            return found.unflatten(0, (x.shape[0], *x.shape[2:])).movedim(-1, 1)
        inside = x[:, -1] != 0
        found = self.network(x.movedim(1, -1)[inside], grid_points(self.task, inside))
        outputs = found.new_zeros((*inside.shape, found.shape[-1]))
        outputs[inside] = found
        return outputs.movedim(-1, 1)


def unit_coordinates(task: Task, x: Tensor) -> Tensor:
    """Return the coordinates of the points of a function's grid in [0, 1]: (D, *grid).

    A grid with another number of points than that of training divides an axis as that one does:
    equally, or into linearly interpolated parts. The last point of a periodic axis lies before 1,
    which is its first one again.

    Args:
        task: Has the grid of training.
        x: Any function (N, C, *grid), whose type and device the result gets.
    """
    axes = [
        torch.as_tensor(_unit_axis(points, periodic, count), dtype=x.dtype, device=x.device)
        for points, periodic, count in zip(
            task.coordinates, task.periodic, x.shape[2:], strict=True
        )
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def divides_alike(task: Task, coordinates: Sequence[NDArray[np.float64]]) -> bool:
    """Return whether the points of a grid are about where `unit_coordinates` takes them to be.

    Equidistant points are not where a network knows Chebyshev points.

    Args:
        task: Has the grid of training.
        coordinates: Coordinates of the other grid, one array per axis.
    """
    for known, periodic, points in zip(task.coordinates, task.periodic, coordinates, strict=True):
        count = min(len(known), len(points))
        one, other = (_unit_axis(axis, periodic, count) for axis in (known, points))
        if np.abs(one - other).max() > _NEARLY:
            return False
    return True


def with_coordinates(task: Task, x: Tensor) -> Tensor:
    """Return a function with its unit coordinates as further channels: (N, C + D, *grid)."""
    coordinates = unit_coordinates(task, x)
    return torch.cat((x, coordinates.expand(x.shape[0], *coordinates.shape)), dim=1)


def grid_points(task: Task, inside: Tensor) -> Points:
    """Return the points of a grid, where neighbours are those along the axes.

    Args:
        task: Has the grid of training.
        inside: (N, *grid), whether a point is one, for each of N instances. The points come in the
            order of `inside.nonzero()`.
    """
    number = torch.full(inside.shape, -1, dtype=torch.int64, device=inside.device)
    number[inside] = torch.arange(int(inside.sum()), device=inside.device)
    pairs = []
    for axis, periodic in enumerate(task.periodic, start=1):
        count = inside.shape[axis] - (not periodic)
        here = number.narrow(axis, 0, count)
        there = number.roll(-1, axis).narrow(axis, 0, count)
        both = (here >= 0) & (there >= 0)
        pairs.append(torch.stack((here[both], there[both])))
    forward = torch.cat(pairs, dim=1)
    positions = unit_coordinates(task, inside[:, None].to(torch.get_default_dtype()))
    return Points(
        positions=positions.movedim(0, -1).expand(*inside.shape, -1)[inside],
        instance=inside.nonzero()[:, 0],
        count=len(inside),
        edges=torch.cat((forward, forward.flip(0)), dim=1),
    )


def whole_grid(task: Task, x: Tensor) -> Points:
    """Return all points of the grid of functions (N, C, *grid), with neighbours along the axes.

    It is what `grid_points` finds, but how many points there are does not depend on any values.
    """
    count, grid = x.shape[0], x.shape[2:]
    instances = torch.arange(count, device=x.device)
    number = torch.arange(count * grid.numel(), device=x.device).reshape(count, *grid)
    pairs = []
    for axis, periodic in enumerate(task.periodic, start=1):
        here = number.narrow(axis, 0, grid[axis - 1] - (not periodic))
        there = number.roll(-1, axis).narrow(axis, 0, here.shape[axis])
        pairs.append(torch.stack((here.flatten(), there.flatten())))
    forward = torch.cat(pairs, dim=1)
    positions = unit_coordinates(task, x).flatten(1).T
    return Points(
        positions=positions.repeat(count, 1),
        instance=instances[:, None].expand(count, grid.numel()).flatten(),
        count=count,
        edges=torch.cat((forward, forward.flip(0)), dim=1),
        grid=tuple(grid),
    )


def _unit_axis(points: NDArray[np.float64], periodic: bool, count: int) -> NDArray[np.float64]:
    """Return an axis divided into so many points as described in `unit_coordinates`."""
    known = len(points)
    length = (points[-1] - points[0]) * (known / (known - 1) if periodic else 1)
    places = (points - points[0]) / length
    if periodic:
        places = np.append(places, 1.0)
        at = np.arange(count) * (known / count)
    else:
        at = np.linspace(0, known - 1, count)
    return np.asarray(np.interp(at, np.arange(len(places)), places))
