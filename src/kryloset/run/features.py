# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The vectors by which instances are compared when they are sorted, made a block at a time."""

import logging
from collections.abc import Sequence
from itertools import batched

import numpy as np
from numpy.typing import NDArray

from kryloset.config import count_points
from kryloset.errors import DataError, FamilyError
from kryloset.ordering.features import NUMBERS, REDUCTIONS, principal_axes
from kryloset.problems import Family, Instance
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.run.draw import Instances, Reduction, block_length, draw_first

logger = logging.getLogger(__name__)

type Array = NDArray[np.float64]

NOTHING = "none"
"""The kind of features of instances that are not compared: vectors without numbers."""

PRINCIPAL_SAMPLE = 1024
"""Number of instances from which principal axes are computed."""


def choose_reduction(kind: str, family: Family, given: Instances, count: int) -> Reduction:
    """Return the function that makes the features of a block of instances.

    Args:
        kind: A value of the key `features` of the configuration, except `auto`; or `NOTHING`.
        family: The family.
        given: The instances, of which principal axes need some in advance.
        count: Number of instances.

    Returns:
        A function of numbers and instances. For `parameters` it returns the family's `features`,
        for `solutions` the lowest 144 cosine modes of each field of the solution on a coarse grid,
        otherwise the reduced parameters one after the other.

    Raises:
        ConfigError: `kind` is `solutions`, and the family has no coarse grid.
    """
    if kind == NOTHING:
        return lambda numbers, instances: np.empty((len(instances), 0))
    if kind == "solutions":
        return _by_solutions(family)
    axes: list[Array] = []
    if kind == "principal":
        # The sample is spread evenly.
        sample = np.unique(np.linspace(0, count - 1, min(count, PRINCIPAL_SAMPLE)).astype(int))
        found = {n: one for n in sample.tolist() for one in given.instances([n])}
        parts = read_parts(family, [*found], [*found.values()])
        axes = [principal_axes(_flat(part)) for part in parts]

    def reduce(numbers: Sequence[int], instances: Sequence[Instance]) -> Array:
        parts = read_parts(family, numbers, instances)
        return np.concatenate([part_of(place, part) for place, part in enumerate(parts)], axis=1)

    def part_of(place: int, part: Array) -> Array:
        if kind == "parameters" or part[0].size == 1:
            return _flat(part)
        return _flat(part) @ axes[place] if axes else REDUCTIONS[kind](part, NUMBERS)

    return reduce


def make_features(family: Family, given: Instances, count: int, kind: str) -> Array:
    """Return the features of instances, a block at a time.

    Args:
        family: The family.
        given: The instances.
        count: Their number.
        kind: As of `choose_reduction`.

    Returns:
        A vector for each instance, shape (count, d).

    Raises:
        ConfigError: As `choose_reduction`.
        DataError: An instance cannot be solved on the coarse grid.
    """
    reduce = choose_reduction(kind, family, given, count)
    blocks = batched(range(count), block_length(draw_first(given, range(count))))
    return np.concatenate([reduce(block, given.instances(block)) for block in blocks])


def _by_solutions(family: Family) -> Reduction:
    # Imported here, since other features do not need DOLFINx.
    from kryloset.fem.coarse_grid import CoarseGrid

    grid = CoarseGrid(family)
    logger.info("solving on %s", count_points(grid.points))

    def reduce(numbers: Sequence[int], instances: Sequence[Instance]) -> Array:
        rows = []
        for number, instance in zip(numbers, instances, strict=True):
            try:
                fields = grid.solve(instance)
            except DataError as error:
                raise DataError(f"instance {number}: {error}") from error
            row = [REDUCTIONS["cosines"](u[None], NUMBERS)[0] for u in fields]
            rows.append(np.concatenate(row))
        return np.stack(rows)

    return reduce


def read_parts(
    family: Family, numbers: Sequence[int], instances: Sequence[Instance]
) -> list[Array]:
    """Return the parameters by which to compare instances, each of shape (instances, ...).

    A family's own features count as one parameter.

    Raises:
        FamilyError: The family's own features have a mistake.
    """
    if type(family).features is not Family.features:
        own = [_own_features(family, *pair) for pair in zip(numbers, instances, strict=True)]
        if len({len(vector) for vector in own}) > 1:
            raise FamilyError(
                f"{describe_class(family)}, features: vectors of instances {numbers[0]} to "
                f"{numbers[-1]} have several lengths: return the same number of features each time"
            )
        return [np.stack(own)]
    compared = [variable.name for variable in family.parameters if variable.compared]
    return [np.stack([instance[name] for instance in instances]) for name in compared]


def _own_features(family: Family, number: int, instance: Instance) -> Array:
    """Return the features of an instance from a family's own method."""
    with blamed(family, "features", doing=f"instance {number}"):
        vector = np.asarray(family.features(instance))
    if vector.ndim != 1 or vector.dtype.kind not in "biuf" or not np.isfinite(vector).all():
        raise FamilyError(
            f"{describe_class(family)}, features, instance {number}: a {vector.dtype} array of "
            f"shape {vector.shape} is not a vector of finite numbers"
        )
    return vector.astype(np.float64)


def _flat(part: Array) -> Array:
    return part.reshape(len(part), -1)
