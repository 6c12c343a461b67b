# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assign instances to splits, independently of how many instances there are.

When a dataset grows, no instance may move to another split, since a model could have been trained
on it. Instances are therefore assigned one after another, as seats of a growing house are to
states, by a method that is house-monotone and satisfies quota: Still, A class of new methods for
congressional apportionment, SIAM J. Appl. Math. 37 (1979); Balinski and Young, Quotatone
apportionment methods, Math. Oper. Res. 4 (1979). Their theorem says to which splits an instance
may be assigned, and that there always is one. A random number chooses among them.
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

    Of the first n instances, for every n, a split with the fraction f has more than f n - 1 and
    fewer than f n + 1. The random numbers are the raw stream of Philox keyed with the seed, 64 bits
    an instance, which NumPy promises never to change.
    """
    numbers = split_generator(config.seed).bit_generator.random_raw(config.count)
    given = np.array(_give(_weights(list(config.splits.values())), numbers.tolist()))
    return {
        name: np.flatnonzero(given == split).astype(INTEGER)
        for split, name in enumerate(config.splits)
    }


def _weights(fractions: Sequence[float]) -> list[int]:
    """Return integers in the ratio of the fractions as they are written in decimals."""
    exact = [Fraction(str(fraction)) for fraction in fractions]
    common = lcm(*(fraction.denominator for fraction in exact))
    return [int(fraction * common) for fraction in exact]


def _give(weights: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Return the split of each instance.

    A split is drawn with a probability proportional to how far it is behind its share.

    Args:
        weights: Weights of the splits, integers.
        numbers: A uniform random number below 2^64 for each instance.
    """
    total, room = sum(weights), _Room(weights)
    sizes = [0] * len(weights)
    # The first number of instances at which a split is due its size, and its size plus one.
    due, next_due = [0] * len(weights), [-(-total // weight) for weight in weights]
    given = []
    for count, number in enumerate(numbers, start=1):
        # How far each split is behind its share of the instances up to this one, times `total`. A
        # split that is not behind would exceed its share by one or more.
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
    """Whether all splits can have their due sizes at any later number of instances.

    Of the first h instances a split is due its share rounded down. The instances that are left over
    are the room at h for splits that are larger already.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Begin at no instances."""
        self._weights = weights
        self._total = sum(weights)
        #: For each m, the first h from now on with room for fewer than m splits.
        self._short = [0] * (len(weights) + 1)

    def fits(self, due: Sequence[int], count: int) -> bool:
        """Return whether there is room for the sizes of all splits.

        Args:
            due: For each split, the first number of instances at which it is due its size.
            count: Number of instances now, at least that of the previous call.
        """
        early = sorted((h for h in due if h > count), reverse=True)
        # There is always room for one split, whose share is not an integer before.
        return all(self._first_short(m, count) >= early[m - 1] for m in range(2, len(early) + 1))

    def _first_short(self, m: int, count: int) -> int:
        """Return the first h, `count` or more, with room for fewer than m splits."""
        h = max(self._short[m], count)
        while h - sum(weight * h // self._total for weight in self._weights) >= m:
            h += 1
        self._short[m] = h
        return h
