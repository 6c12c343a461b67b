# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The U-Net: convolutions on a hierarchy of grids."""

from pydantic import Field
from torch import Tensor

from kryloset.config.section import Section
from kryloset.learn.models.base import GridModel, Task, with_coordinates
from kryloset.learn.models.layers import Hierarchy, halvings, pointwise


class UNet(GridModel):
    """U-Net (Ronneberger et al., MICCAI 2015): convolutions at several scales.

    Each scale has half the points of the one above it along each axis. The network takes a grid of
    any size, but what it has learned at one distance of points does not hold at another.

    Without coordinates, a shift of the input along a periodic axis by a multiple of 2^depth points,
    which must divide the points of the axis, shifts the output.
    """

    learning_rate = 5e-3

    class Settings(Section):
        """Size of the network; the defaults suit two CPU cores."""

        width: int = Field(
            16, ge=1, le=1024, description="Channels on the finest grid; twice as many on the next."
        )
        depth: int = Field(4, ge=1, le=12, description="How often the grid is halved, at most.")
        coordinates: bool = Field(True, description="Whether coordinates are input channels.")

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        self.task = task if settings.coordinates else None
        inputs = len(task.inputs) + task.dimensions * settings.coordinates
        self.lift = pointwise(inputs, settings.width, task.dimensions)
        self.hierarchy = Hierarchy(settings.width, halvings(settings.depth, task), task.periodic)
        self.project = pointwise(settings.width, len(task.outputs), task.dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        x = with_coordinates(self.task, x) if self.task else x
        outputs: Tensor = self.project(self.hierarchy(self.lift(x)))
        return outputs
