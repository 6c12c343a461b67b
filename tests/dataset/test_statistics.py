# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Moments computed in one pass equal those of NumPy, however the data are divided."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryloset.dataset.statistics import Moments


@given(
    seed=st.integers(0, 1000),
    parts=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    shift=st.floats(-1e6, 1e6),
)
def test_moments_of_parts_add_up_to_those_of_the_whole(seed, parts, shift):
    values = shift + np.random.default_rng(seed).standard_normal(sum(parts))
    moments = Moments()
    for part in np.split(values, np.cumsum(parts)[:-1]):
        moments.add(part)
    found = moments.summary()
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
    near, far = Moments(), Moments()
    for part in parts:
        near.add(part)
        far.add(np.ldexp(part, exponent))
    expected = {key: np.ldexp(value, exponent) for key, value in near.summary().items()}
    assert far.summary() == expected
