# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How far operators are apart, and how instances are drawn by it."""

import numpy as np
import pytest

pytest.importorskip("torch")

from kryloset.learn.disagreement import choose_by_spread, measure_spread


def test_the_spread_is_that_of_known_predictions():
    mean = np.full((3, 1, 4, 5), 2.0)
    apart = np.array([0.0, 0.5, 1.0])[:, None, None, None] * np.ones_like(mean)
    found = measure_spread(np.stack([mean - apart, mean + apart]))
    np.testing.assert_allclose(found, [0.0, 0.25, 0.5])


def test_instances_are_drawn_in_proportion_to_the_spread():
    spread, count = np.array([1.0, 2.0, 5.0]), 4000
    generator = np.random.default_rng(0)
    drawn = [int(choose_by_spread(spread, 1, generator)[0]) for _ in range(count)]
    share = np.bincount(drawn, minlength=3) / count
    # Five standard deviations.
    np.testing.assert_allclose(share, spread / 8, atol=5 * 0.5 / count**0.5)


def test_no_instance_is_drawn_twice():
    found = choose_by_spread(np.linspace(0.1, 1, 20), 15, np.random.default_rng(1))
    assert len(np.unique(found)) == 15 and (np.diff(found) > 0).all()
