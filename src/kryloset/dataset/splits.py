# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assign instances to splits. The assignment does not depend on the number of instances.

When a dataset grows, no instance may move to another split, since a model could have been trained
on it. Instances are therefore assigned one after another, as the seats of a growing parliament are
assigned to states. The method is house-monotone and satisfies quota (J. W. Still, "A class of new
methods for congressional apportionment", SIAM J. Appl. Math. 37, 1979; M. L. Balinski and H. P.
Young, "Quotatone apportionment methods", Math. Oper. Res. 4, 1979). A theorem of theirs determines
the splits to which an instance may be assigned, and shows that there always is one. A random
number chooses among these splits.
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

    For every n, a split with the fraction f has more than f n - 1 and fewer than f n + 1 of the
    first n instances. The random numbers are the raw stream of Philox with the seed as its key, 64
    bits for each instance. NumPy promises never to change this stream.
    """
    numbers = split_generator(config.seed).bit_generator.random_raw(config.count)
    given = np.array(_give(_weights(list(config.splits.values())), numbers.tolist()))
    return {
        name: np.flatnonzero(given == split).astype(INTEGER)
        for split, name in enumerate(config.splits)
    }


def _weights(fractions: Sequence[float]) -> list[int]:
    """Return integers whose ratios are exactly those of the fractions in decimal notation."""
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
    # The smallest number of instances at which a split is due its size, and its size plus one.
    due, next_due = [0] * len(weights), [-(-total // weight) for weight in weights]
    given = []
    for count, number in enumerate(numbers, start=1):
        # How far each split is behind its share of the instances up to this one, times `total`. A
        # split that is not behind would exceed its share by one or more with this instance.
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
    """The test whether all splits can have their due sizes at every later number of instances.

    Of the first h instances, a split is due its share, rounded down. The other instances are the
    room at h for splits that are already larger.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Begin with no instances."""
        self._weights = weights
        self._total = sum(weights)
        #: For each m, the smallest h from now on with room for fewer than m splits.
        self._short = [0] * (len(weights) + 1)

    def fits(self, due: Sequence[int], count: int) -> bool:
        """Return whether there is room for the sizes of all splits.

        Args:
            due: For each split, the smallest number of instances at which it is due its size.
            count: Number of instances now, at least as large as in the previous call.
        """
        early = sorted((h for h in due if h > count), reverse=True)
        # There is always room for one split, since its share is not an integer before.
        return all(self._first_short(m, count) >= early[m - 1] for m in range(2, len(early) + 1))

    def _first_short(self, m: int, count: int) -> int:
        """Return the smallest h >= `count` with room for fewer than m splits."""
        h = max(self._short[m], count)
        while h - sum(weight * h // self._total for weight in self._weights) >= m:
            h += 1
        self._short[m] = h
        return h
