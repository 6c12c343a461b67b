# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The comparison of methods takes a number of seconds, however many instances there are."""

import time
from types import SimpleNamespace

import pytest

from kryloset.run.compare import FIRST, compare_within

SETUP, EACH = 0.25, 0.0625


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock of the processor, which has half of the time."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    monkeypatch.setattr(time, "perf_counter", lambda: 2 * clock.now)
    return clock


@pytest.mark.parametrize(
    ("seconds", "most", "compared", "spent"),
    [
        (5.0, 16, 16, SETUP + 18 * EACH),
        (1.0, 100, 10, SETUP + 12 * EACH),
        (1.0, 1, 1, SETUP + EACH),
        (0.1, 100, FIRST, SETUP + FIRST * EACH),
    ],
    ids=["time for all", "time for some", "one instance", "no time"],
)
def test_as_many_instances_are_compared_as_there_is_time_for(
    seconds: float, most: int, compared: int, spent: float, clock: SimpleNamespace
):
    left = [SETUP, 0.0]

    def compare(count: int):
        clock.now += left.pop(0) + count * EACH
        records = [SimpleNamespace(seconds=EACH)] * count
        return {"one": records, "other": records}, [["one", "other"]] * count

    _, turns = compare_within(seconds, compare, most, min(FIRST, most))
    assert (len(turns), clock.now) == (compared, spent)


def test_a_family_that_needs_no_solver_is_compared_on_all_instances(clock: SimpleNamespace):
    def compare(count: int):
        clock.now += EACH
        return {"one": [SimpleNamespace(seconds=0.0)] * count}, [["one"]] * count

    _, turns = compare_within(1.0, compare, 100, FIRST)
    assert len(turns) == 100
