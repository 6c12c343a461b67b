# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a training minimises."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from neuralop.losses import LpLoss
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.norms import square_h1

type Array = NDArray[np.float64]


def make_loss(
    norm: Literal["l2", "h1"], coordinates: Sequence[Array]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the mean relative error of a batch, as a function of prediction and truth.

    Points where the truth is NaN lie outside the domain and are ignored.

    Args:
        norm: L2, a sum over all points with equal weights, or H1, as in `kryloset.learn.metrics`.
        coordinates: Coordinates of the grid, one array per axis.
    """
    sum_up = LpLoss(d=len(coordinates), p=2, reduction="mean")

    def l2(prediction: Tensor, truth: Tensor) -> Tensor:
        outside = truth.isnan()
        mean: Tensor = sum_up(torch.where(outside, 0, prediction), torch.where(outside, 0, truth))
        return mean

    def h1(prediction: Tensor, truth: Tensor) -> Tensor:
        outside, axes = truth.isnan(), [truth.new_tensor(points) for points in coordinates]
        error = square_h1(prediction - truth, outside, axes) / square_h1(truth, outside, axes)
        return error.sqrt().mean()

    return l2 if norm == "l2" else h1
