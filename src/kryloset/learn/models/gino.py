# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The geometry-informed neural operator: a Fourier neural operator between meshes."""

from typing import ClassVar

import torch
from neuralop.models import FNO
from pydantic import Field
from torch import Tensor

from kryloset.config.section import Section
from kryloset.learn.models.base import PointModel, Points, Task
from kryloset.learn.models.graph import perceptron
from kryloset.learn.models.grid_channels import GridChannels
from kryloset.learn.models.kernel_integral import Balls, KernelIntegral


class GINO(PointModel):
    """Geometry-informed neural operator: from the points to a grid, an FNO there, and back.

    Li et al., "Geometry-informed neural operator for large-scale 3D PDEs", NeurIPS 2023. Kernel
    integrals over balls take functions from the points to a latent grid and back; between them acts
    the Fourier neural operator of `neuraloperator`. Where the paper gives that operator the
    distance to the surface, this one gives it whether a ball has points.

    The integrals are those of `neuraloperator` with `transform_type="linear"` and the mean over a
    ball. They are computed here for all instances at once: `GNOBlock` takes a single mesh, searches
    among all pairs, and, without a package for CUDA, sums ball by ball in Python.
    """

    learning_rate: ClassVar[float] = 2e-3

    class Settings(Section):
        """Settings of the model `gino`."""

        latent: int = Field(32, ge=4, le=512, description="Latent grid points along each axis.")
        modes: int = Field(12, ge=1, le=256, description="Fourier modes along each axis.")
        width: int = Field(32, ge=2, le=1024, description="Channels on points and latent grid.")
        layers: int = Field(4, ge=1, le=64, description="Fourier layers.")
        radius: float = Field(
            1.5, ge=1, le=16, description="Radius of the balls in spacings of the latent grid."
        )

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        self.settings = settings
        self.periodic = task.periodic
        width = settings.width
        self.lift = perceptron(len(task.inputs), width, width)
        self.given = KernelIntegral(task.dimensions, width)
        self.latent = FNO(
            n_modes=(settings.modes,) * task.dimensions,
            in_channels=width + 1,
            out_channels=width,
            hidden_channels=width,
            n_layers=settings.layers,
            positional_embedding=GridChannels(width + 1, task.dimensions),
        )
        self.found = KernelIntegral(task.dimensions, width)
        self.project = perceptron(width, 2 * width, len(task.outputs))

    def forward(self, x: Tensor, points: Points) -> Tensor:
        """Return outputs (P, K) for inputs (P, C)."""
        count = self.settings.latent
        balls = Balls.find(points, count, self.settings.radius, self.periodic)
        given = self.given.to_grid(self.lift(x), balls)
        channels = torch.cat((given, balls.covered[:, None].to(given)), dim=1)
        shape = (points.count, *(count,) * len(self.periodic))
        latent = self.latent(channels.reshape(*shape, -1).movedim(-1, 1))
        on_grid = latent.movedim(1, -1).reshape(given.shape[0], -1)
        outputs: Tensor = self.project(self.found.to_points(on_grid, balls))
        return outputs
