# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Layers on grids of one, two or three axes, of which some may be periodic.

They map tensors (N, C, *grid) to (N, K, *grid) on a grid of any size. A periodic axis has no end:
what lies beyond its last point is its first. Beyond other axes lie zeros.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from kryloset.learn.models.base import Task

#: What interpolates linearly, by the number of axes.
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def pointwise(inputs: int, outputs: int, dimensions: int) -> nn.Module:
    """Return a linear map of the channels of each point."""
    layer: nn.Module = _convolution(dimensions)(inputs, outputs, 1)
    return layer


def projection(inputs: int, hidden: int, outputs: int, dimensions: int) -> nn.Module:
    """Return a network of one hidden layer that acts on the channels of each point."""
    return nn.Sequential(
        pointwise(inputs, hidden, dimensions), nn.GELU(), pointwise(hidden, outputs, dimensions)
    )


class Convolution(nn.Module):  # type: ignore[misc]
    """A convolution with kernels of three points along each axis.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        periodic: For each axis, whether it is periodic.
    """

    def __init__(self, inputs: int, outputs: int, periodic: Sequence[bool]) -> None:
        """Draw the weights."""
        super().__init__()
        self.around = _around(periodic)
        zeros = tuple(0 if cyclic else 1 for cyclic in periodic)
        # What follows shifts each channel, so this needs no constants.
        self.kernel = _convolution(len(periodic))(inputs, outputs, 3, padding=zeros, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, K, *grid)."""
        result: Tensor = self.kernel(_continue(x, self.around))
        return result


def halve(x: Tensor) -> Tensor:
    """Return the largest value of each two neighbours along each axis; of the last, if n is odd."""
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[x.dim() - 3]
    result: Tensor = pool(x, 2, ceil_mode=True)
    return result


def double(x: Tensor, size: Sequence[int], periodic: Sequence[bool]) -> Tensor:
    """Interpolate what `halve` made of a grid of this size, linearly."""
    around = _around(periodic)
    fine = functional.interpolate(
        _continue(x, around), scale_factor=2, mode=LINEAR[len(size)], align_corners=False
    )
    for axis, (cyclic, points) in enumerate(zip(periodic, size, strict=True), start=2):
        fine = fine.narrow(axis, 2 if cyclic else 0, points)
    return fine


def halvings(wanted: int, task: Task) -> int:
    """Return how often a grid can be halved, at most `wanted`, until it has a single point."""
    longest = max(len(points) for points in task.coordinates)
    return max(1, min(wanted, (longest - 1).bit_length() - 1))


class Hierarchy(nn.Module):  # type: ignore[misc]
    """Features at several scales: on each grid down to the coarsest and back up.

    Two convolutions make the features of a scale. Each next scale has half the points along each
    axis and `growth` times the channels; the coarsest has as many channels as the one above it. On
    the way back, the features of a scale are processed and joined to those of the coarser one,
    interpolated, and two convolutions mix them.

    Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI
    2015, Figure 1, with interpolation instead of transposed convolutions.

    Args:
        width: Channels of input, output and finest scale.
        depth: How often the grid is halved, at least once.
        periodic: For each axis, whether it is periodic.
        growth: Channels of a scale over those of the one above it.
        process: Makes, from a number of channels, what processes the features of a scale.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        periodic: Sequence[bool],
        *,
        growth: int = 2,
        process: Callable[[int], nn.Module] = lambda width: nn.Identity(),
    ) -> None:
        """Draw the weights."""
        super().__init__()
        self.periodic = tuple(periodic)
        widths = [width * growth ** min(scale, depth - 1) for scale in range(depth + 1)]
        pairs = list(pairwise([width, *widths]))
        self.descent = nn.ModuleList(_two(before, w, w, periodic) for before, w in pairs)
        self.process = nn.ModuleList(process(w) for w in widths)
        self.ascent = nn.ModuleList(_two(2 * w, w, above, periodic) for above, w in pairs[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, *grid)."""
        finest, *coarser = self.descent
        scales = [finest(x)]
        for features in coarser:
            scales.append(features(halve(scales[-1])))
        *processed, below = (
            process(scale) for process, scale in zip(self.process, scales, strict=True)
        )
        for mix, features in zip(reversed(self.ascent), reversed(processed), strict=True):
            risen = double(below, features.shape[2:], self.periodic)
            below = mix(torch.cat([features, risen], dim=1))
        return below


def _two(inputs: int, hidden: int, outputs: int, periodic: Sequence[bool]) -> nn.Module:
    """Return two convolutions, each normalised over the batch and cut off at zero."""
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(periodic) - 1]
    return nn.Sequential(
        Convolution(inputs, hidden, periodic),
        norm(hidden),
        nn.ReLU(),
        Convolution(hidden, outputs, periodic),
        norm(outputs),
        nn.ReLU(),
    )


def _convolution(dimensions: int) -> type[nn.Module]:
    kind: type[nn.Module] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return kind


def _around(periodic: Sequence[bool]) -> tuple[int, ...]:
    """Return the points to add on both sides of each axis, in the order of `torch`'s `pad`."""
    return tuple(int(cyclic) for cyclic in reversed(periodic) for _ in range(2))


def _continue(x: Tensor, around: tuple[int, ...]) -> Tensor:
    return functional.pad(x, around, mode="circular") if any(around) else x
