# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where instances are in the files of solved chunks, and what these hold of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.encoding import Encoded
from kryloset.dataset.layout import Placement, mask_key, place
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError
from kryloset.problems import Family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.run import files as names


@dataclass(frozen=True)
class Places:
    """Where each instance of the dataset was solved.

    Attributes:
        files: The chunks' files.
        numbers: Numbers of the instances, ascending; the following arrays are in their order.
        file: Index of the instance's file in `files`.
        row: Row in that file.
        chunk: Number of the chunk, counted from 0.
        position: Place in the solving order.
    """

    files: Sequence[StagedFile]
    numbers: NDArray[np.int64]
    file: NDArray[np.int64]
    row: NDArray[np.int64]
    chunk: NDArray[np.int64]
    position: NDArray[np.int64]

    def chunks(self) -> list[int]:
        """Return the number of the chunk that each file holds."""
        return [int(self.chunk[self.file == number][0]) for number in range(len(self.files))]

    def gather(self, path: str) -> NDArray[Any]:
        """Return an array of one number for each row from all chunks, in the drawn order."""
        columns = [file.array(path) for file in self.files]
        gathered = np.empty(len(self.file), dtype=columns[0].dtype)
        for number, column in enumerate(columns):
            mine = self.file == number
            gathered[mine] = column[self.row[mine]]
        return gathered


def read_shared(files: Sequence[StagedFile], group: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a group that all chunks share: the mesh, or its masks.

    Raises:
        DataError: A chunk has different arrays, or none.
    """
    first, *others = (file.arrays(group) for file in files)
    for file, meshes in zip(files[1:], others, strict=True):
        if meshes.keys() != first.keys() or not all(
            np.array_equal(meshes[name], values) for name, values in first.items()
        ):
            raise DataError(
                f"{file.path} was solved on a different mesh than {files[0].path}; solve both "
                "chunks again on the same machine"
            )
    return first


def read_masks(files: Sequence[StagedFile]) -> dict[str, NDArray[np.int8]]:
    """Return the masks that all chunks share, by their keys among an instance's arrays."""
    return {
        mask_key("" if grid == names.OWN_GRID else f"{grid}/"): mask
        for grid, mask in read_shared(files, names.MASK).items()
    }


def _solution_keys(files: Sequence[StagedFile], family: Family, config: DatasetConfig) -> list[str]:
    """Return the keys of all arrays of a solution that every chunk must have."""
    fields = [variable.name for variable in family.fields]
    keys = [*fields, *(variable.name for variable in family.unknowns)]
    if any(INSIDE.name in file.names(names.FIELDS) for file in files):
        keys.append(INSIDE.name)  # Each instance has a domain of its own.
    for points in config.mesh.grids:
        group = names.fields_on_grid(points)
        resampled = {name for file in files for name in file.names(group)}
        keys += [names.on_grid(points, name) for name in sorted(resampled.union(fields))]
    return keys


def read_instances(
    places: Places, family: Family, config: DatasetConfig
) -> Iterator[dict[str, NDArray[Any] | Encoded]]:
    """Yield parameters and solution of each instance, on all grids, in the drawn order.

    Raises:
        DataError: An array is damaged or missing.
    """
    paths = {variable.name: names.parameter(variable.name) for variable in family.parameters}
    paths |= {key: names.field(key) for key in _solution_keys(places.files, family, config)}
    # Numbers, and rows that have another length in each instance, are not moved but read.
    moves = {key: _moves(place(family, key)) for key in paths}
    for index in range(len(places.row)):
        file, row = places.files[places.file[index]], places.row[index]
        try:
            yield {
                key: file.encoded(path, row) if moves[key] else file.row(path, row)
                for key, path in paths.items()
            }
        except DataError as error:
            number = places.numbers[index]
            raise DataError(f"instance {number} cannot be merged: {error}") from None


def _moves(placement: Placement) -> bool:
    """Return whether the rows of an array move from file to file as they are stored."""
    return placement.has_rows and not placement.variable.ragged
