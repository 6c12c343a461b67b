# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The exponential moving average of weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(module: nn.Module, decay: float) -> AveragedModel:
    """Return the average of a module's weights over the steps of a training.

    After each step, which calls `update_parameters`, the average moves by 1 - d towards the
    weights. After n steps, d is `decay`, but at most (1 + n) / (10 + n): the first weights, which
    are random, are forgotten in a short training, too.

    Statistics of batches, as batch normalisation keeps them, are averaged, too: those of the
    present weights are not those of their average. Their counts are copied.

    Args:
        module: The module. The average is a copy of it, `.module`.
        decay: The share that an average keeps in one step of a long training.
    """

    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor) -> None:
        if not (averages[0].is_floating_point() or averages[0].is_complex()):
            torch._foreach_copy_(averages, weights)
            return
        kept = min(decay, (1 + float(steps)) / (10 + float(steps)))
        torch._foreach_lerp_(averages, weights, 1 - kept)

    return AveragedModel(module, multi_avg_fn=torch.no_grad()(update), use_buffers=True)
