# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Groups of instances as they are stored, read from a dataset or from the file of a chunk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints, plain
from kryloset.dataset.integrity import digest_instance
from kryloset.dataset.layout import narrow, place, points_of_group, widen
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset
from kryloset.dataset.staged import StagedFile
from kryloset.problems.base import Family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.run import files

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
        inside: Which points of a grid lie in the domain, (*grid), outside of which fields are NaN,
            by the points of each further grid, and None for the dataset's own; nothing of a grid
            of which all do.
    """

    numbers: NDArray[np.int64]
    parameters: Mapping[str, NDArray[Any]]
    digests: list[bytes]
    solution: Mapping[str, NDArray[Any]]
    resampled: Mapping[GridPoints, Mapping[str, NDArray[Any]]]
    inside: Mapping[GridPoints | None, NDArray[np.bool_]]

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.numbers)

    def grids(self) -> Iterator[tuple[GridPoints | None, Mapping[str, NDArray[Any]]]]:
        """Yield the points of each further grid with its arrays, after None with all others."""
        yield None, {**self.parameters, **self.solution}
        yield from self.resampled.items()

    def of(self, rows: NDArray[np.int64]) -> "Group":
        """Return some of the instances."""
        if len(rows) == len(self):
            return self
        return Group(
            self.numbers[rows],
            {name: values[rows] for name, values in self.parameters.items()},
            [self.digests[row] for row in rows.tolist()],
            {name: values[rows] for name, values in self.solution.items()},
            {
                points: {name: values[rows] for name, values in arrays.items()}
                for points, arrays in self.resampled.items()
            },
            self.inside,
        )

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Yield number, parameters and solution of each instance."""
        for row, number in enumerate(self.numbers.tolist()):
            yield number, row_of(self.parameters, row), row_of(self.solution, row)


def row_of(arrays: Mapping[str, NDArray[Any]], row: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of one instance of a group."""
    return {name: rows[row] for name, rows in arrays.items()}


def on_grid(points: GridPoints, name: str) -> str:
    """Return what a message calls an array on a further grid."""
    return f"{name} on the grid of {plain(points)} points"


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
    shared = {} if own else {points: data.inside(0, points) for points in (None, *grids)}
    masks = {points: mask for points, mask in shared.items() if mask is not None}
    for begin in range(0, count, size):
        end = min(begin + size, count)
        with describable(data.path):
            parameters = {name: data.rows(name, begin, end) for name in data.parameters}
            solution = {name: data.rows(name, begin, end) for name in solved}
            resampled = {
                points: {n: data.rows(files.on_grid(points, n), begin, end) for n in names}
                for points, names in grids.items()
            }
            precision = data.config.storage.precision
            rows = zip(*parameters.values(), strict=True)
            digests = [digest_instance(narrow(row, precision)) for row in rows]
        inside = masks | _own_masks(solution, resampled)
        numbers = data.numbers[begin:end]
        yield Group(numbers, parameters, digests, solution, resampled, inside)


def read_chunk(file: StagedFile, family: Family, grids: Sequence[GridPoints]) -> Iterator[Group]:
    """Yield all instances of a solved chunk, in solving order.

    Args:
        file: The chunk.
        family: Its family.
        grids: Points of each further grid.

    Raises:
        DataError: An array is missing, damaged or changed.
    """
    own = files.field(INSIDE.name) in file
    shared = read_masks(file)
    variables = [v.name for v in (*family.fields, *family.unknowns)] + own * [INSIDE.name]
    solved = {name: files.field(name) for name in variables}
    drawn = {v.name: files.parameter(v.name) for v in family.parameters}
    resampled = {
        points: {n: files.field(files.on_grid(points, n)) for n in _names_on(file, family, points)}
        for points in grids
    }

    steady = {
        name
        for paths in (drawn, solved, *resampled.values())
        for name in paths
        if family.times is None and "time" in place(family, name).axes
    }

    def read(paths: Mapping[str, str], begin: int, end: int) -> dict[str, NDArray[Any]]:
        found = {name: widen(file.rows(path, begin, end)) for name, path in paths.items()}
        # All solutions are stored with an axis of time.
        return {name: rows[:, 0] if name in steady else rows for name, rows in found.items()}

    numbers = file.array(files.INSTANCE)
    first = read(drawn | solved, 0, 1)
    size = group_size(family, first, own_masks=own)
    for begin in range(0, len(numbers), size):
        end = min(begin + size, len(numbers))
        parameters, solution = read(drawn, begin, end), read(solved, begin, end)
        again = {points: read(paths, begin, end) for points, paths in resampled.items()}
        yield Group(
            numbers[begin:end],
            parameters,
            [_digest(file, drawn, row) for row in range(begin, end)],
            solution,
            again,
            shared | _own_masks(solution, again),
        )


def _own_masks(
    solution: Mapping[str, NDArray[Any]], resampled: Mapping[GridPoints, Mapping[str, NDArray[Any]]]
) -> dict[GridPoints | None, NDArray[np.bool_]]:
    """Return the masks of an instance that has its own, by the points of their grids."""
    grids: list[tuple[GridPoints | None, Mapping[str, NDArray[Any]]]] = [(None, solution)]
    return {
        points: np.asarray(arrays[INSIDE.name][0], np.bool_)
        for points, arrays in [*grids, *resampled.items()]
        if INSIDE.name in arrays
    }


def _digest(file: StagedFile, parameters: Mapping[str, str], row: int) -> bytes:
    """Return the digest of an instance from those of its rows, which were compared when read."""
    return sha256(b"".join(file.row_digest(path, row) for path in parameters.values())).digest()


def read_masks(file: StagedFile) -> dict[GridPoints | None, NDArray[np.bool_]]:
    """Return the masks that the instances of a chunk share, by the points of their grids."""
    return {
        None if name == files.OWN_GRID else points_of_group(name): np.asarray(mask, np.bool_)
        for name, mask in file.arrays(files.MASK).items()
    }


def _names_on(file: StagedFile, family: Family, points: GridPoints) -> list[str]:
    """Return the names of the arrays that each instance of a chunk has on a further grid."""
    fields = (variable.name for variable in family.fields)
    return sorted({*file.names(files.fields_on_grid(points)), *fields})
