# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ragged arrays: each instance has its own number of rows.

The rows of all instances follow one another in one array, as in the contiguous ragged arrays of CF
(Conventions 1.11, 9.3.3). The array `<name>_offsets` has the index of the first row of each
instance, and then the number of all rows.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

#: Rows of an HDF5 chunk.
_ROWS = 4096


def offsets_path(path: str) -> str:
    """Return the path of the offsets of a ragged array."""
    return f"{path}_offsets"


def append_rows(
    file: h5py.File, path: str, values: NDArray[Any], **filters: Any
) -> NDArray[np.int64]:
    """Append the rows of the next instance; the first call makes the arrays.

    Args:
        file: The file.
        path: Path of the array.
        values: Shape (rows, ...).
        filters: Options of `h5py.Group.create_dataset` for both arrays.

    Returns:
        The offsets that were appended: the end of the instance, and for the first instance also
        its beginning.
    """
    offsets = offsets_path(path)
    if path not in file:
        for key, dtype, shape in (
            (path, values.dtype, values.shape[1:]),
            (offsets, np.dtype("<i8"), ()),
        ):
            file.create_dataset(
                key, (0, *shape), dtype, maxshape=(None, *shape), chunks=(_ROWS, *shape), **filters
            )
    begin = len(file[path])
    end = begin + len(values)
    first = not len(file[offsets])
    added = np.array([begin, end] if first else [end], dtype="<i8")
    for key, rows in ((path, values), (offsets, added)):
        array = file[key]
        array.resize(len(array) + len(rows), axis=0)
        array[len(array) - len(rows) :] = rows
    return added


def read_rows(file: h5py.File, path: str, index: int) -> NDArray[Any]:
    """Return the rows of one instance, counted from 0."""
    begin, end = file[offsets_path(path)][index : index + 2]
    return np.asarray(file[path][begin:end])
