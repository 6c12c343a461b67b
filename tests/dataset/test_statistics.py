# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Moments computed in one pass equal those of NumPy, however the data are divided."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryloset.dataset.statistics import Moments


def merged(parts: Iterable[Moments]) -> Moments:
    whole = Moments()
    for part in parts:
        whole.merge(part)
    return whole


@given(
    seed=st.integers(0, 1000),
    parts=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    shift=st.floats(-1e6, 1e6),
)
def test_moments_of_parts_add_up_to_those_of_the_whole(seed, parts, shift):
    values = shift + np.random.default_rng(seed).standard_normal(sum(parts))
    divided = np.split(values, np.cumsum(parts)[:-1])
    found = merged(map(Moments.of, divided)).summary()
    expected = {
        "mean": values.mean(),
        "std": values.std(),
        "rms": np.sqrt(np.mean(values**2)),
        "min": values.min(),
        "max": values.max(),
    }
    assert found.keys() == expected.keys()
    # Rounding is relative to the size of the values, not to their deviation.
    scale = 16 * np.finfo(float).eps * np.abs(values).max()
    for key, value in expected.items():
        assert abs(found[key] - value) <= scale, key


@pytest.mark.parametrize("exponent", [-1000, -600, 600, 1000])
def test_moments_do_not_overflow_or_underflow(exponent):
    """The square of 1e300 overflows, and that of 1e-300 underflows."""
    parts = np.split(3 + np.random.default_rng(0).standard_normal(12), 3)
    near = merged(map(Moments.of, parts))
    far = merged(Moments.of(np.ldexp(part, exponent)) for part in parts)
    expected = {key: np.ldexp(value, exponent) for key, value in near.summary().items()}
    assert far.summary() == expected


def test_moments_of_large_and_of_small_numbers_are_merged():
    large, small = np.full(3, 2.0**800), np.full(5, 2.0**-800)
    for parts in ([large, small], [small, large], [large, np.zeros(0), small]):
        found = merged(map(Moments.of, parts)).summary()
        assert found["mean"] == pytest.approx(3 / 8 * 2.0**800)
        assert (found["min"], found["max"]) == (2.0**-800, 2.0**800)
