# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Groups of instances as they are stored, read from a dataset or from the file of a chunk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.integrity import digest_instance
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.problems.base import Family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.run.files import on_grid

#: Bytes of a group, or one instance: they stay in a processor's cache.
_BYTES = 2**20


@dataclass(frozen=True)
class Group:
    """Neighbouring instances of a file. Each array has a row for each of them.

    The arrays of a solution have no axis of time if the problem is steady. Ragged arrays, and
    masks of single instances, are read an instance at a time.

    Attributes:
        numbers: Drawn numbers of the instances, (n,).
        parameters: By name.
        digests: The digest of the parameters of each instance.
        solution: Fields and unknowns by name, as `Discretisation.solve` returned them.
        resampled: What `Discretisation.resample` returned, by the points of each further grid.
        inside: Which points of the grid lie in the domain, (*grid), outside of which fields are
            NaN; None if all do.
    """

    numbers: NDArray[np.int64]
    parameters: Mapping[str, NDArray[Any]]
    digests: list[bytes]
    solution: Mapping[str, NDArray[Any]]
    resampled: Mapping[int, Mapping[str, NDArray[Any]]]
    inside: NDArray[np.bool_] | None

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Yield number, parameters and solution of each instance."""
        for place, number in enumerate(self.numbers.tolist()):
            yield number, row_of(self.parameters, place), row_of(self.solution, place)


def row_of(arrays: Mapping[str, NDArray[Any]], place: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of one instance of a group."""
    return {name: rows[place] for name, rows in arrays.items()}


def group_size(family: Family, instance: Mapping[str, NDArray[Any]], *, own_masks: bool) -> int:
    """Return how many instances are read at a time.

    Args:
        family: Their family.
        instance: All arrays of one of them.
        own_masks: Whether each has a mask of its own.
    """
    if own_masks or any(variable.ragged for variable in family.unknowns):
        return 1
    return max(1, _BYTES // sum(values.nbytes for values in instance.values()))


def read_dataset(data: Dataset, family: Family) -> Iterator[Group]:
    """Yield all instances of a dataset, in the drawn order.

    Args:
        data: The dataset, whose description is right.
        family: Its family.

    Raises:
        DataError: An array cannot be read.
    """
    count, own = len(data), data.masked == "own"
    size = group_size(family, data.instance(0) | data.solution(0), own_masks=own)
    solved = [*data.fields, *data.unknowns, *([INSIDE.name] if own else [])]
    grids = {points: data.names_on(points) for points in data.config.mesh.grids}
    for begin in range(0, count, size):
        end = min(begin + size, count)
        with describable(Path(data.file.filename)):
            parameters = {name: data.rows(name, begin, end) for name in data.parameters}
            solution = {name: data.rows(name, begin, end) for name in solved}
            resampled = {
                points: {n: data.rows(on_grid(points, n), begin, end) for n in names}
                for points, names in grids.items()
            }
            yield Group(
                np.arange(begin, end),
                parameters,
                list(map(digest_instance, zip(*parameters.values(), strict=True))),
                solution,
                resampled,
                data.inside(begin),
            )
