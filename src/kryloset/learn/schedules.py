# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Learning rates from the first step of a training to the last one."""

import math
from collections.abc import Callable
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

#: Learning rate, as a share of the largest one, after a share of the steps.
SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


def make_schedule(
    name: Literal["one_cycle", "cosine", "linear", "constant"],
    optimiser: Optimizer,
    *,
    steps: int,
    warmup: int,
) -> LRScheduler:
    """Return what sets the learning rate after each step of an optimiser.

    - `one_cycle`: it rises for 30 % of the steps and then falls almost to zero, while the momentum
      falls and rises; Smith and Topin, "Super-convergence", 2019;
    - `cosine`: half a period of the cosine; Loshchilov and Hutter, "SGDR", ICLR 2017, without
      restarts;
    - `linear`: proportional to 1 - t/T at step t of T, the best choice in the worst case; Defazio
      et al., "When, why and how much? Adaptive learning rate scheduling by refinement", 2023;
    - `constant`.

    Args:
        name: Its name.
        optimiser: Has the largest learning rate.
        steps: Number of steps T of the training.
        warmup: Steps over which the learning rate first rises linearly; T counts from their end.
            `one_cycle` has its own rise.
    """
    if name == "one_cycle":
        rate = optimiser.param_groups[0]["lr"]
        momentum = "betas" in optimiser.defaults
        return OneCycleLR(optimiser, rate, total_steps=steps, cycle_momentum=momentum)
    shape = SHAPES[name]

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return shape((step - warmup) / max(steps - warmup, 1))

    return LambdaLR(optimiser, share)
