# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random fields have the covariance they state; instances depend on (seed, index) alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset.sampling import GaussianField, generator, split_generator

POINTS = 17


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 2))
def test_generator_is_a_function_of_seed_and_index(seed: int, index: int) -> None:
    first = generator(seed, index).standard_normal(4)
    generator(seed, (index + 1) % (2**64 - 1)).standard_normal(9)
    assert np.array_equal(first, generator(seed, index).standard_normal(4))


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_streams_differ(seed: int, index: int) -> None:
    here = generator(seed, index).standard_normal(4)
    others = (
        generator(seed, index + 1),
        generator(seed + 1, index),
        split_generator(seed),
    )
    assert all(not np.array_equal(here, other.standard_normal(4)) for other in others)


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64 - 1)])
def test_generator_refuses_numbers_out_of_range(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        generator(seed, index)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_field_is_the_same_function_on_every_grid(index: int) -> None:
    field = GaussianField(modes=16)
    coarse = field.draw(generator(3, index), 17)
    fine = field.draw(generator(3, index), 65)
    np.testing.assert_allclose(fine[::4, ::4], coarse, atol=1e-13)


def test_field_is_the_cosine_series_of_its_docstring() -> None:
    field = GaussianField(deviation=1.5, smoothness=2.5, length=0.2, modes=6)
    xi = generator(0, 0).standard_normal((6, 6))
    x = np.linspace(0, 1, POINTS)
    phi = np.sqrt(2) * np.cos(np.pi * np.arange(6)[:, None] * x)
    phi[0] = 1
    expected = np.einsum("ij,ix,jy->xy", field.scales * xi, phi, phi)
    np.testing.assert_allclose(field.draw(generator(0, 0), POINTS), expected, atol=1e-13)


def test_field_has_no_slope_across_the_boundary() -> None:
    # A one-sided difference of a function with zero slope is O(h), not O(1), times its curvature.
    field = GaussianField(modes=4)
    slopes = []
    for points in (65, 129):
        g = field.draw(generator(1, 2), points)
        slopes.append(np.abs(g[1] - g[0]).max() * (points - 1))
    assert slopes[1] < 0.55 * slopes[0]


def test_variance_and_covariance_are_those_stated() -> None:
    field, count = GaussianField(deviation=0.7, length=0.15, modes=8), 4000
    fields = np.stack([field.draw(generator(5, i), POINTS) for i in range(count)])
    x = np.linspace(0, 1, POINTS)
    phi = np.sqrt(2) * np.cos(np.pi * np.arange(8)[:, None] * x)
    phi[0] = 1
    lam = field.scales**2
    assert lam.sum() == pytest.approx(0.7**2)
    exact = np.einsum("ij,ia,ib,jc,jd->acbd", lam, phi, phi, phi, phi, optimize=True)
    exact = exact.reshape(POINTS**2, POINTS**2)
    flat = fields.reshape(count, -1)
    observed = flat.T @ flat / count
    # The standard error of an entry of a sample covariance of normal variables.
    error = np.sqrt((np.outer(exact.diagonal(), exact.diagonal()) + exact**2) / count)
    deviations = np.abs(observed - exact) / error
    assert deviations.max() < 6
    assert np.sqrt((deviations**2).mean()) < 1.5


def test_field_refuses_a_grid_that_would_alias() -> None:
    with pytest.raises(ValueError, match="16 modes need at least 17 points a side, not 16"):
        GaussianField(modes=16).draw(generator(0, 0), 16)
