# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks that are fitted to arrays: from the coefficient of a system to functions on its grid."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kryloset.learn.models.base import Task
from kryloset.learn.models.fno import FNO
from kryloset.learn.operator import Operator
from kryloset.learn.scaling import Scaling

type Array = NDArray[np.float64]


def make_operator(fields: Array, outputs: int, scale: float, *, modes: int, seed: int) -> Operator:
    """Return a Fourier neural operator that has learned nothing yet.

    Args:
        fields: (N, x, y), coefficients to learn from. They are positive, and enter as logarithms.
        outputs: Functions to predict.
        scale: Their size.
        modes: Fourier modes along each axis.
        seed: Of the weights.
    """
    axes = tuple(np.linspace(0.0, 1.0, points) for points in fields.shape[1:])
    names = tuple(f"u_{number}" for number in range(outputs))
    task = Task(("a",), names, axes, (False,) * len(axes), len(axes))
    torch.manual_seed(seed)
    network = FNO(FNO.Settings(modes=modes), task)
    logarithms = np.log(fields)
    moments = (float(logarithms.mean()), float(logarithms.std()))
    return Operator(Scaling([True], [moments], [(0.0, scale)] * outputs, len(axes)), network)


def fit(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    count: int,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> list[float]:
    """Minimise a loss by AdamW with a one-cycle schedule; return it at each step.

    Args:
        network: Is trained, and then in the mode of evaluation.
        loss: Of the items with these numbers, (B,) in int64.
        count: Number of items.
        steps: Of the optimiser, each with a batch drawn from all items.
        batch: Items of a step.
        rate: The largest learning rate.
        seed: Of the batches.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    history = []
    network.train()
    for _ in range(steps):
        found = loss(torch.randperm(count, generator=generator)[:batch])
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        schedule.step()
        history.append(found.item())
    network.eval()
    return history


def predict(operator: Operator, field: Array) -> Array:
    """Return the functions (K, x, y) that are predicted for a coefficient (x, y), in float64."""
    with torch.inference_mode():
        found = operator(torch.from_numpy(field).float()[None, None])
    return np.asarray(found[0].double().numpy())
