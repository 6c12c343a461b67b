# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Integrals of functions at the nodes of meshes, and errors and losses by them.

Functions are tensors (P, K) at the nodes of a batch of N instances. Nodes are weighted by the part
of the domain around them, so that an error of the same functions does not depend on the mesh, as on
a grid, where the trapezoidal rule does that. Losses are weighted in the same way, unlike those on a
grid, since a mesh may be finer in one place than in another.
"""

from typing import Literal

import torch
from torch import Tensor

from kryloset.learn.point_batch import PointBatch


def square_l2(values: Tensor, batch: PointBatch) -> Tensor:
    """Return ∫ u² dx, (N, K)."""
    weights = batch.weights.to(values)
    return _add(weights[:, None] * values.square(), batch.points.instance, batch)


def square_h1(values: Tensor, batch: PointBatch) -> Tensor:
    """Return ∫ u² + |∇u|² dx, (N, K), with the gradients of the linear functions of the corners."""
    gradients, volumes = batch.gradients.to(values), batch.volumes.to(values)
    slopes = torch.einsum("ncd,nck->ndk", gradients, values[batch.cells])
    density = volumes[:, None] * slopes.square().sum(dim=1)
    within = batch.points.instance[batch.cells[:, 0]]
    return square_l2(values, batch) + _add(density, within, batch)


def relative_l2(prediction: Tensor, batch: PointBatch) -> Tensor:
    """Return the relative L² errors of predictions (P, K) of a batch: (N, K)."""
    return (square_l2(prediction - batch.y, batch) / square_l2(batch.y, batch)).sqrt()


def relative_h1(prediction: Tensor, batch: PointBatch) -> Tensor:
    """Return the relative H¹ errors of predictions (P, K) of a batch: (N, K)."""
    return (square_h1(prediction - batch.y, batch) / square_h1(batch.y, batch)).sqrt()


def vrmse(prediction: Tensor, batch: PointBatch, epsilon: float = 1e-7) -> Tensor:
    """Return the variance-scaled errors of predictions (P, K): (N, K).

    As `metrics.vrmse`, with the nodes as points, which count equally.
    """
    instance, truth = batch.points.instance, batch.y
    nodes = _add(torch.ones_like(truth[:, :1]), instance, batch)
    deviation = truth - (_add(truth, instance, batch) / nodes)[instance]
    variance = _add(deviation.square(), instance, batch) / (nodes - 1)
    error = _add((prediction - truth).square(), instance, batch) / nodes
    return (error / (variance + epsilon)).sqrt()


def measure(prediction: Tensor, batch: PointBatch) -> dict[str, Tensor]:
    """Return all errors by name, each (N, K)."""
    return {
        "relative_l2": relative_l2(prediction, batch),
        "relative_h1": relative_h1(prediction, batch),
        "vrmse": vrmse(prediction, batch),
    }


def loss(norm: Literal["l2", "h1"], prediction: Tensor, batch: PointBatch) -> Tensor:
    """Return the mean relative error of a batch, as on a grid: in L2 of all fields together."""
    if norm == "h1":
        return relative_h1(prediction, batch).mean()
    error, size = (square_l2(u, batch).sum(dim=1) for u in (prediction - batch.y, batch.y))
    return (error / size).sqrt().mean()


def _add(values: Tensor, instance: Tensor, batch: PointBatch) -> Tensor:
    """Return the sums over the instances, (N, K)."""
    sums = values.new_zeros((batch.points.count, values.shape[1]))
    return sums.index_add(0, instance, values)
