# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""NeuralStagger: a network maps each of the coarse grids and times of which a function consists."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from kryloset.config.section import Section
from kryloset.errors import ConfigError
from kryloset.learn.march import March
from kryloset.learn.models.base import GridModel, Task
from kryloset.learn.models.registry import model_class, read_settings
from kryloset.learn.states import States


class NeuralStagger(GridModel):
    """NeuralStagger (Huang et al., ICML 2023): one network for each of several coarse grids.

    Each `space`-th point along each axis makes a coarse grid. Those that begin at the first `space`
    points of each axis make up the grid. One network maps a function on each of them, and their
    values are interleaved again. Where `space` does not divide the points of an axis, the axis goes
    on with its last point, or with its first ones if it is periodic.

    Each `time`-th of the known states of a trajectory makes a coarse trajectory in the same way,
    and of the predicted ones those that continue it. So the network makes longer steps.

    A network for single points is the same with and without this. One that commutes with shifts
    along a periodic axis still does, by single points, if `space` divides the points of the axis.
    """

    learning_rate = 1e-2

    class Settings(Section):
        """The network, and the number of coarse grids."""

        model: str = Field("fno", description="The network, one of the package's on grids.")
        settings: dict[str, Any] = Field(default_factory=dict, description="Its own settings.")
        space: int = Field(2, ge=1, le=64, description="Coarse grids along each axis.")
        time: int = Field(
            1,
            ge=1,
            le=1000,
            description="Coarse trajectories: training.window and bundle are multiples of it.",
        )

        @model_validator(mode="after")
        def _network_exists(self) -> Self:
            if ":" in self.model or not issubclass(model_class(self.model), GridModel):
                raise ValueError(f"model: {self.model!r} is no network of the package on grids")
            read_settings(model_class(self.model), self.model, self.settings)
            return self

    @classmethod
    def check(cls, settings: Settings, march: March) -> None:
        """Refuse coarse trajectories that have no whole number of states."""
        if settings.time > 1 and (
            not march.window or march.window % settings.time or march.bundle % settings.time
        ):
            raise ConfigError(
                f"time {settings.time} of the model stagger needs training.window and "
                f"training.bundle that are multiples of it, and they are {march.window} and "
                f"{march.bundle}"
            )

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights.

        Raises:
            ConfigError: A coarse grid would have a single point along an axis.
        """
        super().__init__()
        fewest = min(map(len, task.coordinates))
        if settings.space >= fewest:
            raise ConfigError(
                f"space {settings.space} of the model stagger leaves a single one of {fewest} "
                f"points along an axis: take at most {fewest - 1}"
            )
        self.space, self.periodic = settings.space, task.periodic
        self.time, self.states = settings.time, task.states
        kind = model_class(settings.model)
        inner = read_settings(kind, settings.model, settings.settings)
        self.network = kind(inner, coarsen(task, settings.space, settings.time))

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        if self.time == 1 or self.states is None:
            return self._divided(x)
        found = self._divided(divide_states(x, self.time, self.states))
        return interleave_states(found, self.time, self.states)

    def _divided(self, x: Tensor) -> Tensor:
        coarse = self.network(divide(x, self.space, self.periodic))
        return interleave(coarse, self.space, x.shape[2:])


def coarsen(task: Task, space: int, time: int) -> Task:
    """Return what a network maps between on each of the coarse grids and trajectories."""
    coarse = replace(task, coordinates=tuple(points[::space] for points in task.coordinates))
    if time == 1 or (states := task.states) is None:
        return coarse
    window, bundle = states.window // time, states.bundle // time
    return replace(
        coarse,
        inputs=(
            *task.inputs[: states.first],
            *task.inputs[states.first : states.end][: window * states.fields],
            *task.inputs[states.end :],
        ),
        outputs=task.outputs[: bundle * states.fields],
        window=window,
        bundle=bundle,
        time_step=task.time_step and task.time_step * time,
    )


def divide_states(x: Tensor, time: int, states: States) -> Tensor:
    """Return the inputs (N, C, *grid) of each coarse trajectory: (time · N, ..., *grid)."""
    known = x[:, states.first : states.end].unflatten(1, (-1, time, states.fields))
    before, after = (
        part.expand(time, *part.shape) for part in (x[:, : states.first], x[:, states.end :])
    )
    return torch.cat((before, known.movedim(2, 0).flatten(2, 3), after), dim=2).flatten(0, 1)


def interleave_states(y: Tensor, time: int, states: States) -> Tensor:
    """Return the next states (N, K, *grid) from those of the trajectories of `divide_states`."""
    apart = y.unflatten(0, (time, -1)).unflatten(2, (-1, states.fields))
    return apart.movedim(0, 2).flatten(1, 3)


def divide(x: Tensor, space: int, periodic: Sequence[bool]) -> Tensor:
    """Return the coarse grids of (N, C, *grid), one after another: (space^D · N, C, *coarse)."""
    dimensions = len(periodic)
    for axis, cyclic in zip(range(2, 2 + 2 * dimensions, 2), periodic, strict=True):
        points = x.shape[axis]
        steps = torch.arange(ceil(points / space) * space, device=x.device).view(-1, space)
        index = steps % points if cyclic else steps.clamp(max=points - 1)
        x = x.index_select(axis, index.T.flatten()).unflatten(axis, index.T.shape)
    starts, steps = range(2, x.dim(), 2), range(3, x.dim(), 2)
    return x.permute(*starts, 0, 1, *steps).flatten(0, dimensions)


def interleave(y: Tensor, space: int, grid: Sequence[int]) -> Tensor:
    """Return the function (N, K, *grid) that has these values on the grids that `divide` makes."""
    dimensions = len(grid)
    apart = y.unflatten(0, (*(space,) * dimensions, -1))
    pairs = [axis for k in range(dimensions) for axis in (dimensions + 2 + k, k)]
    whole = apart.permute(dimensions, dimensions + 1, *pairs)
    for axis, points in enumerate(grid, start=2):
        whole = whole.flatten(axis, axis + 1).narrow(axis, 0, points)
    return whole
