# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Latent Spectral Model: a few tokens stand for each patch, and a Fourier series maps them."""

import math
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from kryloset.config.section import Section
from kryloset.learn.models.base import GridModel, Task, with_coordinates
from kryloset.learn.models.layers import Hierarchy, halvings, pointwise, projection


class TrigonometricSeries(nn.Module):  # type: ignore[misc]
    """Map each channel t of a token to t + w₀ + Σ a_j sin(π j t / N) + b_j cos(π j t / N).

    The coefficients differ from channel to channel (Wu et al. 2023, Section 3.3). The paper has
    the frequencies j; the factor π / N is that of the authors' own code.

    Args:
        heads: Heads, among which the channels are divided.
        channels: Channels of a head.
        order: N, the largest j.
    """

    def __init__(self, heads: int, channels: int, order: int) -> None:
        """Draw the coefficients."""
        super().__init__()
        size = heads, 1, channels
        self.constant = nn.Parameter(torch.zeros(size))
        self.sines = nn.Parameter(torch.rand(*size, order) / (heads * channels))
        self.cosines = nn.Parameter(torch.rand(*size, order) / (heads * channels))
        frequencies = torch.arange(1, order + 1) * (math.pi / order)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Return (..., heads, tokens, channels)."""
        angles = t[..., None] * self.frequencies
        waves = self.sines * angles.sin() + self.cosines * angles.cos()
        return t + self.constant + waves.sum(-1)


class NeuralSpectralBlock(nn.Module):  # type: ignore[misc]
    """Map each patch of a grid through a latent space, in which a few tokens stand for its points.

    Attention projects the points of a patch onto the tokens, a trigonometric series maps these, and
    attention projects them back (Wu et al. 2023, Sections 3.2 and 3.3). Patches at the end of an
    axis may have fewer points.

    Args:
        width: Channels.
        settings: Patches, tokens, heads and order of the series.
        dimensions: Axes of the grid.
    """

    def __init__(
        self, width: int, settings: "LatentSpectralModel.Settings", dimensions: int
    ) -> None:
        """Draw the weights."""
        super().__init__()
        self.patch, self.heads = settings.patch, settings.heads
        share = width // self.heads
        self.tokens = nn.Parameter(torch.rand(self.heads, settings.tokens, share) / width)
        self.keys = pointwise(width, width, dimensions)
        self.values = pointwise(width, width, dimensions)
        self.queries = pointwise(width, width, dimensions)
        self.series = TrigonometricSeries(self.heads, share, settings.basis)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, *grid)."""
        keys, values, queries = (
            self._points(project(x)) for project in (self.keys, self.values, self.queries)
        )
        # The scores have no factor, as in the authors' own code.
        latent = self.tokens + functional.scaled_dot_product_attention(
            self.tokens.expand(keys.shape[0], -1, -1, -1),
            keys,
            values,
            attn_mask=self._inside(x),
            scale=1.0,
        )
        latent = self.series(latent)
        found = functional.scaled_dot_product_attention(queries, latent, latent, scale=1.0)
        return x + from_patches(found.mT.flatten(1, 2), x.shape, self.patch)

    def _points(self, x: Tensor) -> Tensor:
        """Return (patches, heads, points of a patch, channels of a head)."""
        return to_patches(x, self.patch).unflatten(1, (self.heads, -1)).mT

    def _inside(self, x: Tensor) -> Tensor | None:
        """Return which points of the patches exist, (patches, 1, 1, points); None if all do."""
        grid = x.shape[2:]
        if all(points % self.patch == 0 for points in grid):
            return None
        return to_patches(x.new_ones(x.shape[0], 1, *grid), self.patch).unsqueeze(1) != 0


class LatentSpectralModel(GridModel):
    """Latent Spectral Model (Wu et al., ICML 2023): a hierarchy of grids, and tokens for patches.

    The grid is halved several times. At each scale, a neural spectral block maps patches of equally
    many points, which so cover more and more of the domain. The network takes a grid of any size,
    but what it has learned at one distance of points does not hold at another.

    Without coordinates, a shift of the input along a periodic axis by a multiple of patch · 2^depth
    points, which must divide the points of the axis, shifts the output.
    """

    learning_rate = 5e-3

    class Settings(Section):
        """Size of the network; the defaults suit two CPU cores."""

        width: int = Field(
            16, ge=1, le=1024, description="Channels on the finest grid; twice as many on the next."
        )
        depth: int = Field(4, ge=1, le=12, description="How often the grid is halved, at most.")
        patch: int = Field(4, ge=1, le=256, description="Points of a patch along each axis.")
        tokens: int = Field(4, ge=1, le=256, description="Tokens that stand for a patch.")
        basis: int = Field(
            12, ge=1, le=256, description="Sines, and cosines, that map a channel of a token."
        )
        heads: int = Field(4, ge=1, le=256, description="Heads of attention; they divide `width`.")
        coordinates: bool = Field(True, description="Whether coordinates are input channels.")

        @model_validator(mode="after")
        def _heads_divide_width(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"heads must divide width, and {self.heads} does not {self.width}")
            return self

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        width, dimensions = settings.width, task.dimensions
        self.task = task if settings.coordinates else None
        self.lift = pointwise(
            len(task.inputs) + dimensions * settings.coordinates, width, dimensions
        )
        self.hierarchy = Hierarchy(
            width,
            halvings(settings.depth, task),
            task.periodic,
            process=lambda channels: NeuralSpectralBlock(channels, settings, dimensions),
        )
        self.project = projection(width, 128, len(task.outputs), dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        x = with_coordinates(self.task, x) if self.task else x
        outputs: Tensor = self.project(self.hierarchy(self.lift(x)))
        return outputs


def to_patches(x: Tensor, patch: int) -> Tensor:
    """Divide grids (N, C, *grid) into patches.

    Returns:
        (N · patches, C, points of a patch); zero where an axis ends inside a patch.
    """
    grid = x.shape[2:]
    counts = [math.ceil(points / patch) for points in grid]
    missing = [n * patch - points for n, points in zip(counts, grid, strict=True)]
    whole = functional.pad(x, [amount for m in reversed(missing) for amount in (0, m)])
    apart = whole.reshape(*x.shape[:2], *(size for n in counts for size in (n, patch)))
    axes = range(2, apart.dim())
    ordered = apart.permute(0, *axes[::2], 1, *axes[1::2])
    return ordered.reshape(x.shape[0] * math.prod(counts), x.shape[1], -1)


def from_patches(x: Tensor, shape: Sequence[int], patch: int) -> Tensor:
    """Join the patches (N · patches, C, points of a patch) of a grid to (N, C, *grid), `shape`."""
    count, channels, *grid = shape
    counts = [math.ceil(points / patch) for points in grid]
    apart = x.reshape(count, *counts, channels, *(patch,) * len(grid))
    d = len(grid)
    pairs = [axis for k in range(d) for axis in (1 + k, 2 + d + k)]
    whole = apart.permute(0, 1 + d, *pairs).reshape(count, channels, *(n * patch for n in counts))
    return whole[(..., *(slice(points) for points in grid))]
