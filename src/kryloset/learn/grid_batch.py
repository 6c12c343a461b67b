# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Functions on a grid, an instance after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.losses import make_loss
from kryloset.learn.metrics import relative_l2

type Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridBatch:
    """Pairs on a grid.

    Attributes:
        x: (N, C, *grid), inputs in physical units.
        y: (N, K, *grid), outputs in physical units, NaN outside the domain; or (N, S, K, *grid)
            after each of S steps. Predictions have the same shape.
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
        rows: (N,), int64, the rows of the instances in the dataset.
        states: (N, M), int64, the numbers of the M states of y in their trajectories.
    """

    x: Tensor
    y: Tensor
    coordinates: tuple[Array, ...]
    rows: Tensor
    states: Tensor

    @property
    def steps(self) -> int:
        """Number of steps S."""
        return 1 if self.y.dim() == self.x.dim() else self.y.shape[1]

    @property
    def arguments(self) -> tuple[Tensor]:
        """What an operator takes."""
        return (self.x,)

    def separate(self, prediction: Tensor) -> Sequence[Tensor]:
        """Return the prediction of each pair, of the shape of its y."""
        return list(prediction)

    def loss(self, norm: Literal["l2", "h1"], prediction: Tensor) -> Tensor:
        """Return the mean relative error of a prediction, as of `make_loss`."""
        return make_loss(norm, self.coordinates)(prediction, self.y)

    def relative_l2(self, prediction: Tensor) -> Array:
        """Return the relative L² errors of a prediction on the CPU, (N, K) or (N, S, K)."""
        return relative_l2(prediction.numpy(), self.y.numpy(), self.coordinates)

    def to(self, device: torch.device) -> "GridBatch":
        """Return the same pairs on another device."""
        return replace(
            self,
            x=self.x.to(device, non_blocking=True),
            y=self.y.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "GridBatch":
        """Return the same pairs in memory from which a GPU copies faster."""
        return replace(self, x=self.x.pin_memory(), y=self.y.pin_memory())
