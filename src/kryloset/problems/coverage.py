# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A grid and a mesh that do not cover each other: which points of the grid lie in the domain.

At a point outside, a field has no value: it is NaN there, which nobody takes for a number. A
parameter on the grid is drawn on the whole box of the grid, and known nowhere else.
"""

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import FamilyError
from kryloset.problems.base import Array, Family, Variable
from kryloset.problems.mistakes import describe_class

SAME = 1e-9
"""Part of the grid's extent by which a node of the mesh may miss the grid by rounding."""

INSIDE = Variable("inside", "whether a point lies in the domain")
"""The mask, as a discretisation returns it and the file has it: 1 inside, 0 outside. No
variable of a family has its name."""

type Mask = NDArray[np.bool_]


def require_any(family: Family, inside: Mask, points: Array, nodes: Array) -> None:
    """Refuse a mesh that leaves out every point of a grid.

    Args:
        family: The family.
        inside: (points,): Which of them are in the mesh.
        points: (points, dimension): Those of the grid.
        nodes: (nodes, dimension): Those of the mesh.

    Raises:
        FamilyError: It does.
    """
    if not inside.any():
        raise FamilyError(
            f"{describe_class(family)}: no point of the grid, {_box(points)}, lies in the mesh, "
            f"{_box(nodes)}: give both in the same unit of length, and the grid a box around the "
            "mesh (`coordinates`)"
        )


def require_within(family: Family, nodes: Array) -> None:
    """Refuse a mesh with nodes beyond the grid, where parameters on the grid have no values.

    Args:
        family: The family, whose grid it is.
        nodes: (nodes, dimension): Those of the mesh.

    Raises:
        FamilyError: A node is further outside than by rounding.
    """
    box = np.array([[line[0], line[-1]] for line in family.coordinates.values()]).T
    rounding = SAME * np.ptp(box, axis=0).max()
    if (nodes < box[0] - rounding).any() or (nodes > box[1] + rounding).any():
        raise FamilyError(
            f"{describe_class(family)}: the mesh, {_box(nodes)}, reaches beyond the grid, "
            f"{_box(box)}, where parameters on the grid have no values: give both in the same unit "
            "of length, and the grid a box around the mesh (`coordinates`)"
        )


def select(values: Array, inside: Mask, rank: int = 0) -> Array:
    """Return the values at the points inside.

    Args:
        values: ([time,] *grid[, component]).
        inside: (*grid).
        rank: 1 for a vector, which has components; 0 for a scalar.

    Returns:
        ([time,] points[, component]).
    """
    times = values.ndim - inside.ndim - rank
    return np.asarray(values[(slice(None),) * times + (inside,)])


def blank(values: Array, inside: Mask, rank: int = 0) -> Array:
    """Return the values with NaN at the points outside; arguments as of `select`."""
    blanked = np.array(values, np.float64)
    times = values.ndim - inside.ndim - rank
    blanked[(slice(None),) * times + (~inside,)] = np.nan
    return blanked


def respects(values: Array, inside: Mask, rank: int = 0) -> bool:
    """Return whether a field is finite inside and NaN outside; arguments as of `select`."""
    within = np.isfinite(select(values, inside, rank)).all()
    return bool(within and np.isnan(select(values, ~inside, rank)).all())


def _box(points: Array) -> str:
    """Return the smallest box around points in words."""
    size = SAME * np.ptp(points, axis=0).max()
    ends = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
    ends = np.where(np.abs(ends) < size, 0.0, ends)
    return " x ".join(f"[{low:.6g}, {high:.6g}]" for low, high in ends)
