# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances must differ, and so must each parameter that is not declared fixed.

A parameter may be the same in all instances where settings make it so, such as a range whose
ends are one number. That it varies with the family's default settings, or in instances beyond
those of a small set, shows that `draw` does draw it.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import Array, Family
from kryloset.problems.checks.drawing import Drawing

#: Instances that are drawn to see whether a parameter varies.
_PROBED = 16


class Variety:
    """What the instances of a set, one after the other, have in common.

    Attributes:
        varied: Names of the parameters that are not the same in all.
        duplicates: Pairs of instances that are the same.
    """

    def __init__(self) -> None:
        """Begin with no instance."""
        self.varied: set[str] = set()
        self.duplicates: list[tuple[int, int]] = []
        self._first: dict[str, Array] = {}
        self._seen: dict[int, int] = {}

    def add(self, index: int, instance: Mapping[str, NDArray[np.float64]]) -> None:
        """Take the parameters of the next instance into account."""
        for name, values in instance.items():
            if name not in self.varied:
                first = self._first.setdefault(name, values)
                if not np.array_equal(first, values):
                    self.varied.add(name)
        # Of 64 bits: of a million instances two that differ have one with a chance of 3e-8.
        key = hash(tuple(values.tobytes() for values in instance.values()))
        first_index = self._seen.setdefault(key, index)
        if first_index != index:
            self.duplicates.append((first_index, index))

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self._seen) + len(self.duplicates)

    @property
    def constant(self) -> list[str]:
        """Parameters that are the same in all of two or more instances."""
        return [n for n in self._first if n not in self.varied] if len(self) > 1 else []


def never_varying(family: Family, seed: int, names: Iterable[str]) -> list[str]:
    """Return which parameters neither more instances nor the default settings make vary.

    Args:
        family: The family.
        seed: Seed of the dataset.
        names: The parameters in question.
    """
    names = list(names)
    left = [name for name in names if name not in varying(family, seed, _PROBED)]
    try:
        defaults = type(family)(type(family.settings)(), family.mesh)
        defaults.check()
        free = varying(defaults, seed, _PROBED)
    except (ValidationError, ConfigError):
        return []  # Whether the settings make it so cannot be told.
    known = {variable.name for variable in defaults.parameters}
    return [name for name in left if name in known - free]


def varying(family: Family, seed: int, count: int) -> set[str]:
    """Return the parameters that differ in the first instances, up to a few."""
    variety, draw = Variety(), Drawing(family)
    for index in range(min(count, _PROBED)):
        try:
            variety.add(index, draw(seed, index))
        except DataError:
            continue
    return variety.varied
