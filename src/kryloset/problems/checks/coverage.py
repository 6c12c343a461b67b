# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A grid and a mesh that do not cover each other: which points of the grid lie in the domain.

At a point outside, a field has no value: it is NaN there, which nobody takes for a number. A
parameter on the grid is drawn on the whole box of the grid, and known nowhere else.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import FamilyError
from kryloset.problems.base import Array, Family, Variable
from kryloset.problems.checks.mistakes import describe_class

ROUNDING = 1e-6
"""Part of the extent by which points of mesh and grid may miss each other by rounding: that of
meshes from files with numbers of single precision, or of few digits."""

logger = logging.getLogger(__name__)

INSIDE = Variable("inside", "whether a point lies in the domain")
"""The mask, as a discretisation returns it and the file has it: 1 inside, 0 outside. No
variable of a family has its name."""

type Mask = NDArray[np.bool_]


def require_seen(family: Family, inside: Mask, nodes: Array) -> None:
    """Refuse a mesh that a grid hardly sees, such as one in another unit of length.

    Args:
        family: The family, whose grid it is.
        inside: (*grid): Which of its points are in the mesh.
        nodes: (nodes, dimension): Those of the mesh.

    Raises:
        FamilyError: Fewer than two points along an axis are.
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
    """Refuse a mesh with nodes beyond the grid, if parameters on the grid have no values there.

    Without such parameters only a warning is logged, for what is stored is right, but not all.

    Args:
        family: The family, whose grid it is.
        nodes: (nodes, dimension): Those of the mesh.
        parameters: Whether there are such parameters.

    Raises:
        FamilyError: A node is further outside than by rounding.
    """
    box = _corners(family)
    rounding = ROUNDING * np.ptp(box, axis=0).max()
    if (nodes < box[0] - rounding).any() or (nodes > box[1] + rounding).any():
        beyond = f"the mesh, {_box(nodes)}, reaches beyond the grid, {_box(box)}"
        if parameters:
            raise FamilyError(
                f"{describe_class(family)}: {beyond}, where parameters on the grid have no "
                f"values: {_ADVICE}"
            )
        logger.warning(
            "%s: %s, and only what is on the grid is stored of fields; if that is not meant, %s",
            describe_class(family), beyond, _ADVICE,
        )  # fmt: skip


_ADVICE = "give both in the same unit of length, and the grid a box around the mesh (`coordinates`)"


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


def _corners(family: Family) -> Array:
    """Return the lowest and the highest point of a grid, (2, dimension)."""
    return np.array([[line[0], line[-1]] for line in family.coordinates.values()]).T


def _box(points: Array) -> str:
    """Return the smallest box around points in words."""
    size = ROUNDING * np.ptp(points, axis=0).max()
    ends = np.stack([points.min(axis=0), points.max(axis=0)], axis=1)
    ends = np.where(np.abs(ends) < size, 0.0, ends)
    return " x ".join(f"[{low:.6g}, {high:.6g}]" for low, high in ends)
