# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The populations of a dataset: its own distribution, and those that are declared to be shifted.

A population has settings of its own, and is stored like the others: its family declares the same
variables on the same grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from kryloset.config import DatasetConfig, Precision
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import Array, Family
from kryloset.problems.checks.drawing import Drawing, Given
from kryloset.problems.registry import load_family

#: What all families of a dataset declare alike, because the file has it once.
_SHARED = (
    "parameters", "fields", "unknowns", "times", "operator", "boundary_conditions", "equation",
    "summary",
)  # fmt: skip


@dataclass(frozen=True)
class Population:
    """Instances of a dataset that are drawn with the same settings.

    Attributes:
        family: The family with these settings.
        numbers: Numbers of the instances.
        shift: Name of the shift, and of the split; empty for the distribution of the dataset.
    """

    family: Family
    numbers: range = range(2**63 - 1)
    shift: str = ""

    def afresh(self) -> "Population":
        """Return the population with another object of its family, which has drawn nothing."""
        family = self.family
        return replace(self, family=type(family)(family.settings, family.mesh))


def load_populations(config: DatasetConfig) -> tuple[Population, ...]:
    """Make the populations of a dataset, its own distribution first.

    Raises:
        ConfigError: A family or one of its settings is not valid, or the settings of a shift
            change what is stored and not only its values.
    """
    own, begin = load_family(config), config.count
    found = [Population(own, range(begin))]
    for name, shift in config.ood.items():
        settings = {**own.settings.model_dump(mode="json"), **shift.parameters}
        try:
            family = load_family(config.model_copy(update={"parameters": settings}))
        except ConfigError as error:
            raise ConfigError(f"ood.{name}: {error}") from error
        _require_alike(own, family, name)
        found.append(Population(family, range(begin, begin + shift.count), name))
        begin += shift.count
    return tuple(found)


def _require_alike(own: Family, family: Family, name: str) -> None:
    """Refuse a shift whose instances cannot be stored beside the others.

    Raises:
        ConfigError: It is one.
    """
    if family.settings == own.settings:
        raise ConfigError(
            f"ood.{name}: its settings are those of the dataset, so nothing is shifted: change one"
        )
    differing = [key for key in _SHARED if not _same(getattr(own, key), getattr(family, key))]
    if not _same(own.coordinates, family.coordinates):
        differing.append("coordinates")
    if differing:
        raise ConfigError(
            f"ood.{name}: with its settings the family has other {', '.join(differing)}, which a "
            "file has once: shift settings that change the distribution alone, or make a dataset "
            "of its own"
        )


def _same(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [*one] == [*other] and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other))
    return bool(one == other)


def population_of(populations: Sequence[Population], number: int) -> Population:
    """Return the population of an instance."""
    return next(one for one in populations if number in one.numbers)


class Drawings:
    """Draws the instances of a dataset by their numbers, each with the settings of its population.

    Args:
        populations: Those of the dataset, or some of them.
        given: The parameters that are not drawn; None if all are.
        attempts: How often instances were drawn before and failed, by their numbers.
        precision: The type to whose values parameters are rounded.
    """

    def __init__(
        self,
        populations: Sequence[Population],
        given: Given | None = None,
        attempts: Mapping[int, int] = MappingProxyType({}),
        precision: Precision = "float64",
    ) -> None:
        """Draw nothing yet."""
        self.precision = precision
        self._each = [
            (
                one.numbers,
                Drawing(one.family, given, attempts, precision, one.numbers.start, one.shift),
            )
            for one in populations
        ]

    def __call__(self, seed: int, number: int) -> dict[str, Array]:
        """Draw an instance.

        Args:
            seed: Seed of the dataset.
            number: Number of the instance.

        Returns:
            Its parameters by name.

        Raises:
            DataError: As `Drawing`.
            FamilyError: As `Drawing`.
        """
        for numbers, draw in self._each:
            if number in numbers:
                return draw(seed, number)
        raise DataError(f"there is no instance {number}")


def require_same_fixed(populations: Sequence[Population], seed: int) -> None:
    """Refuse shifts that change a parameter which is declared to be the same for all instances.

    Raises:
        ConfigError: There is one.
    """
    fixed = [variable.name for variable in populations[0].family.parameters if variable.fixed]
    if not fixed or len(populations) == 1:
        return
    first, *others = (_first(one, seed) for one in populations)
    for population, instance in zip(populations[1:], others, strict=True):
        changed = [name for name in fixed if not np.array_equal(first[name], instance[name])]
        if changed:
            raise ConfigError(
                f"ood.{population.shift} changes {', '.join(changed)}, which the family declares "
                "fixed: shift other settings, or make a dataset of its own"
            )


def _first(population: Population, seed: int) -> dict[str, Array]:
    """Return the first valid instance of a population."""
    draw = Drawings([population])
    for number in population.numbers:
        try:
            return draw(seed, number)
        except DataError:
            continue
    return draw(seed, population.numbers.start)
