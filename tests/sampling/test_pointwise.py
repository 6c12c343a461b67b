# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two-valued and lognormal coefficients have the documented values, areas and contrasts."""

import numpy as np
import pytest
from chosen_numbers import Chosen
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset.sampling import (
    GaussianField,
    Lognormal,
    MaternField,
    TwoValued,
    generator,
    p1_matrices,
)

#: The field of the Darcy set of Li et al. (ICLR 2021): N(0, (-Laplace + 9)^-2), Neumann.
DARCY = GaussianField(smoothness=2.0, length=1 / 3, modes=16)


def test_darcy_coefficient_of_the_neural_operators_paper_has_its_statistics() -> None:
    coefficient, count = TwoValued(DARCY, low=3, high=12), 1000
    draws = np.stack([coefficient.draw(generator(0, i), 17) for i in range(count)])
    assert set(np.unique(draws)) == {3.0, 12.0}
    high = draws == 12
    # At each point alone the field is centred: each value has probability 1/2.
    assert np.abs(high.mean(axis=0) - 0.5).max() < 5 * np.sqrt(0.25 / count)
    areas = high.mean(axis=(1, 2))
    assert abs(areas.mean() - 0.5) < 5 * areas.std() / np.sqrt(count)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_opposite_numbers_swap_the_two_values(index: int) -> None:
    # g and -g have one distribution, hence half of the area for each value on average.
    numbers = generator(1, index).standard_normal(DARCY.scales.shape)
    coefficient = TwoValued(DARCY, low=1, high=5)
    here, there = (coefficient.draw(Chosen(sign * numbers), 17) for sign in (1, -1))
    assert (here + there == 6).all()


def test_two_values_do_not_depend_on_the_deviation() -> None:
    one, three = GaussianField(1.0, modes=8), GaussianField(3.0, modes=8)
    draws = [TwoValued(field).draw(generator(0, 3), 17) for field in (one, three)]
    assert np.array_equal(*draws)


def test_lognormal_is_the_exponential() -> None:
    g = DARCY.draw(generator(0, 1), 17)
    k = Lognormal(DARCY).draw(generator(0, 1), 17)
    np.testing.assert_allclose(k, np.exp(g), rtol=1e-15)


@given(st.integers(0, 1000), st.floats(1.01, 1e12), st.floats(0.01, 10))
@settings(max_examples=30)
def test_the_contrast_is_exactly_the_requested_one(
    index: int, contrast: float, deviation: float
) -> None:
    field = GaussianField(deviation, modes=8)
    k = Lognormal(field, contrast).draw(generator(2, index), 17)
    assert k.max() / k.min() == pytest.approx(contrast, rel=1e-12)
    assert k.max() * k.min() == pytest.approx(1, rel=1e-12)
    # The map of g is affine: three values stay in proportion.
    g = field.draw(generator(2, index), 17)
    np.testing.assert_allclose(
        np.log(k / k.min()) / np.log(contrast), (g - g.min()) / np.ptp(g), atol=1e-11
    )


def test_contrast_of_two_values() -> None:
    k = Lognormal(TwoValued(DARCY, 0, 1), contrast=1e4).draw(generator(0, 0), 17)
    np.testing.assert_allclose(np.unique(k), [1e-2, 1e2], rtol=1e-12)


def test_fields_on_a_mesh_are_accepted() -> None:
    x = np.linspace(0, 1, 50)[:, None]
    cells = np.stack([np.arange(49), np.arange(1, 50)], axis=1)
    field = MaternField(*p1_matrices(x, cells), length=0.1, dimension=1)
    g = field.draw(generator(0, 0))
    assert np.array_equal(TwoValued(field, 0, 1).draw(generator(0, 0)), g >= 0)
    np.testing.assert_allclose(Lognormal(field).draw(generator(0, 0)), np.exp(g), rtol=1e-15)


@pytest.mark.parametrize("contrast", [1.0, 0.0, float("inf"), float("nan")])
def test_contrast_out_of_range_is_refused(contrast: float) -> None:
    with pytest.raises(ValueError, match="is not a finite number more than 1"):
        Lognormal(DARCY, contrast)


def test_contrast_of_a_constant_is_refused() -> None:
    with pytest.raises(ValueError, match="a constant field cannot have the contrast 10"):
        Lognormal(TwoValued(DARCY, 1, 1), contrast=10).draw(generator(0, 0), 17)
