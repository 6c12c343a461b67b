# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Fourier neural operator."""

from typing import Any

import neuralop.models
from pydantic import Field
from torch import Tensor

from kryloset.config.section import Section
from kryloset.learn.models.base import GridModel, Task
from kryloset.learn.models.grid_channels import GridChannels


class FNO(GridModel):
    """Fourier neural operator (Li et al., ICLR 2021), of the library neuraloperator.

    Pointwise lifting of the input channels and coordinates, Fourier layers with channel mixing,
    and pointwise projection to the output channels.
    """

    learning_rate = 1e-2

    class Settings(Section):
        """Modes, width and layers; the defaults suit two CPU cores."""

        modes: int = Field(
            24,
            ge=1,
            le=1024,
            description="Fourier modes along each axis, limited by those that the grid has.",
        )
        width: int = Field(16, ge=2, le=1024, description="Hidden channels.")
        layers: int = Field(4, ge=1, le=64, description="Fourier layers.")

    def __init__(self, settings: Settings, task: Task, **further: Any) -> None:
        """Draw the weights; the library's FNO gets the further arguments."""
        super().__init__()
        self.network = neuralop.models.FNO(
            n_modes=(settings.modes,) * task.dimensions,
            in_channels=len(task.inputs),
            out_channels=len(task.outputs),
            hidden_channels=settings.width,
            n_layers=settings.layers,
            positional_embedding=GridChannels(len(task.inputs), task.dimensions),
            **further,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        outputs: Tensor = self.network(x)
        return outputs
