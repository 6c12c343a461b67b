# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which instance is in which split: the same one however many instances there are.

A split that grew with its dataset must not take an instance from another: a model could have
been trained on it. So instances are given to splits one after another, as seats of a growing
house are to states, by a method that is monotone and never off by a seat: Still, A class of new
methods for congressional apportionment, SIAM J. Appl. Math. 37 (1979); Balinski and Young,
Quotatone apportionment methods, Math. Oper. Res. 4 (1979). Their theorem says which splits an
instance may be given to, and that there always is one; chance chooses among them.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import INTEGER
from kryloset.sampling import split_generator


def split_indices(config: DatasetConfig) -> dict[str, NDArray[np.int64]]:
    """Return the instances of each split, ascending.

    Of the first n instances, for every n, a split of the fraction f has more than f n - 1 and
    fewer than f n + 1. Chance is the raw stream of Philox keyed with the seed, a 64-bit number an
    instance: the one thing of NumPy's generators that is promised never to change.
    """
    numbers = split_generator(config.seed).bit_generator.random_raw(config.count)
    given = np.array(_give(_weights(list(config.splits.values())), numbers.tolist()))
    return {
        name: np.flatnonzero(given == split).astype(INTEGER)
        for split, name in enumerate(config.splits)
    }


def _weights(fractions: Sequence[float]) -> list[int]:
    """Return whole numbers in the ratio of the fractions as they are written."""
    exact = [Fraction(str(fraction)) for fraction in fractions]
    common = lcm(*(fraction.denominator for fraction in exact))
    return [int(fraction * common) for fraction in exact]


def _give(weights: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Return the split of each instance.

    Chance takes a split in proportion to how far it is behind its share.

    Args:
        weights: Of the splits, whole numbers.
        numbers: A uniform number below 2^64 for each instance.
    """
    total, room = sum(weights), _Room(weights)
    sizes = [0] * len(weights)
    # The first number of instances at which a split is due its size; with one more, alike.
    due, next_due = [0] * len(weights), [-(-total // weight) for weight in weights]
    given = []
    for count, number in enumerate(numbers, start=1):
        # How far each is behind its share of the instances up to this one, times `total`. One
        # that is not behind would have more than its share and one.
        behind = [
            weight * count - total * size for weight, size in zip(weights, sizes, strict=True)
        ]
        allowed = [split for split, number in enumerate(behind) if number > 0]
        if len(allowed) > 1:
            allowed = [
                s for s in allowed if room.fits([*due[:s], next_due[s], *due[s + 1 :]], count)
            ]
        place = number * sum(behind[split] for split in allowed) >> 64
        for split in allowed:
            place -= behind[split]
            if place < 0:
                sizes[split] += 1
                due[split] = next_due[split]
                next_due[split] = -(-(sizes[split] + 1) * total // weights[split])
                given.append(split)
                break
    return given


class _Room:
    """Whether all splits can have their due in time, up to any later number of instances.

    Of the first h instances a split is due its share rounded down. What the shares of all splits
    leave over, a whole number, is the room at h for splits that have more already.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Begin at no instances."""
        self._weights = weights
        self._total = sum(weights)
        #: By m, the first h from now on with room for fewer than m splits.
        self._short = [0] * (len(weights) + 1)

    def fits(self, due: Sequence[int], count: int) -> bool:
        """Return whether there is room for the sizes of all splits.

        Args:
            due: By split, the first number of instances at which it is due its size.
            count: Number of instances now, not less than at the last call.
        """
        early = sorted((h for h in due if h > count), reverse=True)
        # For one there is room always, since its share is no whole number before.
        return all(self._first_short(m, count) >= early[m - 1] for m in range(2, len(early) + 1))

    def _first_short(self, m: int, count: int) -> int:
        """Return the first h, `count` or more, with room for fewer than m splits."""
        h = max(self._short[m], count)
        while h - sum(weight * h // self._total for weight in self._weights) >= m:
            h += 1
        self._short[m] = h
        return h
