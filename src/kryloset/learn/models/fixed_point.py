# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The fixed points of contracting linear maps on a graph, with their implicit gradient."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from kryloset.errors import KrylosetError


def fixed_point(
    values: Tensor, source: Tensor, ends: Tensor, *, contraction: float, tolerance: float
) -> Tensor:
    """Return the fixed points z = A z + b of several maps that share a graph: (P, H).

    Iterated from 0, the error after n steps is at most γⁿ ‖z‖ in the maximum norm (Banach), so the
    number of steps is known before. The gradient of a loss L follows from the implicit function
    theorem. With w = Aᵀ w + ∂L/∂z, a fixed point of another contraction, ∂L/∂b is w and
    ∂L/∂A_ij is w_i z_j (Park, Choo and Park, "Convergent graph solvers", ICLR 2022, section 4.3).
    No step is stored.

    Args:
        values: (E, H), the entries A_ij of each of H maps.
        source: (P, H), the b of each map.
        ends: (2, E), the nodes i and j of each entry.
        contraction: γ < 1, at least the largest sum of |A_ij| over j.
        tolerance: Largest error of the fixed point, relative to its largest value.

    Raises:
        KrylosetError: A gradient of the gradient is asked for, when the first one is computed.
    """
    steps = math.ceil(math.log(tolerance) / math.log(contraction))
    found: Tensor = _FixedPoint.apply(values, source, ends, steps)
    return found


class _FixedPoint(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, values: Tensor, source: Tensor, ends: Tensor, steps: int) -> Tensor:
        found = _iterate(values, source, ends, steps)
        ctx.save_for_backward(values, found, ends)
        ctx.steps = steps
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        # torch's `once_differentiable` lets a Hessian silently lack what is beyond this function.
        if torch.is_grad_enabled():
            raise KrylosetError(
                "a fixed point has no second derivative: take another training.optimiser, or "
                "another model"
            )
        values, found, ends = ctx.saved_tensors
        adjoint = _iterate(values, gradient, ends.flip(0), ctx.steps)
        to, of = ends
        return adjoint[to] * found[of], adjoint, None, None


def _iterate(values: Tensor, source: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Return the last of z <- A z + b, from z = 0."""
    with torch.autocast(source.device.type, enabled=False):
        matrix, right = _block_diagonal(values, ends, len(source)), source.T.flatten()
        state = right
        for _ in range(steps):
            state = right + matrix @ state
    return state.reshape(source.shape[1], -1).T


def _block_diagonal(values: Tensor, ends: Tensor, count: int) -> Tensor:
    """Return the matrix that has those of all maps on its diagonal."""
    heads = values.shape[1]
    to, of = ends
    order = torch.argsort(to, stable=True)
    lengths = torch.bincount(to, minlength=count).repeat(heads)
    begins = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    shifts = count * torch.arange(heads, device=of.device)
    columns = (of[order] + shifts[:, None]).flatten()
    with warnings.catch_warnings():
        # torch calls its sparse rows a beta feature.
        warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)
        # Indices of 32 bits halve the time of a product.
        return torch.sparse_csr_tensor(
            begins.int(),
            columns.int(),
            values[order].T.flatten(),
            (heads * count, heads * count),
            check_invariants=False,
        )
