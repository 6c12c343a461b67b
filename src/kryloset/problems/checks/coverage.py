# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Grids that a mesh does not cover, and meshes that extend beyond the grid.

A field has no value at a grid point outside the domain. It is NaN there, which cannot be mistaken
for a value. A parameter on the grid is drawn on the whole box of the grid and is not known
elsewhere.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import FamilyError
from kryloset.problems.base import Array, Family, Variable
from kryloset.problems.checks.mistakes import describe_class

POINT_ROUNDING = 1e-6
"""Fraction of the extent by which points of mesh and grid may differ. It allows for the rounding of
meshes from files with single precision or few digits."""

logger = logging.getLogger(__name__)

INSIDE = Variable("inside", "whether a point lies in the domain")
"""The mask that discretisations return and files store: 1 inside, 0 outside. The name is reserved:
no variable of a family may have it."""

type Mask = NDArray[np.bool_]


def require_seen(family: Family, inside: Mask, nodes: Array) -> None:
    """Refuse a mesh that contains almost no grid points, such as one in another unit of length.

    Args:
        family: The family.
        inside: (*grid), whether each point of the grid is in the mesh.
        nodes: (nodes, dimension), nodes of the mesh.

    Raises:
        FamilyError: Fewer than two points along an axis are in the mesh.
    """
    for number, (axis, line) in enumerate(family.coordinates.items()):
        others = tuple(n for n in range(inside.ndim) if n != number)
        if (seen := int(inside.any(axis=others).sum())) < 2:
            count = "no point" if not inside.any() else f"{seen} of {len(line)} points along {axis}"
            raise FamilyError(
                f"{describe_class(family)}: {count} of the grid, {_box(_corners(family))}, lies in "
                f"the mesh, {_box(nodes)}: {_ADVICE}, or take more points"
            )


def require_within(family: Family, nodes: Array, *, parameters: bool) -> None:
    """Refuse a mesh with nodes beyond the grid if parameters on the grid have no values there.

    Without such parameters only a warning is logged: the stored fields are right but incomplete.

    Args:
        family: The family.
        nodes: (nodes, dimension), nodes of the mesh.
        parameters: Whether there are parameters on the grid.

    Raises:
        FamilyError: A node lies outside the grid by more than rounding.
    """
    box = _corners(family)
    rounding = POINT_ROUNDING * np.ptp(box, axis=0).max()
    outside = (nodes < box[0] - rounding) | (nodes > box[1] + rounding)
    # What is on a periodic axis comes again beyond its end.
    if outside[:, [axis not in family.mesh.periodic for axis in family.coordinates]].any():
        beyond = f"the mesh, {_box(nodes)}, reaches beyond the grid, {_box(box)}"
        if parameters:
            raise FamilyError(
                f"{describe_class(family)}: {beyond}, where parameters on the grid have no "
                f"values: {_ADVICE}"
            )
        logger.warning(
            "%s: %s, and fields are stored only at points of the grid; if this is not intended, %s",
            describe_class(family), beyond, _ADVICE,
        )  # fmt: skip


_ADVICE = "give both in the same unit of length, and the grid a box around the mesh (`coordinates`)"


def select(values: Array, inside: Mask, rank: int = 0) -> Array:
    """Return the values at the points inside the domain.

    Args:
        values: ([time,] *grid[, component]).
        inside: (*grid).
        rank: 1 for a vector, 0 for a scalar.

    Returns:
        ([time,] points[, component]).
    """
    times = values.ndim - inside.ndim - rank
    return np.asarray(values[(slice(None),) * times + (inside,)])


def blank(values: Array, inside: Mask, rank: int = 0) -> Array:
    """Return the values with NaN at points outside the domain; arguments as of `select`."""
    blanked = np.array(values, np.float64)
    times = values.ndim - inside.ndim - rank
    blanked[(slice(None),) * times + (~inside,)] = np.nan
    return blanked


def respects(values: Array, inside: Mask, rank: int = 0) -> bool:
    """Return whether a field is finite inside and NaN outside; arguments as of `select`."""
    within = np.isfinite(select(values, inside, rank)).all()
    return bool(within and np.isnan(select(values, ~inside, rank)).all())


def _corners(family: Family) -> Array:
    """Return the lowest and the highest corner of a grid, (2, dimension)."""
    return np.array([[line[0], line[-1]] for line in family.coordinates.values()]).T


def _box(points: Array) -> str:
    """Return the bounding box of points in words."""
    size = POINT_ROUNDING * np.ptp(points, axis=0).max()
    ends = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
    ends = np.where(np.abs(ends) < size, 0.0, ends)
    return " x ".join(f"[{low:.6g}, {high:.6g}]" for low, high in ends)
