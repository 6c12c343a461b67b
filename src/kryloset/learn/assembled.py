# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Vectors that FEniCSx assembles, as functions that torch differentiates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class Assembled:
    """A vector r that depends on vectors u, v, ...

    Attributes:
        value: Returns r from u, v, ...
        pull_back: Returns (dr/du)^T w, (dr/dv)^T w, ... from w, u, v, ...
    """

    value: Callable[..., Array]
    pull_back: Callable[..., Sequence[Array]]

    def __call__(self, *points: Tensor) -> Tensor:
        """Return r, (m,), from vectors (n,) in float64, on their device."""
        found: Tensor = _Differentiable.apply(self, *points)
        return found


class _Differentiable(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, assembled: Assembled, *points: Tensor) -> Tensor:
        ctx.assembled = assembled
        ctx.save_for_backward(*points)
        found = assembled.value(*(point.detach().cpu().numpy() for point in points))
        return torch.from_numpy(found).to(points[0].device)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        points = (point.cpu().numpy() for point in ctx.saved_tensors)
        found = ctx.assembled.pull_back(weights.cpu().numpy(), *points)
        return None, *(torch.from_numpy(each).to(weights.device) for each in found)
