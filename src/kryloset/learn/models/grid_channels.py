# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Coordinates as channels for the networks of neuraloperator."""

import torch
from neuralop.layers.embeddings import GridEmbeddingND
from torch import Tensor


class GridChannels(GridEmbeddingND):  # type: ignore[misc]
    """The coordinates of the grid in [0, 1] as further channels, as of neuraloperator.

    Its own class keeps those that it computed first, and so stays on their device when the network
    moves to another one.

    Args:
        channels: Channels of the input.
        dimensions: Axes of the grid.
    """

    _grid: list[Tensor] | None

    def __init__(self, channels: int, dimensions: int) -> None:
        """Compute nothing yet."""
        super().__init__(channels, dimensions, [[0.0, 1.0]] * dimensions)

    def grid(
        self, spatial_dims: torch.Size, device: torch.device, dtype: torch.dtype
    ) -> list[Tensor]:
        """Return the coordinates along each axis, (1, 1, *grid)."""
        if self._grid is not None and self._grid[0].device != device:
            self._grid = None
        found: list[Tensor] = super().grid(spatial_dims, device, dtype)
        return found
