# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Gradients beside difference quotients."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor


def noise(shape: torch.Size, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def disturbed(values: Tensor) -> Tensor:
    """Return values that are a tenth too large, with noise."""
    return 1.1 * values + 0.1 * values.abs().max() * noise(values.shape)


def check_gradient(function: Callable[[Tensor], Tensor], values: Tensor) -> bool:
    """Compare the gradient in a few directions with central differences."""
    guess = values.requires_grad_()
    (gradient,) = torch.autograd.grad(function(guess), guess)
    step = 1e-6 * float(values.detach().abs().max())
    for seed in range(3):
        along = noise(values.shape, seed)
        ends = [function(guess + sign * step * along).item() for sign in (1, -1)]
        slope = (gradient * along).sum().item()
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)
    return True
