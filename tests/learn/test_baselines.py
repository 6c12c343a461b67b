# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Theorems on the mean, the linear predictor and the nearest neighbour."""

import numpy as np
import pytest

pytest.importorskip("torch")

from kryloset.learn.baselines import fit_linear, fit_mean, fit_nearest


def affine_data(generator, count):
    """Return inputs of 2 channels on 3 x 2 points and exactly affine outputs on 4 x 1."""
    matrix = np.random.default_rng(0).standard_normal((12, 4))
    x = generator.standard_normal((count, 2, 3, 2))
    return x, 5 + (x.reshape(count, -1) @ matrix).reshape(count, 1, 4, 1)


def curved_data(generator, count):
    x, y = affine_data(generator, count)
    return x, np.exp(y / 5)


def relative_errors(prediction, truth):
    error, truth = ((prediction - truth).reshape(len(truth), -1), truth.reshape(len(truth), -1))
    return np.linalg.norm(error, axis=1) / np.linalg.norm(truth, axis=1)


def test_mean_minimises_the_squared_relative_error():
    generator = np.random.default_rng(1)
    x, y = curved_data(generator, 20)
    mean = fit_mean(x, y)(x)
    assert mean.shape == y.shape
    assert (mean == mean[0]).all()
    least = np.sum(relative_errors(mean, y) ** 2)
    for _ in range(20):
        other = mean + 1e-3 * generator.standard_normal(y[0].shape)
        assert np.sum(relative_errors(other, y) ** 2) > least


def test_linear_predictor_finds_an_affine_map():
    generator = np.random.default_rng(2)
    train, valid, test = (affine_data(generator, count) for count in (100, 20, 20))
    linear = fit_linear(train, valid)
    assert (linear.rank, linear.penalty) == (12, 1e-8)
    # With 1e-8 as the least penalty the bias is about 1e-8 times the condition number squared.
    assert relative_errors(linear(test[0]), test[1]).max() < 1e-6


def test_linear_predictor_solves_its_normal_equations():
    generator = np.random.default_rng(3)
    (x, y), valid = curved_data(generator, 40), curved_data(generator, 20)
    linear = fit_linear((x, y), valid)
    weights = 1 / np.linalg.norm(y.reshape(40, -1), axis=1)
    centred = weights[:, None] * (x.reshape(40, -1) - linear.origin)
    penalty = linear.penalty * np.linalg.norm(centred, 2) ** 2
    scores = centred @ linear.inputs
    response = weights[:, None] * (y.reshape(40, -1) - linear.value)
    normal = scores.T @ scores + penalty * np.eye(linear.rank)
    expected = np.linalg.solve(normal, scores.T @ response).T
    np.testing.assert_allclose(linear.outputs, expected, rtol=1e-8, atol=1e-12)
    # The intercept is optimal too: the weighted residuals sum to zero.
    residual = weights[:, None] * (weights[:, None] * (y - linear(x)).reshape(40, -1))
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-12)


def test_linear_predictor_is_chosen_by_the_valid_split():
    generator = np.random.default_rng(4)
    noisy = generator.standard_normal((30, 1, 5, 2)), 3 + generator.random((30, 1, 2, 2))
    unrelated = generator.standard_normal((400, 1, 5, 2)), 3 + generator.random((400, 1, 2, 2))
    # If the outputs do not depend on the inputs, the mean is best.
    assert fit_linear(noisy, unrelated).rank == 0


def test_the_nearest_neighbour_knows_what_it_has_seen_and_no_input_is_nearer():
    generator = np.random.default_rng(5)
    (x, y), (new, _) = curved_data(generator, 20), curved_data(generator, 10)
    nearest = fit_nearest(x, y)
    np.testing.assert_array_equal(nearest(x), y)
    found = nearest(new)
    assert found.shape == (10, 1, 4, 1)
    for input_, output in zip(new, found, strict=True):
        distances = np.linalg.norm((x - input_).reshape(20, -1), axis=1)
        np.testing.assert_array_equal(output, y[distances.argmin()])


def test_the_nearest_neighbour_does_not_depend_on_the_order_of_the_instances():
    generator = np.random.default_rng(6)
    (x, y), (new, _) = curved_data(generator, 20), curved_data(generator, 10)
    order = generator.permutation(20)
    np.testing.assert_array_equal(fit_nearest(x[order], y[order])(new), fit_nearest(x, y)(new))
