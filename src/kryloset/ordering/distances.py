# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Squared distances of one vector from many, compiled at first use if there is a C compiler.

They have the same bits on every processor, and so does an order made by comparing them. A small
set is sorted by them in less time than SciPy's distances take to load.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.compiler import Functions, open_functions

type Array = NDArray[np.float64]

#: Sums beside one another, each of every so many squares, as in distances.c.
WIDTH = 16

_DECLARATIONS = "void kryloset_squared_distances(int64_t, int64_t, void *, void *, void *);"


@cache
def _compiled() -> Functions | None:
    source = Path(__file__).with_suffix(".c")
    return open_functions(source, _DECLARATIONS, "distances are computed by NumPy")


def squared_distances(point: Array, points: Array) -> Array:
    """Return the squares of the Euclidean distances, shape (n,).

    Args:
        point: Shape (d,).
        points: Shape (n, d).
    """
    compiled = _compiled()
    if compiled is None:
        return squared_distances_by_numpy(point, points)
    point, points = (np.ascontiguousarray(array, dtype=np.float64) for array in (point, points))
    squares = np.empty(len(points))
    library, buffer = compiled
    library.kryloset_squared_distances(
        *points.shape, buffer(point), buffer(points), buffer(squares)
    )
    return squares


def squared_distances_by_numpy(point: Array, points: Array) -> Array:
    """Return the same bits as `squared_distances`, without a compiled function."""
    count, length = points.shape
    sums = np.zeros((count, WIDTH))
    with np.errstate(over="ignore"):
        for begin in range(0, length, WIDTH):
            differences = point[begin : begin + WIDTH] - points[:, begin : begin + WIDTH]
            sums[:, : differences.shape[1]] += differences * differences
        squares = np.zeros(count)
        for lane in sums.T:
            squares += lane
    return squares
