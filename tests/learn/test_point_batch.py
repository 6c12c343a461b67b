# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors at the nodes of meshes are those of the functions, instance by instance."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from box_meshes import box_mesh, make_batch

from kryloset.learn.point_batch import PointBatch


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_square_of_the_h1_norm_of_an_affine_function_has_its_exact_slope(dimension):
    mesh = box_mesh(dimension, degree=2)
    slope = torch.arange(1.0, 1 + dimension, dtype=torch.float64)
    batch = make_batch(mesh)
    values = (torch.from_numpy(mesh.points) @ slope)[:, None]
    volume = np.prod(np.arange(1, 1 + dimension))
    found = batch.square_h1(values) - batch.square_l2(values)
    assert found.item() == pytest.approx(volume * float(slope.square().sum()), rel=1e-5)


def test_the_errors_of_a_batch_are_those_of_its_instances():
    parts = [make_batch(box_mesh(2, cubes=n), seed=n) for n in (2, 3, 4)]
    guess = [
        torch.from_numpy(np.random.default_rng(n).random(p.y.shape)) for n, p in enumerate(parts)
    ]
    joined = PointBatch.join(parts)
    found = joined.relative_l2(torch.cat(guess))
    each = [part.relative_l2(values)[0] for part, values in zip(parts, guess, strict=True)]
    np.testing.assert_allclose(found, each, rtol=1e-9)
    for norm in ("l2", "h1"):
        each = torch.stack([p.loss(norm, v) for v, p in zip(guess, parts, strict=True)])
        torch.testing.assert_close(joined.loss(norm, torch.cat(guess)), each.mean())


def test_the_relative_error_of_a_scaled_function_is_the_factor_on_any_mesh():
    for cubes in (2, 5):
        batch = make_batch(box_mesh(2, cubes=cubes))
        np.testing.assert_allclose(batch.relative_l2(1.5 * batch.y), 0.5, rtol=1e-6)
        for norm in ("l2", "h1"):
            assert batch.loss(norm, 1.5 * batch.y).item() == pytest.approx(0.5, rel=1e-5)


def test_weights_make_no_difference_where_they_are_equal():
    batch = make_batch(box_mesh(2))
    equal = replace(batch, weights=torch.full_like(batch.weights, 3.0))
    error, size = (equal.y - 1).norm(), equal.y.norm()
    torch.testing.assert_close(equal.loss("l2", torch.ones_like(equal.y)), error / size)
