# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors at the nodes of meshes are those of the functions, instance by instance."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from box_meshes import box_mesh, make_batch

from kryloset.learn.metrics import vrmse
from kryloset.learn.point_batch import PointBatch
from kryloset.learn.point_norms import loss, measure, square_h1, square_l2


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_square_of_the_h1_norm_of_an_affine_function_has_its_exact_slope(dimension):
    mesh = box_mesh(dimension, degree=2)
    slope = torch.arange(1.0, 1 + dimension, dtype=torch.float64)
    batch = make_batch(mesh)
    values = (torch.from_numpy(mesh.points) @ slope)[:, None]
    volume = np.prod(np.arange(1, 1 + dimension))
    found = square_h1(values, batch) - square_l2(values, batch)
    assert found.item() == pytest.approx(volume * float(slope.square().sum()), rel=1e-5)


def test_the_errors_of_a_batch_are_those_of_its_instances():
    parts = [make_batch(box_mesh(2, cubes=n), seed=n) for n in (2, 3, 4)]
    guess = [
        torch.from_numpy(np.random.default_rng(n).random(p.y.shape)) for n, p in enumerate(parts)
    ]
    joined = PointBatch.join(parts)
    found = measure(torch.cat(guess), joined)
    for number, (part, values) in enumerate(zip(parts, guess, strict=True)):
        for name, errors in measure(values, part).items():
            torch.testing.assert_close(found[name][number], errors[0])
    for norm in ("l2", "h1"):
        each = torch.stack([loss(norm, v, p) for v, p in zip(guess, parts, strict=True)])
        torch.testing.assert_close(loss(norm, torch.cat(guess), joined), each.mean())


def test_the_relative_error_of_a_scaled_function_is_the_factor_on_any_mesh():
    for cubes in (2, 5):
        batch = make_batch(box_mesh(2, cubes=cubes))
        for name in ("relative_l2", "relative_h1"):
            found = measure(1.5 * batch.y, batch)[name]
            torch.testing.assert_close(found, torch.full((1, 2), 0.5))


def test_vrmse_is_that_of_a_grid():
    batch = make_batch(box_mesh(2))
    guess = torch.from_numpy(np.random.default_rng(1).random(batch.y.shape))
    on_grid = [v.double().T.reshape(1, 2, 4, 4).numpy() for v in (guess, batch.y)]
    np.testing.assert_allclose(measure(guess, batch)["vrmse"], vrmse(*on_grid), rtol=1e-6)


def test_weights_make_no_difference_where_they_are_equal():
    batch = make_batch(box_mesh(2))
    equal = replace(batch, weights=torch.full_like(batch.weights, 3.0))
    error, size = (equal.y - 1).norm(), equal.y.norm()
    torch.testing.assert_close(loss("l2", torch.ones_like(equal.y), equal), error / size)
