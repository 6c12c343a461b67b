# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random Chebyshev series are the documented polynomials."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from kryloset.sampling import ChebyshevSeries, generator


@given(st.integers(1, 3), st.integers(0, 8), st.integers(0, 1000))
@settings(max_examples=30)
def test_series_is_one_of_cosines(dimension: int, degree: int, index: int) -> None:
    # T_k(cos t) = cos(k t), which numpy.polynomial does not use.
    series = ChebyshevSeries(degree, dimension)
    coefficients = series.draw(generator(0, index))
    assert coefficients.shape == (degree + 1,) * dimension
    angles = generator(1, index).uniform(0, np.pi, size=(dimension, 7))
    expected = np.broadcast_to(coefficients[..., None], (*coefficients.shape, 7))
    for angle in angles:
        cosines = np.cos(np.arange(degree + 1)[:, None] * angle)
        expected = np.einsum("i...p,ip->...p", expected, cosines)
    values = series.evaluate(coefficients, *(np.cos(angles) + 1) / 2)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert np.abs(values).max() <= np.abs(coefficients).sum() + 1e-12 <= (degree + 1) ** dimension


def test_coordinates_broadcast_to_a_grid() -> None:
    series = ChebyshevSeries(3, dimension=2)
    coefficients = series.draw(generator(0, 0))
    x, y = np.linspace(0, 1, 4), np.linspace(0, 1, 5)
    grid = series.evaluate(coefficients, x[:, None], y)
    assert grid.shape == (4, 5)
    assert series.evaluate(coefficients, x[2], y[3]) == grid[2, 3]


def test_series_at_the_ends() -> None:
    # T_k(1) = 1 and T_k(-1) = (-1)^k.
    series = ChebyshevSeries(6)
    coefficients = series.draw(generator(0, 0))
    signs = (-1.0) ** np.arange(7)
    expected = [coefficients @ signs, coefficients.sum()]
    np.testing.assert_allclose(series.evaluate(coefficients, [0.0, 1.0]), expected, atol=1e-14)


def test_coefficients_are_uniform() -> None:
    draws = [ChebyshevSeries(9, 2).draw(generator(4, i)).ravel() for i in range(50)]
    assert kstest(np.concatenate(draws), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="degree -1 is negative"):
        ChebyshevSeries(-1)
    with pytest.raises(ValueError, match="dimension 4 is not 1, 2 or 3"):
        ChebyshevSeries(2, dimension=4)
    with pytest.raises(ValueError, match="1 arrays of coordinates do not fit dimension 2"):
        ChebyshevSeries(2, dimension=2).evaluate(np.ones((3, 3)), [0.5])


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 1, 7])
def test_values_on_a_grid_are_those_at_its_points(degree: int, dimension: int) -> None:
    series = ChebyshevSeries(degree, dimension)
    coefficients = series.draw(generator(0, 0))
    axes = [np.linspace(0, 1, length) for length in (5, 9, 6)[:dimension]]
    expected = series.evaluate(coefficients, *np.ix_(*axes))
    found = series.evaluate_on_grid(coefficients, *axes)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * (degree + 1) ** dimension)
