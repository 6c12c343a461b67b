# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Theorems on the errors."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from kryloset.learn.measuring import Measured, describe, measure
from kryloset.learn.metrics import boundary, maximum, mean, relative_h1, relative_l2, vrmse

GRID = (np.linspace(0, 2, 9), np.linspace(0, 1, 12))
ERRORS = ("relative_l2", "relative_h1", "vrmse", "maximum", "low", "middle")


def functions(seed, fields=2):
    """Return three instances of smooth functions that are nowhere near zero."""
    phases = np.random.default_rng(seed).random((3, fields, 2, 1, 1))
    x, y = np.meshgrid(*GRID, indexing="ij")
    return 2 + np.sin(x + 6 * phases[:, :, 0]) * np.cos(3 * y + 6 * phases[:, :, 1])


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_is_zero_only_for_the_truth(name):
    truth = functions(0)
    assert (measure(truth, truth, GRID)[name] == 0).all()
    wrong = truth.copy()
    wrong[1, 0, 4, 5] += 1e-3
    found = measure(wrong, truth, GRID)[name]
    assert found.shape == (3, 2)
    assert np.argwhere(found > 0).tolist() == [[1, 0]]


@pytest.mark.parametrize("name", ["relative_l2", "relative_h1", "maximum", "boundary", "low"])
@pytest.mark.parametrize("factor", [-1.0, 1e-6, 1e6])
def test_relative_errors_do_not_depend_on_the_unit_of_the_field(name, factor):
    prediction, truth = functions(0), functions(1)
    expected = measure(prediction, truth, GRID)[name]
    found = measure(factor * prediction, factor * truth, GRID)[name]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("error", [relative_l2, relative_h1, lambda p, u, _: maximum(p, u)])
def test_predicting_zero_has_a_relative_error_of_one(error):
    truth = functions(0)
    np.testing.assert_allclose(error(0 * truth, truth, GRID), 1, rtol=1e-14)


@pytest.mark.parametrize("error", [relative_l2, relative_h1])
def test_relative_errors_obey_the_triangle_inequality(error):
    first, second, truth = functions(0), functions(1), functions(2)
    detour = error(first - second + truth, truth, GRID) + error(second, truth, GRID)
    assert (error(first, truth, GRID) <= detour).all()


def test_l2_error_does_not_depend_on_the_length_of_an_axis_and_h1_error_does():
    prediction, truth = functions(0), functions(1)
    longer = (10 * GRID[0], GRID[1])
    expected = relative_l2(prediction, truth, GRID)
    np.testing.assert_allclose(relative_l2(prediction, truth, longer), expected, rtol=1e-12)
    assert not np.allclose(
        relative_h1(prediction, truth, longer), relative_h1(prediction, truth, GRID), rtol=1e-2
    )


def test_h1_error_of_sines_converges_with_second_order():
    # u = sin(pi x / 2) sin(pi y) on (0, 2) x (0, 1), p = u + sin(pi x) sin(pi y): with a and b
    # the squared wave numbers, ||p - u||_1^2 / ||u||_1^2 = (1 + b) / (1 + a).
    a, b = np.pi**2 * (1 / 4 + 1), np.pi**2 * (1 + 1)
    exact = np.sqrt((1 + b) / (1 + a))
    deviations = []
    for points in (129, 257, 513):
        grid = (np.linspace(0, 2, points), np.linspace(0, 1, points))
        x, y = np.meshgrid(*grid, indexing="ij")
        truth = (np.sin(np.pi * x / 2) * np.sin(np.pi * y))[None, None]
        error = (np.sin(np.pi * x) * np.sin(np.pi * y))[None, None]
        found = relative_h1(truth + error, truth, grid)[0, 0]
        deviations.append(abs(found - exact))
        np.testing.assert_allclose(relative_l2(truth + error, truth, grid), 1, rtol=1e-12)
    orders = np.log2(np.divide(deviations[:-1], deviations[1:]))
    np.testing.assert_allclose(orders, 2, atol=0.05)
    assert deviations[-1] < 1e-4


def test_the_boundary_error_is_that_of_boundary_points_alone():
    """It is their root mean square, by that of the truth in the whole domain."""
    truth, prediction = functions(0), functions(1)
    edge = np.ones(truth.shape[2:], bool)
    edge[1:-1, 1:-1] = False
    inner = np.where(edge, truth, prediction)
    assert (boundary(inner, truth, GRID) == 0).all()
    outer = np.where(edge, truth + 0.5, truth)
    expected = 0.5 / np.sqrt(np.square(truth).mean(axis=(2, 3)))
    np.testing.assert_allclose(boundary(outer, truth, GRID), expected, rtol=1e-12)


def test_points_beside_a_hole_are_on_the_boundary_and_ends_of_a_periodic_axis_are_not():
    truth = functions(0)
    truth[:, :, 4, 5] = np.nan
    beside = np.zeros(truth.shape[2:], bool)
    beside[[3, 5, 4, 4], [5, 5, 4, 6]] = True
    closed = [np.append(line, 2 * line[-1] - line[-2]) for line in GRID]
    assert (boundary(np.where(beside, truth, 0), truth, closed) == 0).all()
    assert (boundary(np.where(beside, 0, truth), truth, closed) > 0).all()
    assert np.isnan(boundary(functions(1), functions(0), closed)).all()


def test_predicting_the_mean_has_a_vrmse_of_almost_one():
    truth = functions(0)
    mean = np.broadcast_to(truth.mean(axis=(2, 3), keepdims=True), truth.shape)
    points = truth[0, 0].size
    found = vrmse(mean, truth, epsilon=0)
    np.testing.assert_allclose(found, np.sqrt((points - 1) / points), rtol=1e-12)


def test_vrmse_is_that_of_the_well():
    spatial = pytest.importorskip("the_well.benchmark.metrics.spatial")
    torch = pytest.importorskip("torch")
    prediction, truth = functions(0), 1e-3 * functions(1)
    channels_last = [torch.from_numpy(np.moveaxis(f, 1, -1).copy()) for f in (prediction, truth)]
    expected = spatial.VRMSE.eval(*channels_last, SimpleNamespace(n_spatial_dims=2))
    np.testing.assert_allclose(vrmse(prediction, truth), expected.numpy(), rtol=1e-12)


def test_a_field_that_is_zero_has_no_relative_error_and_leaves_the_mean_of_the_others():
    prediction, truth = functions(0), functions(1)
    truth[1, 0] = 0
    found = measure(prediction, truth, GRID)
    assert set(found) == {*ERRORS, "boundary", "high"}
    for name in set(found) - {"vrmse"}:
        assert np.argwhere(np.isnan(found[name])).tolist() == [[1, 0]]
        others = np.delete(found[name].ravel(), 2)
        assert mean(found[name]) == pytest.approx(others.mean(), rel=1e-12)
    measured = Measured(found, np.ones((3, 2)))
    assert np.isfinite(list(measured.means().values())).all()
    assert np.isfinite(list(measured.quantiles()["relative_l2"].values())).all()


def test_an_instance_that_is_zero_is_neither_the_best_nor_the_worst():
    prediction, truth = functions(0), functions(1)
    truth[0] = 0
    found = Measured(measure(prediction, truth, GRID), np.ones((3, 2)))
    assert set(found.extremes()) == {1, 2}
    bounds = describe({"calibration": found, "test": found}, np.ones(2))["calibration"]
    assert bounds["relative_l2"]["0.8"] == {"radius": None, "coverage": {"test": 1.0}}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_is_infinitely_wrong(wrong):
    prediction, truth = functions(0), functions(1)
    prediction[2, 1, 0, 3] = wrong
    found = measure(prediction, truth, GRID)
    assert not found.pop("high").any()  # which so coarse a grid does not have
    for name, values in found.items():
        assert np.argwhere(np.isinf(values)).tolist() == [[2, 1]], name
        assert mean(values) == np.inf
