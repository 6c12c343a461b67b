# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""When a recycled space is set aside, and when it is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryloset.krylov.reuse.space_benefit import JUDGED_AFTER, RETRY_AFTER, SpaceBenefit


def follow(
    benefit: SpaceBenefit, using: int, without: int, systems: int
) -> tuple[SpaceBenefit, list[bool]]:
    """Solve systems at given costs with and without a space; return which used it."""
    used = []
    for _ in range(systems):
        used.append(benefit.expected)
        benefit = benefit.after(using if used[-1] else without, used[-1])
    return benefit, used


def first(cost: int) -> SpaceBenefit:
    """Return the value after a first system, which has no space."""
    return SpaceBenefit().after(cost, used=False)


@given(st.integers(1, 1000), st.integers(0, 999), st.integers(1, 60))
def test_a_space_that_adds_no_iterations_is_always_used(without, saved, systems):
    _, used = follow(first(without), max(without - saved, 1), without, systems)
    assert all(used)


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_space_that_costs_more_is_tried_again_after_twice_as_long(without, more):
    _, used = follow(first(without), without + more, without, 200)
    runs, previous = [], None
    for flag in used:
        if flag == previous:
            runs[-1] += 1
        else:
            runs.append(1)
        previous = flag
    expected = [
        JUDGED_AFTER,
        RETRY_AFTER,
        JUDGED_AFTER,
        2 * RETRY_AFTER,
        JUDGED_AFTER,
        4 * RETRY_AFTER,
        JUDGED_AFTER,
    ]
    assert runs[: len(expected)] == expected
    assert used.count(True) <= 5 * JUDGED_AFTER


def test_a_sequence_that_becomes_kind_gets_its_space_back():
    benefit, used = follow(first(27), 48, 27, JUDGED_AFTER + RETRY_AFTER)
    assert not used[-1]
    _, used = follow(benefit, 20, 27, 50)
    assert all(used)


@pytest.mark.parametrize("cost", [1, 40])
def test_without_a_first_system_there_is_nothing_to_judge_by(cost):
    benefit, used = follow(SpaceBenefit(), cost, cost, 10)
    assert all(used) and benefit.refusals == 0
