# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Transolver: a transformer in which a few slices of the points attend to one another."""

from itertools import product
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from kryloset.config.section import Section
from kryloset.errors import ConfigError
from kryloset.learn.models.base import PointModel, Points, Task

type Grid = tuple[int, ...] | None
"""The shape of the grid whose points the points of each instance are, None for other points."""

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Transolver(PointModel):
    """Transformer with attention between slices of the points (Wu et al., ICML 2024).

    H. Wu, H. Luo, H. Wang, J. Wang, M. Long, "Transolver: a fast transformer solver for PDEs on
    general geometries", ICML 2024, section 3.

    It works at the points of any mesh or grid, and the time for a point does not depend on how many
    there are. All points count alike, so that fine parts of a mesh weigh more. On a grid without
    points outside of the domain, the first maps of an attention may be convolutions, as in the
    authors' code for grids.
    """

    class Settings(Section):
        """Settings of the model `transolver`; the paper has width 128, 8 layers and 64 slices."""

        width: int = Field(64, ge=1, le=65_536, description="Channels at each point.")
        layers: int = Field(4, ge=1, le=64, description="Layers, each with an attention.")
        heads: int = Field(
            4, ge=1, le=1024, description="Heads of the attention; `width` is a multiple."
        )
        slices: int = Field(32, ge=1, le=65_536, description="Slices of each head.")
        reference: int = Field(
            8,
            ge=0,
            le=64,
            description="Points see their distances to a grid of so many points a side, or for 0 "
            "their coordinates.",
        )
        kernel: int = Field(
            1,
            ge=1,
            le=31,
            description="Points a side that the convolutions before an attention see, an odd "
            "number; more than 1 needs a grid that the domain fills.",
        )

        @model_validator(mode="after")
        def _heads_fit(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
            return self

        @model_validator(mode="after")
        def _kernel_has_a_middle(self) -> Self:
            if self.kernel % 2 == 0:
                raise ValueError(f"kernel {self.kernel} has no middle: take an odd number")
            return self

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights.

        Raises:
            ConfigError: There are convolutions, and the domain does not fill the grid.
        """
        super().__init__()
        if settings.kernel > 1 and task.masked:
            raise _no_convolution(settings.kernel)
        marks = torch.linspace(0, 1, settings.reference).tolist()
        reference = torch.tensor(list(product(marks, repeat=task.dimensions)))
        self.register_buffer("reference", reference, persistent=False)
        places = len(reference) or task.dimensions
        width = settings.width
        self.lift = _two_layers(len(task.inputs) + places, 2 * width, width)
        self.layers = nn.ModuleList(_Layer(settings, task) for _ in range(settings.layers))
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(task.outputs)))
        self.apply(_draw_narrowly)

    def forward(self, x: Tensor, points: Points) -> Tensor:
        """Return the outputs (P, K) at the points for inputs (P, C) there."""
        places = points.positions.to(x.dtype)
        if len(self.reference):
            places = torch.cdist(places, self.reference)
        lifted = self.lift(torch.cat((places, x), dim=1))
        if points.grid is not None:
            rows = lifted.unflatten(0, (points.count, -1))
            return self._map(rows, None, points.grid).flatten(0, 1)
        sizes = torch.bincount(points.instance, minlength=points.count)
        # Instances as rows of one array. Where one has fewer points than the largest, its row has
        # places without a point, which belong to no slice.
        there = torch.arange(int(sizes.max()), device=x.device) < sizes[:, None]
        state = lifted.new_zeros(*there.shape, lifted.shape[1])
        state[there] = lifted
        return self._map(state, there, None)[there]

    def _map(self, state: Tensor, there: Tensor | None, grid: Grid) -> Tensor:
        for layer in self.layers:
            state = layer(state, there, grid)
        result: Tensor = self.project(state)
        return result


class _Layer(nn.Module):  # type: ignore[misc]
    """Attention and a dense network at each point, both added to what is there."""

    def __init__(self, settings: Transolver.Settings, task: Task) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(settings.width)
        self.attention = PhysicsAttention(settings, task)
        self.before_dense = nn.LayerNorm(settings.width)
        self.dense = _two_layers(*[settings.width] * 3)

    def forward(self, state: Tensor, there: Tensor | None, grid: Grid) -> Tensor:
        state = state + self.attention(self.before_attention(state), there, grid)
        result: Tensor = state + self.dense(self.before_dense(state))
        return result


class PhysicsAttention(nn.Module):  # type: ignore[misc]
    """Attention between the means of slices, linear in the number of points.

    In each head, a point belongs to all slices, with weights that add up to one. A slice is
    represented by the weighted mean of its points. These means attend to one another, and each
    point receives the results with the same weights.
    """

    def __init__(self, settings: Transolver.Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        width, self.heads = settings.width, settings.heads
        size = width // self.heads
        self.guide, self.values = (_Map(width, settings.kernel, task) for _ in range(2))
        self.slice = nn.Linear(size, settings.slices)
        self.temperature = nn.Parameter(torch.full((self.heads, 1), 0.5))
        self.query, self.key, self.value = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.merge = nn.Linear(width, width)

    def weigh(self, state: Tensor, grid: Grid) -> Tensor:
        """Return (N, heads, n, slices), the weights of points in slices, as `forward`.

        The temperature keeps to [0.1, 5], as in the authors' code.
        """
        # A product with its inverse, since the gradient of a quotient takes more operations.
        cold = 1 / self.temperature.clamp(0.1, 5)[:, None]
        return torch.softmax(self.slice(self._divide(self.guide(state, grid))) * cold, dim=-1)

    def forward(self, state: Tensor, there: Tensor | None, grid: Grid) -> Tensor:
        """Return the new states (N, n, width).

        Args:
            state: (N, n, width), the states of n points in N instances.
            there: (N, n), whether there is a point; None if there are all.
            grid: Its shape, if the points are those of a grid.
        """
        weights = self.weigh(state, grid)
        if there is not None:
            weights = weights * there[:, None, :, None]
        sums = weights.mT @ self._divide(self.values(state, grid))
        # A slice may be nearly empty; 1e-5 is that of the authors' code.
        means = sums / weights.sum(dim=2).clamp_min(1e-5)[..., None]
        means = scaled_dot_product_attention(self.query(means), self.key(means), self.value(means))
        result: Tensor = self.merge((weights @ means).transpose(1, 2).flatten(2))
        return result

    def _divide(self, channels: Tensor) -> Tensor:
        """Return channels (N, n, width) divided among the heads: (N, heads, n, their channels)."""
        return channels.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class _Map(nn.Module):  # type: ignore[misc]
    """A linear map of the channels of a point, or of its neighbours on the grid, too."""

    def __init__(self, width: int, kernel: int, task: Task) -> None:
        super().__init__()
        self.kernel = kernel
        # A convolution has one kind of boundary for all axes.
        boundary = "circular" if all(task.periodic) else "zeros"
        convolution = _CONVOLUTIONS[task.dimensions]
        self.map = (
            nn.Linear(width, width)
            if kernel == 1
            else convolution(width, width, kernel, padding="same", padding_mode=boundary)
        )

    def forward(self, state: Tensor, grid: Grid) -> Tensor:
        if self.kernel == 1:
            result: Tensor = self.map(state)
            return result
        if grid is None:
            raise _no_convolution(self.kernel)
        result = self.map(state.mT.unflatten(-1, grid)).flatten(2).mT
        return result


def _no_convolution(kernel: int) -> ConfigError:
    return ConfigError(
        f"kernel {kernel} of the model transolver needs a grid that the domain fills: leave the "
        "key out, or, for a domain without holes in its box, set training.where to grid"
    )


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _draw_narrowly(module: nn.Module) -> None:
    """Draw the weights of a linear map with the deviation 0.02, as in the authors' code."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
