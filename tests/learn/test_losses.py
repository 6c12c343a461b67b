# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a training minimises is relative: in any unit, where a solution is 0 or is met."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from box_meshes import box_mesh, make_batch

from kryloset.learn.grid_batch import GridBatch

GRID = (np.linspace(0, 1, 7), np.linspace(0, 2, 5))


def make_batches(truth_of):
    """Return batches of two instances with two fields each, on a grid and on a mesh."""
    torch.manual_seed(0)
    y = truth_of(torch.randn(2, 2, 7, 5))
    parts = [make_batch(box_mesh(2, cubes=n), seed=n) for n in (2, 3)]
    mesh = type(parts[0]).join(parts)
    object.__setattr__(mesh, "y", truth_of(mesh.y))
    return GridBatch(torch.zeros_like(y), y, GRID, torch.arange(2), torch.zeros(2, 1)), mesh


def differentiate(batch, norm, prediction):
    prediction = prediction.requires_grad_()
    loss = batch.loss(norm, prediction)
    loss.backward()
    return loss.item(), prediction.grad


@pytest.mark.parametrize("norm", ["l2", "h1"])
@pytest.mark.parametrize("unit", [1e-25, 1e-9, 1e22])
def test_the_unit_of_a_solution_does_not_matter(norm, unit):
    for one, other in zip(make_batches(lambda y: y), make_batches(lambda y: unit * y), strict=True):
        loss, gradient = differentiate(one, norm, torch.ones_like(one.y))
        in_unit, of_unit = differentiate(other, norm, torch.full_like(one.y, unit))
        assert in_unit == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(of_unit * unit, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "h1"])
def test_an_exact_prediction_has_no_gradient(norm):
    for batch in make_batches(lambda y: y):
        loss, gradient = differentiate(batch, norm, batch.y.clone())
        assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("norm", ["l2", "h1"])
def test_a_field_that_is_0_is_learned_like_the_others(norm):
    def without_one(y):
        return y * torch.tensor([1.0, 0.0]).reshape(1, 2, *[1] * (y.ndim - 2))

    for batch in make_batches(without_one):
        loss, gradient = differentiate(batch, norm, torch.ones_like(batch.y))
        assert 0.5 < loss < 5 and torch.isfinite(gradient).all() and gradient[:, 1].any()


def test_everything_that_is_0_is_learned():
    for batch in make_batches(torch.zeros_like):
        loss, gradient = differentiate(batch, "l2", torch.ones_like(batch.y))
        assert 0.9 < loss < 1.5 and gradient.all()
