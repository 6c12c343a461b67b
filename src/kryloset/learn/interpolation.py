# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Interpolation between the points of a grid, as forms see parameters on the grid."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]


class GridInterpolation:
    """Linear interpolation along each axis, from the points of a grid to others.

    It is that of `FiniteElementFamily.between_points`, which needs the family; this needs NumPy.

    Args:
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
        points: (P, D), where to interpolate. Points beyond the grid are moved to its boundary:
            a node on the boundary may be outside by rounding.
        lengths: Points of the grid along each axis, which leaves out the end of a periodic one.
    """

    def __init__(self, coordinates: Sequence[Array], points: Array, lengths: Sequence[int]) -> None:
        """Find the points of the grid around each point, and their weights."""
        sides = []
        for axis, along, length in zip(coordinates, points.T, lengths, strict=True):
            within = np.clip(along, axis[0], axis[-1])
            low = np.clip(np.searchsorted(axis, within, side="right") - 1, 0, len(axis) - 2)
            share = (within - axis[low]) / (axis[low + 1] - axis[low])
            sides.append(((low, 1 - share), ((low + 1) % length, share)))
        #: For each corner of the cells of the grid, the numbers of its points and their weights.
        self._corners = [
            (tuple(places for places, _ in corner), np.prod([w for _, w in corner], axis=0))
            for corner in product(*sides)
        ]

    def __call__(self, values: Array) -> Array:
        """Return (..., P) for values (..., *grid). A point of weight 0 counts nothing, even NaN."""
        parts = [
            np.where(weights > 0, weights * values[(..., *places)], 0)
            for places, weights in self._corners
        ]
        return np.asarray(np.sum(parts, axis=0))
