# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Series of eigenfunctions have the documented covariances and boundary conditions."""

from itertools import product
from math import gamma
from typing import Any

import numpy as np
import pytest
import scipy.fft
from chosen_numbers import Chosen, exact_covariance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import kv

from kryloset.sampling import GaussianField, generator

BOUNDARIES = ["neumann", "dirichlet", "periodic"]
LENGTHS = (0.3, 0.2, 0.4)
#: A field of each dimension and boundary, with one length for each axis.
FIELDS = [
    GaussianField(1.3, 2.5, LENGTHS[:dimension], 4, dimension, boundary)
    for dimension, boundary in product((1, 2, 3), BOUNDARIES)
]
all_fields = pytest.mark.parametrize(
    "field", FIELDS, ids=lambda field: f"{field.boundary}-{field.dimension}"
)


def functions(field: GaussianField, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return half waves and values of the functions along an axis, from the class's table."""
    modes = field.modes
    if field.boundary == "neumann":
        i = np.arange(modes)
        return i, np.where(i > 0, np.sqrt(2), 1)[:, None] * np.cos(np.pi * np.outer(i, x))
    if field.boundary == "dirichlet":
        i = np.arange(1, modes + 1)
        return i, np.sqrt(2) * np.sin(np.pi * np.outer(i, x))
    i = np.r_[0:modes, 1 - modes : 0]
    waves = 2 * np.pi * np.outer(i, x)
    return 2 * i, np.cos(waves) + np.sin(waves)


@all_fields
def test_field_is_the_series_of_its_docstring(field: GaussianField) -> None:
    x = np.linspace(0, 1, 13)
    half_waves, phi = functions(field, x)
    squares = np.zeros(())
    for length in field.lengths:
        squares = np.add.outer(squares, (np.pi * length * half_waves) ** 2)
    eigenvalues = np.where(squares > 0, (1 + squares) ** -field.smoothness, 0)
    eigenvalues *= field.deviation**2 / eigenvalues.sum()
    values = np.sqrt(eigenvalues) * generator(0, 0).standard_normal(squares.shape)
    for _ in field.lengths:  # each takes the first axis and puts the grid's at the end
        values = np.tensordot(values, phi, axes=(0, 0))
    np.testing.assert_allclose(field.draw(generator(0, 0), 13), values, atol=1e-13)


@all_fields
@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_functions_are_orthonormal(field: GaussianField, index: int) -> None:
    # Parseval: the integral of g^2 is the sum of its squared coefficients. The
    # trapezoidal rule is exact for these products on 13 points.
    weights = np.full(13, 1 / 12)
    weights[[0, -1]] /= 2
    integral = field.draw(generator(7, index), 13) ** 2
    for _ in field.lengths:
        integral = np.tensordot(weights, integral, axes=1)
    coefficients = field.scales * generator(7, index).standard_normal(field.scales.shape)
    assert integral == pytest.approx((coefficients**2).sum(), rel=1e-12)


@all_fields
@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_field_is_the_same_function_on_every_grid(field: GaussianField, index: int) -> None:
    coarse = field.draw(generator(3, index), 11)
    every = (slice(None, None, 3),) * field.dimension
    fine = field.draw(generator(3, index), 31)
    np.testing.assert_allclose(fine[every], coarse, atol=1e-13)


@all_fields
def test_field_is_the_same_function_at_any_points(field: GaussianField) -> None:
    fine = field.draw(generator(3, 1), 41)
    lines = [np.arange(0, 41, 2), np.r_[0:40:3, 40], np.r_[0, 1:40:3, 40]][: field.dimension]
    chosen = fine[np.ix_(*lines)]
    found = field.draw(generator(3, 1), [line / 40 for line in lines])
    np.testing.assert_allclose(found, chosen, atol=1e-12)
    counts = [41, 21, 11][: field.dimension]
    every = tuple(slice(None, None, step) for step in (1, 2, 4)[: field.dimension])
    np.testing.assert_allclose(field.draw(generator(3, 1), counts), fine[every], atol=1e-13)


@all_fields
def test_boundary_condition_holds_on_every_face(field: GaussianField) -> None:
    slopes = []
    for points in (33, 65):
        g = field.draw(generator(1, 2), points)
        faces = [np.moveaxis(g, axis, 0) for axis in range(field.dimension)]
        match field.boundary:
            case "dirichlet":
                assert all((face[[0, -1]] == 0).all() for face in faces)
            case "periodic":
                assert all((face[0] == face[-1]).all() for face in faces)
            case _:
                steps = [face[[1, -1]] - face[[0, -2]] for face in faces]
                slopes.append(np.max([np.abs(step).max() for step in steps]) * (points - 1))
    # A one-sided difference of a function with zero slope is O(h), not O(1), times its curvature.
    assert not slopes or slopes[1] < 0.55 * slopes[0]


def greens_function(boundary: str, length: float, x: np.ndarray) -> np.ndarray:
    """Return that of 1 - length^2 d^2/dx^2 on [0, 1], without its constant part if it has one."""
    low, high = np.minimum.outer(x, x), np.maximum.outer(x, x)
    scale = length * np.sinh(1 / length)
    if boundary == "dirichlet":
        return np.sinh(low / length) * np.sinh((1 - high) / length) / scale
    if boundary == "neumann":
        return np.cosh(low / length) * np.cosh((1 - high) / length) / scale - 1
    half = 0.5 / length
    return np.cosh(half - (high - low) / length) / (2 * length * np.sinh(half)) - 1


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_covariance_is_the_greens_function_of_the_operator(boundary: Any) -> None:
    length, deviation = 0.3, 1.7
    x = np.linspace(0, 1, 1025)
    exact = greens_function(boundary, length, x)
    variance = exact.diagonal()
    mean_variance = (variance.sum() - (variance[0] + variance[-1]) / 2) / 1024
    exact *= deviation**2 / mean_variance
    errors = []
    for modes in (64, 128, 256):
        field = GaussianField(deviation, 1.0, length, modes, dimension=1, boundary=boundary)
        covariance = exact_covariance(lambda g, f=field: f.draw(g, 1025), field.scales.size)
        errors.append(np.abs(covariance - exact).max())
    # The terms left out are O(1/i^2), their sum is O(1/M).
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert errors[-1] < 0.01 * deviation**2
    assert orders.min() > 0.9


@pytest.mark.parametrize(
    ("lengths", "smoothness", "modes", "points"),
    [((0.05,), 1.5, 256, 513), ((0.04, 0.08), 2.0, 128, 257), ((0.07, 0.05, 0.09), 3.5, 24, 49)],
)
def test_periodic_covariance_is_anisotropic_matern(
    lengths: tuple[float, ...], smoothness: float, modes: int, points: int
) -> None:
    dimension = len(lengths)
    field = GaussianField(0.8, smoothness, lengths, modes, dimension, "periodic")
    # All functions are 1 at the origin, so that these numbers give the covariance with it.
    covariance = field.draw(Chosen(field.scales), points)
    nu = smoothness - dimension / 2
    first = (1,) + (0,) * (dimension - 1)
    integral = field.scales[first] ** 2 * (1 + (2 * np.pi * lengths[0]) ** 2) ** smoothness
    variance = gamma(nu) / (gamma(smoothness) * (4 * np.pi) ** (dimension / 2) * np.prod(lengths))
    x = np.linspace(0, 1, points)[::4]
    matern = np.zeros((len(x),) * dimension)
    for shifts in product((-1, 0, 1), repeat=dimension):  # the periodic images
        axes = [(x + shift) / length for shift, length in zip(shifts, lengths, strict=True)]
        r = np.maximum(np.sqrt(sum(axis**2 for axis in np.ix_(*axes))), 1e-8)  # K_nu(0) = inf
        matern += 2 ** (1 - nu) / gamma(nu) * r**nu * kv(nu, r)
    # Without the constant, which has no term.
    exact = integral * (variance * matern - 1)
    covariance = covariance[(slice(None, None, 4),) * dimension]
    assert np.abs(covariance - exact).max() < 3e-3 * field.deviation**2


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_periodic_field_is_stationary(dimension: int) -> None:
    field = GaussianField(0.9, 2.0, LENGTHS[:dimension], 3, dimension, "periodic")
    variance = exact_covariance(lambda g: field.draw(g, 8), field.scales.size).diagonal()
    np.testing.assert_allclose(variance, 0.9**2, rtol=1e-12)


def test_longer_length_along_an_axis_makes_smaller_slopes_there() -> None:
    field = GaussianField(length=(0.05, 0.5), modes=16)
    covariance = exact_covariance(lambda g: field.draw(g, 17), field.scales.size)
    covariance = covariance.reshape((17,) * 4)
    centre, next_one = 8, 9
    variance = covariance[centre, centre, centre, centre]
    along_x = covariance[centre, centre, next_one, centre] / variance
    along_y = covariance[centre, centre, centre, next_one] / variance
    assert along_x < 0.75 < 0.95 < along_y


def test_sample_moments_are_those_stated() -> None:
    field, count, points = GaussianField(deviation=0.7, length=0.15, modes=8), 4000, 17
    flat = np.stack([field.draw(generator(5, i), points).ravel() for i in range(count)])
    exact = exact_covariance(lambda g: field.draw(g, points), field.scales.size)
    observed = flat.T @ flat / count
    # The standard error of an entry of a sample covariance of normal variables.
    error = np.sqrt((np.outer(exact.diagonal(), exact.diagonal()) + exact**2) / count)
    deviations = np.abs(observed - exact) / error
    assert deviations.max() < 6
    assert np.sqrt((deviations**2).mean()) < 1.5
    assert (np.abs(flat.mean(axis=0)) < 6 * np.sqrt(exact.diagonal() / count)).all()


@given(
    st.integers(0, 2**32),
    st.floats(0.1, 3),
    st.floats(1.1, 4),
    st.floats(0.05, 2),
    st.integers(2, 32),
)
@settings(max_examples=20)
def test_plane_neumann_fields_are_those_of_a_fast_transform(
    index: int, deviation: float, smoothness: float, length: float, modes: int
) -> None:
    i = np.arange(modes)
    eigenvalues = (np.pi**2 * (i[:, None] ** 2 + i**2) + length**-2) ** -smoothness
    eigenvalues[0, 0] = 0.0
    scales = deviation * np.sqrt(eigenvalues / eigenvalues.sum())
    coefficients = scales * generator(2, index).standard_normal((modes, modes))
    weights = np.full(modes, np.sqrt(0.5))
    weights[0] = 1.0
    padded = np.zeros((40, 40))
    padded[:modes, :modes] = coefficients * weights[:, None] * weights
    field = GaussianField(deviation, smoothness, length, modes)
    expected = scipy.fft.dctn(padded, type=1)
    drawn = field.draw(generator(2, index), 40)
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@all_fields
def test_instances_are_the_same_in_any_order(field: GaussianField) -> None:
    first = [field.draw(generator(4, index), 9) for index in range(4)]
    for index in (2, 0, 3, 1):
        assert np.array_equal(field.draw(generator(4, index), 9), first[index])


@all_fields
def test_field_refuses_a_grid_that_would_alias(field: GaussianField) -> None:
    least = {"neumann": 5, "dirichlet": 6, "periodic": 8}[field.boundary]
    field.draw(generator(0, 0), least)
    with pytest.raises(ValueError, match=f"at least {least} points a side, not {least - 1}"):
        field.draw(generator(0, 0), least - 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimension": 4}, "dimension 4 is not 1, 2 or 3"),
        ({"boundary": "robin"}, "'robin' is not one of neumann, dirichlet, periodic"),
        ({"smoothness": 1.0}, "smoothness 1.0 is not more than dimension / 2 = 1.0"),
        ({"smoothness": 1.5, "dimension": 3}, "smoothness 1.5 is not more than"),
        ({"smoothness": float("nan")}, "smoothness nan"),
        ({"length": 0.0}, "length 0.0 is neither"),
        ({"length": (0.1, -0.1)}, "is neither a positive number nor 2"),
        ({"length": (0.1, 0.1, 0.1)}, "nor 2 of them"),
        ({"deviation": 0.0}, "deviation 0.0 is not positive"),
        ({"modes": 1}, "1 modes are too few"),
    ],
)
def test_field_refuses_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianField(**settings)


def test_each_axis_may_have_its_own_condition() -> None:
    """Zero at both ends of y, and the same at both ends of x; on other grids, too."""
    field = GaussianField(0.7, 2.0, (0.3, 0.2), 6, 2, ("periodic", "dirichlet"))
    assert abs((field.scales**2).sum() - 0.49) < 1e-14
    whole = field.draw(generator(0, 0), (33, 17))
    np.testing.assert_allclose(whole[-1], whole[0], atol=1e-14)
    np.testing.assert_allclose(whole[:, [0, -1]], 0, atol=1e-14)
    without_end = field.draw(generator(0, 0), (np.arange(16) / 16, 17))
    np.testing.assert_allclose(without_end, whole[:-1:2], atol=1e-13)
