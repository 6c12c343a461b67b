# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Values on one grid from those on another, along each axis after the other.

The operations are NumPy's elementwise ones, so that every processor gives the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError

#: Distance from a point, relative to that between neighbours, below which it is the point.
_SAME = 1e-6


@dataclass(frozen=True)
class Places:
    """Where the points of a line are between those of another.

    Attributes:
        lower: For each point the number of the neighbour below it.
        weight: The weight of the neighbour above it, in [0, 1].
    """

    lower: NDArray[np.int64]
    weight: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        axis: str,
        wanted: NDArray[np.float64],
        there: NDArray[np.float64],
        kind: Literal["linear", "nearest"],
        period: float | None = None,
    ) -> "Places":
        """Find the points.

        Args:
            axis: Name of the axis, for messages.
            wanted: Coordinates at which values are wanted, ascending.
            there: Coordinates at which there are values, ascending.
            kind: How values between neighbours are made.
            period: Length of the axis if it is periodic; None if it is not.

        Raises:
            DataError: A wanted point is farther than a cell from all that are there.
        """
        if len(there) < 2:
            raise DataError(f"it has one point along {axis}: two are needed to interpolate")
        if not (np.diff(there) > 0).all():
            raise DataError(f"its coordinates along {axis} do not ascend")
        if period is not None:
            wanted, there = _unroll(axis, wanted, there, period)
        lower = np.clip(np.searchsorted(there, wanted, side="right") - 1, 0, len(there) - 2)
        weight = (wanted - there[lower]) / (there[lower + 1] - there[lower])
        if weight.min() < -1 - _SAME or weight.max() > 2 + _SAME:
            raise DataError(
                f"its points along {axis} are in [{there[0]:g}, {there[-1]:g}], and those of the "
                f"grid in [{wanted[0]:g}, {wanted[-1]:g}]: give values on the whole grid"
            )
        # The value of the last point goes on to the boundary, where points are centres of cells.
        near = np.round(weight)
        exact = (np.abs(weight - near) < _SAME) | (kind == "nearest")
        return cls(lower, np.clip(np.where(exact, near, weight), 0.0, 1.0))


def _unroll(
    axis: str, wanted: NDArray[np.float64], there: NDArray[np.float64], period: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points of a periodic axis within the period that begins with the first one there.

    The first point comes again at the end of what is there, if it is not there yet.
    """
    gap = there[0] + period - there[-1]
    if gap > 2 * np.diff(there).max():
        raise DataError(
            f"its points along {axis} are in [{there[0]:g}, {there[-1]:g}], and those of the grid "
            f"go once around a period of {period:g}: give values on the whole grid"
        )
    if gap > _SAME * period:
        there = np.append(there, there[0] + period)
    return there[0] + (wanted - there[0]) % period, there


def resample(values: NDArray[Any], along: Mapping[int, Places]) -> NDArray[np.float64]:
    """Return values at other points.

    Args:
        values: The values.
        along: The places of these points, by the number of the axis.
    """
    found = np.asarray(values, np.float64)
    for axis, places in along.items():
        weight = places.weight.reshape(-1, *[1] * (found.ndim - 1 - axis))
        # Above the last point of a periodic axis is the first.
        below, above = (found.take(places.lower + step, axis, mode="wrap") for step in (0, 1))
        found = below * (1 - weight) + above * weight
    return found
