# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kernel integrals over balls, between the points of meshes and a latent grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from kryloset.learn.models.base import Points
from kryloset.learn.models.graph import count_at, mean_at, perceptron


@dataclass(frozen=True, eq=False)
class Balls:
    """Pairs of a point and a point of the latent grid of its instance that are close.

    The latent grid has n points along each axis, in the middles of n equal parts.

    Attributes:
        positions: (P, D), the points.
        centres: (N n^D, D), the latent grids of N instances, one after another.
        near: (M,), the point of each pair.
        cell: (M,), the latent point of each pair.
        towards: (M, D), from the point to the latent point, in radii.
    """

    positions: Tensor
    centres: Tensor
    near: Tensor
    cell: Tensor
    towards: Tensor

    @classmethod
    def find(cls, points: Points, count: int, radius: float, periodic: Sequence[bool]) -> Self:
        """Find the pairs. Every point has one where the radius is at least 1.

        Args:
            points: The points.
            count: Points n of the latent grid along each axis.
            radius: Largest distance in spacings of the latent grid.
            periodic: Whether the distance along an axis is that around it.
        """
        positions, dimensions = points.positions, len(periodic)
        device = positions.device
        reach = torch.arange(-int(radius + 0.5), int(radius + 0.5) + 1, device=device)
        steps = torch.cartesian_prod(*[reach] * dimensions).reshape(-1, dimensions)
        cells = (positions * count).floor().long()[:, None] + steps
        towards = (cells + 0.5 - positions[:, None] * count) / radius
        closed = torch.tensor(periodic, device=device)
        there = (closed | ((cells >= 0) & (cells < count))).all(-1) & (towards.norm(dim=-1) <= 1)
        near, step = there.nonzero(as_tuple=True)
        strides = count ** torch.arange(dimensions - 1, -1, -1, device=device)
        cell = (cells[near, step] % count * strides).sum(-1)
        middles = (torch.arange(count, device=device, dtype=positions.dtype) + 0.5) / count
        centres = torch.cartesian_prod(*[middles] * dimensions).reshape(-1, dimensions)
        return cls(
            positions=positions,
            centres=centres.repeat(points.count, 1),
            near=near,
            cell=cell + points.instance[near] * count**dimensions,
            towards=towards[near, step],
        )

    @property
    def covered(self) -> Tensor:
        """Which latent points have points in their balls, (N n^D,)."""
        return count_at(self.cell, self.centres.shape[0]) > 0


class KernelIntegral(nn.Module):  # type: ignore[misc]
    """At each target the mean of κ(y, x - y) v(y) over the sources y in the ball around x.

    Targets whose ball is empty get 0.

    Args:
        dimensions: Axes of space.
        width: Channels of v. The kernel κ is a perceptron with as many outputs.
    """

    def __init__(self, dimensions: int, width: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.kernel = perceptron(2 * dimensions, width, width)

    def to_grid(self, values: Tensor, balls: Balls) -> Tensor:
        """Return the integrals at the latent points (N n^D, width) of a function (P, width)."""
        kernel = self.kernel(torch.cat((balls.positions[balls.near], balls.towards), dim=1))
        return mean_at(kernel * values[balls.near], balls.cell, balls.centres.shape[0])

    def to_points(self, values: Tensor, balls: Balls) -> Tensor:
        """Return the integrals at the points (P, width) of a function (N n^D, width)."""
        kernel = self.kernel(torch.cat((balls.centres[balls.cell], -balls.towards), dim=1))
        return mean_at(kernel * values[balls.cell], balls.near, balls.positions.shape[0])
