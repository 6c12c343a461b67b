# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Karhunen-Loeve expansions agree with those known in closed form, and with Mercer's theorem."""

from typing import Any

import numpy as np
import pytest
from chosen_numbers import exact_covariance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from kryloset.sampling import KarhunenLoeve, generator

LENGTH = 0.4


def midpoints(n: int) -> tuple[np.ndarray, np.ndarray]:
    return ((np.arange(n) + 0.5) / n)[:, None], np.full(n, 1 / n)


def exponential(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-np.linalg.norm(x - y, axis=-1) / LENGTH)


def brownian_bridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.minimum(x, y) - x * y)[..., 0]


def observed_orders(errors: list[np.ndarray]) -> np.ndarray:
    return np.log2(np.divide(errors[:-1], errors[1:]))


def test_brownian_bridge() -> None:
    k = np.arange(1, 6)
    values, shapes = [], []
    for n in (50, 100, 200):
        points, weights = midpoints(n)
        expansion = KarhunenLoeve(brownian_bridge, points, weights, terms=5)
        values.append(np.abs(expansion.eigenvalues * (np.pi * k) ** 2 - 1))
        # Sines that rise from zero on the left, as do the modes by the choice of their sign.
        sines = np.sqrt(2) * np.sin(np.pi * k * points)
        shapes.append(np.abs(expansion.modes - sines).max(axis=0))
    assert values[-1].max() < 1e-2
    assert observed_orders(values).min() > 1.9
    assert shapes[-1].max() < 1e-2


def test_exponential_covariance() -> None:
    # Ghanem and Spanos, "Stochastic finite elements" (1991), section 2.3.3: on
    # [-a, a] lambda = 2 c / (omega^2 + c^2), c = 1 / length, where omega solves
    # c = omega tan(omega a) for even and omega = -c tan(omega a) for odd modes.
    a, c, tiny = 0.5, 1 / LENGTH, 1e-9
    half = np.pi / (2 * a)
    frequencies = [
        brentq(
            (lambda w: c - w * np.tan(w * a)) if i % 2 == 0 else (lambda w: w + c * np.tan(w * a)),
            i * half + tiny,
            (i + 1) * half - tiny,
        )
        for i in range(6)
    ]
    exact = 2 * c / (np.square(frequencies) + c**2)
    errors = []
    for n in (50, 100, 200):
        expansion = KarhunenLoeve(exponential, *midpoints(n), terms=6)
        errors.append(np.abs(expansion.eigenvalues / exact - 1))
    assert errors[-1].max() < 1e-2
    assert observed_orders(errors).min() > 1.9


@given(st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=15)
def test_whole_expansion_has_the_covariance(dimension: int, seed: int) -> None:
    # Mercer's theorem, for the quadrature rule: any points and weights.
    random = np.random.default_rng(seed)
    points, weights = random.uniform(size=(20, dimension)), random.uniform(0.5, 1.5, size=20)
    expansion = KarhunenLoeve(exponential, points, weights)
    modes = expansion.modes
    np.testing.assert_allclose(modes.T @ (weights[:, None] * modes), np.eye(20), atol=1e-11)
    covariance = exact_covariance(expansion.draw, 20)
    np.testing.assert_allclose(covariance, exponential(points[:, None], points), atol=1e-11)
    assert (np.diff(expansion.eigenvalues) <= 0).all()


def test_the_energy_is_reached_by_the_fewest_terms() -> None:
    points, weights = midpoints(60)
    whole = KarhunenLoeve(exponential, points, weights).eigenvalues
    # The variance is one everywhere, and so is its integral.
    assert whole.sum() == pytest.approx(1)
    for energy in (0.5, 0.9, 0.99):
        kept = KarhunenLoeve(exponential, points, weights, energy=energy).eigenvalues
        np.testing.assert_allclose(kept, whole[: len(kept)], rtol=1e-9)
        assert kept[:-1].sum() < energy <= kept.sum()
    assert len(KarhunenLoeve(exponential, points, weights, energy=1.0).eigenvalues) == 60


def test_truncation_leaves_out_the_variance_of_the_other_terms() -> None:
    points, weights = midpoints(60)
    whole = KarhunenLoeve(exponential, points, weights).eigenvalues
    expansion = KarhunenLoeve(exponential, points, weights, terms=7)
    missing = 1 - exact_covariance(expansion.draw, 7).diagonal()
    assert missing.min() > 0
    assert weights @ missing == pytest.approx(whole[7:].sum())


def test_instances_are_the_same_in_any_order() -> None:
    points, weights = midpoints(30)
    draws = [
        KarhunenLoeve(exponential, points, weights, terms=5).draw(generator(1, i)) for i in range(3)
    ]
    expansion = KarhunenLoeve(exponential, points, weights, terms=5)
    for index in (2, 0, 1):
        assert np.array_equal(expansion.draw(generator(1, index)), draws[index])


POINTS, WEIGHTS = midpoints(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": POINTS[:, 0]}, r"are not of shapes \(n, d\) and \(n,\)"),
        ({"weights": WEIGHTS[1:]}, r"are not of shapes \(n, d\) and \(n,\)"),
        ({"weights": WEIGHTS - WEIGHTS[0]}, "weights are not all positive"),
        ({"terms": 3, "energy": 0.5}, "both given"),
        ({"terms": 0}, "0 terms are not between 1 and 5"),
        ({"terms": 6}, "6 terms are not between 1 and 5"),
        ({"energy": 0.0}, r"energy 0.0 is not in \(0, 1\]"),
    ],
)
def test_settings_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    usual = {"covariance": exponential, "points": POINTS, "weights": WEIGHTS}
    with pytest.raises(ValueError, match=message):
        KarhunenLoeve(**(usual | arguments))


def test_functions_that_are_not_covariances_are_refused() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        _ = KarhunenLoeve(lambda x, y: (x - 2 * y)[..., 0], POINTS, WEIGHTS).eigenvalues
    with pytest.raises(ValueError, match="not positive semidefinite"):
        _ = KarhunenLoeve(lambda x, y: np.abs(x - y)[..., 0], POINTS, WEIGHTS).modes
