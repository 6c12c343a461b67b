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


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 2))
def test_attempt_0_is_the_stream_without_attempts(seed: int, index: int) -> None:
    first = generator(seed, index).bit_generator.random_raw(9)
    assert np.array_equal(generator(seed, index, 0).bit_generator.random_raw(9), first)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_attempts_have_the_same_key_and_counters_that_never_meet(index: int, attempt: int) -> None:
    """Philox is a bijection of the counter, so counters that differ give no common block.

    The stream of an attempt begins where 2^192 blocks of four words separate it from the next.
    """
    index = min(index, 2**64 - 2)
    state = generator(3, index, attempt).bit_generator.state["state"]
    assert state["key"].tolist() == [3, index]
    assert state["counter"].tolist() == [0, 0, 0, attempt]


@given(st.integers(0, 2**64 - 2))
def test_one_attempt_ends_where_the_next_begins(attempt: int) -> None:
    """Word by word: the last block of an attempt is followed by the first of the next."""
    last = np.random.Philox(key=[3, 7], counter=((attempt + 1) << 192) - 1)
    last.random_raw(4)
    following = generator(3, 7, attempt + 1).bit_generator.random_raw(8)
    before = np.random.Philox(key=[3, 7], counter=((attempt + 1) << 192) - 2).random_raw(12)
    assert np.array_equal(before[8:], following[:4])


def test_attempts_out_of_range_are_refused() -> None:
    for attempt in (-1, 2**64):
        with pytest.raises(ValueError, match="is not in"):
            generator(0, 0, attempt)


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64 - 1)])
def test_generator_refuses_numbers_out_of_range(seed: int, index: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        generator(seed, index)
