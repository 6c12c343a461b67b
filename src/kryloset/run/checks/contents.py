# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of the stored numbers by themselves: nothing is solved or drawn again."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.splits import split_indices, split_rows
from kryloset.dataset.statistics import Moments
from kryloset.errors import DataError
from kryloset.problems.base import Family, Variable
from kryloset.problems.checks.coverage import select
from kryloset.problems.checks.stored import check_resampled, check_stored
from kryloset.problems.checks.variety import Variety, never_varying, varying
from kryloset.run.checks.failures import Faults, refuse
from kryloset.run.checks.group import Group, on_grid, row_of

#: Relative error allowed in statistics, sums whose rounding depends on the processor.
STATISTICS_ROUNDING = 1e-12


class Shapes:
    """Checks that the first instance has the arrays that the family declares."""

    def __init__(self, family: Family) -> None:
        """Begin without instances."""
        self._family = family
        self._seen = False

    def add(self, group: Group) -> None:
        """See the next instances.

        Raises:
            FamilyError: An array is missing, is not declared, or has a different shape.
        """
        if not self._seen:
            check_stored(self._family, row_of(group.solution, 0))
            for points, arrays in group.resampled.items():
                check_resampled(self._family, points, row_of(arrays, 0))
        self._seen = True

    def finish(self) -> str:
        """Return what was found."""
        return "those of the family"


class Finite:
    """Checks that all values are finite, except that fields are NaN outside the domain."""

    def __init__(self, family: Family) -> None:
        """Begin without instances."""
        self._family = family
        self._faults = Faults("values that are not finite, or not NaN outside the domain")

    def add(self, group: Group) -> None:
        """See the next instances."""
        ranks = {variable.name: variable.rank for variable in self._family.fields}
        for points, arrays in group.grids():
            inside = group.inside.get(points)
            for name, rows in arrays.items():
                if inside is None or name not in ranks:
                    right = _all(np.isfinite(rows))
                else:
                    right = _all(np.isfinite(select(rows, inside, ranks[name])))
                    right &= _all(np.isnan(select(rows, ~inside, ranks[name])))
                if not right.all():
                    what = name if points is None else on_grid(points, name)
                    self._faults.add((number, what) for number in group.numbers[~right].tolist())

    def finish(self) -> str:
        """Return what was found."""
        self._faults.refuse()
        family = self._family
        every = (*family.parameters, *family.fields, *family.unknowns)
        return f"all values of {', '.join(variable.name for variable in every)}"


class NotConstant:
    """Checks that every solution varies in space."""

    def __init__(self, family: Family) -> None:
        """Begin without instances."""
        self.faults = Faults("fields that are constant")
        self._family = family

    def add(self, group: Group) -> None:
        """See the next instances."""
        for variable in self._family.fields:
            values = within(self._family, variable, group)
            rows = values.reshape(len(values), -1)
            if rows.shape[1] > 1:
                same = rows.max(axis=1) == rows.min(axis=1)
                self.faults.add((number, variable.name) for number in group.numbers[same].tolist())

    def finish(self) -> str:
        """Return what was found."""
        self.faults.refuse()
        return "every solution varies in space"


class Varying(NotConstant):
    """Checks also that every parameter varies between the instances of a dataset.

    Parameters that the family declares fixed must not vary, and those that its settings make
    constant need not.
    """

    def __init__(self, family: Family, seed: int, variety: Variety, given: Collection[str]) -> None:
        """Begin without instances.

        Args:
            family: The family.
            seed: Seed of the dataset.
            variety: What differs between its instances, once all were seen.
            given: Names of the parameters that were not drawn, which need not vary.
        """
        super().__init__(family)
        self._given = given
        self._seed = seed
        self._variety = variety

    def finish(self) -> str:
        """Return what was found."""
        family, variety = self._family, self._variety
        fixed = {variable.name for variable in family.parameters if variable.fixed}
        same = [name for name in variety.constant if name not in fixed]
        constant = [name for name in same if name not in self._given]
        wrong = []
        if constant:
            # Either it was drawn so, or the file does not have what was drawn.
            unlike = varying(family, self._seed, len(variety))
            unlike = unlike.union(never_varying(family, self._seed, constant))
            wrong = [f"all instances: {name}" for name in constant if name in unlike]
        self.faults.refuse(wrong)
        refuse("parameters that are declared fixed but vary", sorted(variety.varied & fixed))
        reasons = {
            "declared fixed": sorted(fixed),
            "by its settings": constant,
            "by its file": [name for name in same if name in self._given],
        }
        but = [f"{', '.join(names)}, {why}" for why, names in reasons.items() if names]
        return "every solution varies in space, every parameter from instance to instance" + (
            f" but {'; '.join(but)}" if but else ""
        )


class NoDuplicates:
    """Checks that no two instances have the same parameters.

    Attributes:
        variety: What differs between the instances.
    """

    def __init__(self) -> None:
        """Begin without instances."""
        self.variety = Variety()

    def add(self, group: Group) -> None:
        """See the next instances."""
        for (number, instance, _), digest in zip(group, group.digests, strict=True):
            self.variety.add(number, instance, digest)

    def finish(self) -> str:
        """Return what was found."""
        wrong = [f"instances {first} and {index}" for first, index in self.variety.duplicates]
        refuse("parameters that are the same", wrong)
        return f"{len(self.variety)} different parameter sets"


class Statistics:
    """Computes the statistics of the instances of the training split.

    Attributes:
        moments: By name of a parameter or field, those of its values in the domain.
    """

    def __init__(self, family: Family, config: DatasetConfig) -> None:
        """Begin without instances."""
        self._family = family
        self._train = np.zeros(config.total, np.bool_)
        self._train[split_indices(config)["train"]] = True
        self._count = 0
        self.moments = {v.name: Moments() for v in (*family.parameters, *family.fields)}

    def add(self, group: Group) -> None:
        """See the next instances."""
        train = self._train[group.numbers]
        if not train.any():
            return
        self._count += int(train.sum())
        for variable in (*self._family.parameters, *self._family.fields):
            values = within(self._family, variable, group)
            with np.errstate(invalid="ignore"):  # `Finite` names values that are not finite.
                self.moments[variable.name].add(values if train.all() else values[train])

    def finish(self) -> str:
        """Return what was found."""
        return f"computed from {self._count} instances of train"


class SameStatistics(Statistics):
    """Checks that the stored statistics are those of the training split."""

    def __init__(
        self, family: Family, config: DatasetConfig, stored: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Begin without instances.

        Args:
            family: The family.
            config: The dataset.
            stored: The statistics by name of a parameter or field.
        """
        super().__init__(family, config)
        self._stored = stored

    def finish(self) -> str:
        """Return what was found."""
        check_statistics(self.moments, self._stored)
        return f"recomputed from {self._count} instances of train"


def check_statistics(
    moments: Mapping[str, Moments], stored: Mapping[str, Mapping[str, float]]
) -> None:
    """Check that statistics are those of the training split.

    Args:
        moments: Of the training split, by name of a parameter or field.
        stored: The statistics by these names.

    Raises:
        DataError: They are not.
    """
    wrong = []
    for name in moments:
        expected, found = moments[name].summary(), stored[name]
        scale = expected["rms"] * STATISTICS_ROUNDING
        wrong += [
            f"{key} of {name} is {found.get(key)}, but {value} for the training split"
            for key, value in expected.items()
            if not abs(found.get(key, np.nan) - value) <= scale
        ]
    refuse("statistics that are not those of the training split", wrong)


def within(family: Family, variable: Variable, group: Group) -> NDArray[Any]:
    """Return the values of a parameter or field at the points in the domain, a row an instance.

    A parameter that is not on the whole grid is returned as it is.
    """
    name = variable.name
    rows = group.parameters[name] if name in group.parameters else group.solution[name]
    inside = group.inside.get(None)
    if inside is None or variable.axes != tuple(family.coordinates):
        return rows
    return select(rows, inside, variable.rank)


def _all(right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each row whether all of it is true."""
    found: NDArray[np.bool_] = right.reshape(len(right), -1).all(axis=1)
    return found


def check_splits(
    config: DatasetConfig, stored: Mapping[str, NDArray[np.int64]], numbers: NDArray[np.int64]
) -> str:
    """Check that the splits are disjoint, complete, and those of the seed.

    Args:
        config: The dataset.
        stored: The rows of each split.
        numbers: The numbers of the instances that there are.
    """
    together = np.sort(np.concatenate(list(stored.values())))
    if not np.array_equal(together, np.arange(len(numbers))):
        raise DataError("the splits share instances or leave some out")
    for name, indices in split_rows(config, numbers).items():
        if not np.array_equal(indices, stored[name]):
            raise DataError(f"split {name} is not the one of seed {config.seed}")
    sizes = ", ".join(f"{name} {len(indices)}" for name, indices in stored.items())
    return f"{sizes}: disjoint, complete, and those of seed {config.seed}"
