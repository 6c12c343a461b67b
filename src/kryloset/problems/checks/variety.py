# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks that instances differ, and that each parameter varies unless it is declared fixed.

Settings may make a parameter the same in all instances, such as a range with equal ends. If the
parameter varies with the family's default settings, or among more instances than a small set has,
then `draw` does draw it.
"""

from array import array
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import Array, Family
from kryloset.problems.checks.drawing import Drawing

#: Number of instances that are drawn to see whether a parameter varies.
_PROBED = 16


class Variety:
    """Finds equal instances and constant parameters as instances are added.

    Attributes:
        varied: Names of the parameters that differ between instances.
    """

    def __init__(self) -> None:
        """Begin with no instance."""
        self.varied: set[str] = set()
        self._first: dict[str, Array] = {}
        self._numbers = array("q")
        # 64 bits: among a million different instances two share a key with probability 3e-8.
        self._keys = array("Q")

    def add(self, index: int, instance: Mapping[str, NDArray[np.float64]], digest: bytes) -> None:
        """Add an instance, by its parameters and their digest."""
        for name, values in instance.items():
            if name not in self.varied:
                first = self._first.setdefault(name, values)
                if not np.array_equal(first, values):
                    self.varied.add(name)
        self._numbers.append(index)
        self._keys.append(int.from_bytes(digest[:8]))

    def update(self, other: "Variety") -> None:
        """Add the instances that another one has seen."""
        self.varied |= other.varied
        for name, values in other._first.items():
            if not np.array_equal(self._first.setdefault(name, values), values):
                self.varied.add(name)
        self._numbers.extend(other._numbers)
        self._keys.extend(other._keys)

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self._numbers)

    @property
    def duplicates(self) -> list[tuple[int, int]]:
        """Pairs of equal instances, each with the first of its kind."""
        numbers, pairs = self._numbers, equal_keys(np.asarray(self._keys))
        return [(numbers[first], numbers[again]) for first, again in pairs]

    @property
    def constant(self) -> list[str]:
        """Parameters that are the same in all instances, if there are two or more."""
        return [n for n in self._first if n not in self.varied] if len(self) > 1 else []


def equal_keys(keys: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return the pairs of places with the same key, each with the first of its kind."""
    _, first, kind = np.unique(keys, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[kind] != np.arange(len(keys)))
    return list(zip(first[kind[again]].tolist(), again.tolist(), strict=True))


def never_varying(family: Family, seed: int, names: Iterable[str]) -> list[str]:
    """Return the parameters that vary neither among more instances nor with default settings.

    Args:
        family: The family.
        seed: Seed of the dataset.
        names: The parameters to examine.
    """
    names = list(names)
    left = [name for name in names if name not in varying(family, seed, _PROBED)]
    try:
        defaults = type(family)(type(family.settings)(), family.mesh)
        defaults.check()
        free = varying(defaults, seed, _PROBED)
    except (ValidationError, ConfigError):
        return []  # It cannot be told whether the settings are the reason.
    known = {variable.name for variable in defaults.parameters}
    return [name for name in left if name in known - free]


def varying(family: Family, seed: int, count: int) -> set[str]:
    """Return the parameters that differ among the first few instances."""
    variety, draw = Variety(), Drawing(family)
    for index in range(min(count, _PROBED)):
        try:
            instance = draw(seed, index)
        except DataError:
            continue
        variety.add(index, instance, b"")
    return variety.varied
