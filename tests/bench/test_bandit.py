# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bandits: their definitions, their bounds, and the experiment of 'Learning to relax'."""

import numpy as np
import pytest
import scipy.optimize

from kryloset.bench.bandit import ChebCB, TsallisINF, draw_arm, fit_in_box, tsallis_weights


@pytest.fixture
def rng() -> np.random.Generator:
    """Numbers that are the same in every run."""
    return np.random.default_rng(1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("arms", [1, 2, 20])
def test_tsallis_weights_are_the_minimiser_on_the_simplex(arms, scale, rng):
    """The condition of optimality: losses - 2 / (rate sqrt(w)) is the same for all arms."""
    losses, rate = scale * rng.random(arms), 0.3
    weights = tsallis_weights(losses, rate)
    assert weights.sum() == pytest.approx(1, abs=1e-14) and (weights > 0).all()
    multiplier = losses - 2 / (rate * np.sqrt(weights))
    np.testing.assert_allclose(multiplier, multiplier[0], rtol=1e-9, atol=1e-9 * scale)


def test_equal_arms_are_equally_likely_and_the_shift_of_losses_does_not_matter(rng):
    np.testing.assert_allclose(TsallisINF(np.zeros(7)).probabilities, 1 / 7)
    losses = rng.random(5)
    np.testing.assert_allclose(tsallis_weights(losses, 0.5), tsallis_weights(losses + 9, 0.5))


def regret(losses, seed):
    """Return the regret of Tsallis-INF against the best arm of a table (turns, arms)."""
    bandit, spent = TsallisINF(np.zeros(losses.shape[1])), 0.0
    for turn, row in enumerate(losses):
        arm = draw_arm(bandit.probabilities, seed, turn)
        bandit, spent = bandit.after(arm, row[arm]), spent + row[arm]
    return spent - losses.sum(axis=0).min()


def test_the_regret_is_within_the_bound_for_adversarial_losses():
    """Zimmert and Seldin, theorem 1. The good arm changes half way."""
    turns, arms = 900, 5
    losses = np.ones((turns, arms))
    losses[: turns // 3, 0] = 0.0
    losses[turns // 3 :, 1] = 0.0
    mean = np.mean([regret(losses, seed) for seed in range(5)])
    assert mean <= 4 * np.sqrt(arms * turns) + 1


def test_the_regret_of_drawn_losses_grows_much_slower_than_the_root():
    rng = np.random.default_rng(1)
    losses = (rng.random((2000, 5)) < [0.2, 0.7, 0.7, 0.7, 0.7]).astype(float)
    quarter, whole = (np.mean([regret(losses[:t], s) for s in range(4)]) for t in (500, 2000))
    assert whole < 1.6 * quarter  # the root would double it


def test_estimates_are_unbiased():
    bandit = TsallisINF(np.zeros(3)).after(1, 0.9)
    p, losses = bandit.probabilities, np.array([0.2, 0.5, 1.0])
    mean = sum(p[i] * bandit.after(i, losses[i]).estimates for i in range(3))
    np.testing.assert_allclose(mean, bandit.estimates + losses)


def test_draws_follow_the_probabilities_and_repeat():
    p = np.array([0.1, 0.6, 0.3])
    drawn = [draw_arm(p, 7, turn) for turn in range(4000)]
    assert drawn == [draw_arm(p, 7, turn) for turn in range(4000)]
    share = np.bincount(drawn, minlength=3) / 4000
    assert (abs(share - p) < 4 * np.sqrt(p * (1 - p) / 4000)).all()
    assert draw_arm(np.array([0.5, 0.5 - 1e-16]), 0, 0) in (0, 1)


def test_chebcb_learns_losses_that_are_polynomials_of_the_context(rng):
    bandit = ChebCB(arms=2, first=-1.0, last=1.0, scale=10.0, degree=4)
    for _ in range(40):
        c = rng.uniform(-1, 1)
        bandit = bandit.after(c, 0, 5 + c**2).after(c, 1, 5 - c**3)
    for c in (-0.9, 0.1, 0.8):
        np.testing.assert_allclose(bandit.predict(c), [5 + c**2, 5 - c**3], rtol=1e-4)
        p = bandit.probabilities(c)
        assert p.sum() == pytest.approx(1) and p.argmax() == bandit.predict(c).argmin()
        gap = abs(np.diff(bandit.predict(c))[0])
        assert p.min() == pytest.approx(1 / (2 + bandit.rate * gap))


def test_series_stay_in_their_box(rng):
    for _ in range(10):
        rows = rng.standard_normal((8, 4))
        target, bound = 3 * rng.standard_normal(8), np.array([1.0, 0.5, 0.25, 0.1])
        found = fit_in_box(rows.T @ rows, rows.T @ target, bound)
        assert (abs(found) <= bound * (1 + 1e-12)).all()
        expected = scipy.optimize.lsq_linear(rows, target, (-bound, bound)).x
        np.testing.assert_allclose(found, expected, atol=1e-5)
