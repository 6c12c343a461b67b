# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sequences that share storage do not affect one another."""

from kryloset.krylov.automatic.growing_tuple import GrowingTuple


def test_each_value_stays_what_it_was():
    one = GrowingTuple((3, 1))
    two = one.plus(4)
    other = one.plus(5)
    assert (one, two, other) == ((3, 1), (3, 1, 4), (3, 1, 5))
    assert two.plus(2) == (3, 1, 4, 2) and other.plus(2) == (3, 1, 5, 2)
    assert one == (3, 1) != two


def test_it_is_a_sequence():
    numbers = (2, 0, 2, 1)
    choices = GrowingTuple()
    for number in numbers:
        choices = choices.plus(number)
    # It does not show numbers of those that grew from it.
    choices.plus(7)
    assert (len(choices), choices[-1], choices[1:3]) == (4, 1, (0, 2))
    assert (choices.count(2), set(choices), 7 in choices) == (2, {0, 1, 2}, False)
    assert list(reversed(choices)) == [1, 2, 0, 2]
