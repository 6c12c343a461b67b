# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The U-shaped neural operator."""

import io
from contextlib import redirect_stdout

import neuralop.models
from pydantic import Field
from torch import Tensor

from kryloset.config.section import Section
from kryloset.learn.models.base import GridModel, Task
from kryloset.learn.models.grid_channels import GridChannels


class UNO(GridModel):
    """U-shaped neural operator (Rahman et al., TMLR 2023), of the library neuraloperator.

    Five Fourier layers, of which the three inner ones work on half of the points along each axis
    with twice the channels, and skip connections between those of equal size.
    """

    learning_rate = 5e-3

    class Settings(Section):
        """Modes and width; the defaults suit two CPU cores."""

        modes: int = Field(
            24,
            ge=2,
            le=1024,
            description="Fourier modes along each axis of the outer layers, limited by those that "
            "the grid has; the inner ones have half as many.",
        )
        width: int = Field(16, ge=2, le=1024, description="Hidden channels of the outer layers.")

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        width, axes = settings.width, task.dimensions
        modes = [settings.modes, *[settings.modes // 2] * 3, settings.modes]
        with redirect_stdout(io.StringIO()):  # it prints its settings
            self.network = neuralop.models.UNO(
                in_channels=len(task.inputs),
                out_channels=len(task.outputs),
                hidden_channels=width,
                n_layers=5,
                uno_out_channels=[width, 2 * width, 2 * width, 2 * width, width],
                uno_n_modes=[[count] * axes for count in modes],
                uno_scalings=[[factor] * axes for factor in (1.0, 0.5, 1.0, 2.0, 1.0)],
                channel_mlp_skip="linear",  # since the channels change, which gates cannot
                positional_embedding=GridChannels(len(task.inputs), axes),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        outputs: Tensor = self.network(x)
        return outputs
