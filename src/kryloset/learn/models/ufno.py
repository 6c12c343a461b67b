# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The U-FNO: Fourier layers, and U-Nets beside the later ones."""

from neuralop.layers.spectral_convolution import SpectralConv
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kryloset.config.section import Section
from kryloset.learn.models.base import GridModel, Task, with_coordinates
from kryloset.learn.models.layers import Hierarchy, halvings, pointwise, projection


class FourierLayer(nn.Module):  # type: ignore[misc]
    """max(0, K v + W v + U v): K acts on Fourier modes, W on each point, and U is a U-Net.

    Args:
        width: Channels.
        modes: Fourier modes along each axis.
        dimensions: Axes of the grid.
        local: U; None for 0, as in the FNO.
    """

    def __init__(self, width: int, modes: int, dimensions: int, local: nn.Module | None) -> None:
        """Draw the weights."""
        super().__init__()
        self.modes = SpectralConv(width, width, (modes,) * dimensions)
        self.pointwise = pointwise(width, width, dimensions)
        self.local = local

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, *grid)."""
        total = self.modes(x) + self.pointwise(x)
        return functional.relu(total if self.local is None else total + self.local(x))


class UFNO(GridModel):
    """U-FNO (Wen et al., Adv. Water Resour. 2022): Fourier layers, later ones with U-Nets.

    The network takes a grid of any size, but what the U-Nets have learned at one distance of points
    does not hold at another.

    Without coordinates, a shift of the input along a periodic axis by a multiple of 2^depth points,
    which must divide the points of the axis, shifts the output.
    """

    learning_rate = 5e-3

    class Settings(Section):
        """Size of the network; the defaults suit two CPU cores."""

        modes: int = Field(
            12,
            ge=1,
            le=1024,
            description="Fourier modes along each axis, limited by those that the grid has.",
        )
        width: int = Field(16, ge=1, le=1024, description="Channels of every layer.")
        layers: int = Field(3, ge=0, le=64, description="Fourier layers; they come first.")
        u_layers: int = Field(3, ge=1, le=64, description="Fourier layers with a U-Net.")
        depth: int = Field(3, ge=1, le=12, description="Halvings of the grid in a U-Net, at most.")
        coordinates: bool = Field(True, description="Whether coordinates are input channels.")

    def __init__(self, settings: Settings, task: Task) -> None:
        """Draw the weights."""
        super().__init__()
        width, dimensions = settings.width, task.dimensions
        self.task = task if settings.coordinates else None
        self.lift = pointwise(
            len(task.inputs) + dimensions * settings.coordinates, width, dimensions
        )
        local = [None] * settings.layers + [
            Hierarchy(width, halvings(settings.depth, task), task.periodic, growth=1)
            for _ in range(settings.u_layers)
        ]
        self.layers = nn.Sequential(
            *(FourierLayer(width, settings.modes, dimensions, network) for network in local)
        )
        self.project = projection(width, 128, len(task.outputs), dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (N, K, *grid) for inputs (N, C, *grid)."""
        x = with_coordinates(self.task, x) if self.task else x
        outputs: Tensor = self.project(self.layers(self.lift(x)))
        return outputs
