# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a training minimises: relative errors, whatever the units of a field are.

`LpLoss` of `neuraloperator` adds 1e-8 to the norm of the truth, so that its error of a displacement
of 1e-9 metres is not relative, and its gradient is NaN where the prediction is exact.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.norms import square_h1

type Array = NDArray[np.float64]


def make_loss(
    norm: Literal["l2", "h1"], coordinates: Sequence[Array]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the mean relative error of a batch, as a function of prediction and truth.

    Points where the truth is NaN lie outside the domain and are ignored. A field that is 0 in an
    instance has the error relative to a constant: its largest value in the batch, or 1.

    Args:
        norm: L2, a sum over all points with equal weights, or H1, as in `kryloset.learn.metrics`.
        coordinates: Coordinates of the grid, one array per axis.
    """
    over = tuple(range(-len(coordinates), 0))

    def square(values: Tensor, outside: Tensor) -> Tensor:
        if norm == "l2":
            return torch.where(outside, 0, values).square().sum(dim=over)
        return square_h1(values, outside, [values.new_tensor(points) for points in coordinates])

    def loss(prediction: Tensor, truth: Tensor) -> Tensor:
        outside = truth.isnan()
        u, p = (torch.where(outside, 0, values) for values in (truth, prediction))
        unit = unit_of(u.abs().amax(dim=over, keepdim=True))
        error, size = square((p - u) / unit, outside), square(u / unit, outside)
        return relative(error, size, square(torch.ones_like(u), outside)).mean()

    return loss


def unit_of(largest: Tensor) -> Tensor:
    """Return units in which squares neither overflow nor vanish, for largest values (N, ...)."""
    of_batch = torch.where(largest > 0, largest, largest.amax(dim=0, keepdim=True))
    return torch.where(of_batch > 0, of_batch, 1)


def relative(error: Tensor, size: Tensor, of_one: Tensor) -> Tensor:
    """Return ||p - u|| / ||u|| from squares of norms, with the gradient 0 where p = u.

    Args:
        error: Square of the norm of p - u.
        size: Square of the norm of u.
        of_one: Square of that of the constant 1, to which the error is relative where u = 0.
    """
    ratio = error / torch.where(size > 0, size, of_one)
    wrong = ratio != 0
    return torch.where(wrong, torch.where(wrong, ratio, 1).sqrt(), 0)
