# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The theorem of split conformal prediction."""

import math
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("torch")

from kryloset.learn.conformal import LEVELS, calibrate, least_instances, radius


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [4, 9, 19, 20, 57, 99])
def test_coverage_is_the_level_up_to_one_over_n_plus_one(level, count):
    """Of n + 1 exchangeable scores any may be the new one: the mean over all of them is exact."""
    scores = np.random.default_rng(count).exponential(size=count + 1)
    covered = sum(scores[new] <= radius(np.delete(scores, new), level) for new in range(count + 1))
    coverage, wanted = Fraction(int(covered), count + 1), Fraction(str(level))
    assert wanted <= coverage < wanted + Fraction(1, count + 1)


def test_equal_scores_cover_no_less():
    scores = np.array([1.0, 1, 1, 2, 2, 3, 3, 3, 3, 4])
    covered = sum(scores[new] <= radius(np.delete(scores, new), 0.8) for new in range(10))
    assert covered >= 8


@pytest.mark.parametrize(("level", "least"), [(0.8, 4), (0.9, 9), (0.95, 19)])
def test_a_level_needs_enough_instances(level, least):
    assert least_instances(level) == least
    assert math.isfinite(radius(np.arange(float(least)), level))
    assert radius(np.arange(float(least - 1)), level) == math.inf


def test_a_radius_that_cannot_be_told_covers_everything():
    found = calibrate({"s": np.arange(9.0)}, {"test": {"s": np.array([1.0, 7, 8, 100])}})
    assert found["s"]["0.8"] == {"radius": 7.0, "coverage": {"test": 0.5}}
    assert found["s"]["0.9"] == {"radius": 8.0, "coverage": {"test": 0.75}}
    assert found["s"]["0.95"] == {"radius": None, "coverage": {"test": 1.0}}
