# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances depend on (seed, index) alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryloset.sampling import generator, split_generator


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 2))
def test_generator_is_a_function_of_seed_and_index(seed: int, index: int) -> None:
    first = generator(seed, index).standard_normal(4)
    generator(seed, (index + 1) % (2**64 - 1)).standard_normal(9)
    assert np.array_equal(first, generator(seed, index).standard_normal(4))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 2))
def test_the_key_of_philox_is_seed_and_index(seed: int, index: int) -> None:
    key = np.array([seed, index], dtype=np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key))
    assert np.array_equal(generator(seed, index).standard_normal(9), expected.standard_normal(9))


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
