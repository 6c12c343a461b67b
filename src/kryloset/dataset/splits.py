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

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from math import lcm

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import INTEGER
from kryloset.errors import DataError
from kryloset.sampling import split_generator


def split_indices(config: DatasetConfig) -> dict[str, NDArray[np.int64]]:
    """Return the numbers of the instances of each split, ascending, and of each of `ood`.

    For every n, a split with the fraction f has more than f n - 1 and fewer than f n + 1 of the
    first n instances. The random numbers are the raw stream of Philox with the seed as its key, 64
    bits for each instance. NumPy promises never to change this stream.
    """
    numbers = split_generator(config.seed).bit_generator.random_raw(config.count)
    given = np.array(_give(_weights(list(config.splits.values())), numbers.tolist()))
    found = {
        name: np.flatnonzero(given == split).astype(INTEGER)
        for split, name in enumerate(config.splits)
    }
    begin = config.count
    for name, shift in config.ood.items():
        found[name] = np.arange(begin, begin + shift.count, dtype=INTEGER)
        begin += shift.count
    return found


def split_rows(config: DatasetConfig, numbers: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return the rows in the file of the instances of each split, ascending.

    Where an instance is left out, those after it move up, and stay in their splits.

    Args:
        config: The dataset.
        numbers: The numbers of the instances that it has, ascending.

    Raises:
        DataError: All instances of a split are left out.
    """
    rows = {
        name: np.flatnonzero(np.isin(numbers, chosen, assume_unique=True)).astype(INTEGER)
        for name, chosen in split_indices(config).items()
    }
    empty = [name for name, chosen in rows.items() if not len(chosen)]
    if empty:
        raise DataError(
            f"all instances of the split {empty[0]} are left out: raise `count`, or draw milder "
            "parameters"
        )
    return rows


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
    assignment = _Assignment(weights)
    start = state = assignment.state(0, (0,) * len(weights))
    given = []
    for number in numbers:
        place = number * state.behind >> 64
        for end, split in state.ends:
            if place < end:
                given.append(split)
                break
        following = state.following.get(split)
        if following is None:
            following = state.following[split] = assignment.after(state, split) or start
        state = following
    return given


@dataclass(frozen=True)
class _State:
    """What the next instance may be given, after some instances.

    Attributes:
        count: Number of instances before it.
        sizes: How many of these each split has.
        behind: How far the splits that it may be assigned to are behind their shares, in all.
        ends: For each of these splits, the end of its part of `behind`, and its number.
        following: By split the state after the instance is assigned to it, where it is known.
    """

    count: int
    sizes: tuple[int, ...]
    behind: int
    ends: tuple[tuple[int, int], ...]
    following: "dict[int, _State]" = field(default_factory=dict)


class _Assignment:
    """The states that an assignment goes through, each of which is examined once.

    After as many instances as the weights add up to, each split has exactly its share, since it is
    off by less than one. The assignment then starts again.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Begin without states."""
        self._weights = weights
        self._total = sum(weights)
        self._room = _Room(weights)
        self._known: dict[tuple[int, tuple[int, ...]], _State] = {}

    def after(self, state: _State, split: int) -> _State | None:
        """Return the state after an instance is assigned to a split; None for the first state."""
        sizes = list(state.sizes)
        sizes[split] += 1
        count = state.count + 1
        return None if count == self._total else self.state(count, tuple(sizes))

    def state(self, before: int, sizes: tuple[int, ...]) -> _State:
        """Return the state with some number of instances in each split."""
        if (before, sizes) not in self._known:
            self._known[before, sizes] = self._examine(before, sizes)
        return self._known[before, sizes]

    def _examine(self, before: int, sizes: tuple[int, ...]) -> _State:
        weights, total, count = self._weights, self._total, before + 1
        # How far each split is behind its share of the instances up to this one, times `total`. A
        # split that is not behind would exceed its share by one or more with this instance.
        behind = [w * count - total * size for w, size in zip(weights, sizes, strict=True)]
        allowed = [split for split, number in enumerate(behind) if number > 0]
        if len(allowed) > 1:
            # The smallest number of instances at which a split is due its size.
            due = [-(-size * total // w) for w, size in zip(weights, sizes, strict=True)]
            larger = {s: -(-(sizes[s] + 1) * total // weights[s]) for s in allowed}
            allowed = [
                s for s in allowed if self._room.fits([*due[:s], larger[s], *due[s + 1 :]], count)
            ]
        ends = accumulate(behind[split] for split in allowed)
        return _State(
            before, sizes, sum(behind[s] for s in allowed), tuple(zip(ends, allowed, strict=True))
        )


class _Room:
    """The test whether all splits can have their due sizes at every later number of instances.

    Of the first h instances, a split is due its share, rounded down. The other instances are the
    room at h for splits that are already larger.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """Begin with no instances."""
        self._weights = weights
        self._total = sum(weights)
        #: For each m, every h below `_seen[m]` with room for fewer than m splits, ascending.
        self._short: list[list[int]] = [[] for _ in range(len(weights) + 1)]
        self._seen = [0] * (len(weights) + 1)

    def fits(self, due: Sequence[int], count: int) -> bool:
        """Return whether there is room for the sizes of all splits.

        Args:
            due: For each split, the smallest number of instances at which it is due its size.
            count: Number of instances now.
        """
        early = sorted((h for h in due if h > count), reverse=True)
        # There is always room for one split, since its share is not an integer before.
        return all(self._first_short(m, count) >= early[m - 1] for m in range(2, len(early) + 1))

    def _first_short(self, m: int, count: int) -> int:
        """Return the smallest h >= `count` with room for fewer than m splits."""
        short = self._short[m]
        while not short or short[-1] < count:
            h = self._seen[m]
            if h - sum(weight * h // self._total for weight in self._weights) < m:
                short.append(h)
            self._seen[m] += 1
        return short[bisect_left(short, count)]
