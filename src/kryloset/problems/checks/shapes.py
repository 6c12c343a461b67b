# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Comparison of the shapes of arrays with those that variables have."""

from collections.abc import Mapping

from kryloset.problems.base import Array, Variable


def fits(shape: tuple[int, ...], lengths: tuple[int | None, ...]) -> bool:
    """Return whether a shape has these lengths; None stands for any length."""
    return len(shape) == len(lengths) and all(
        wanted in (None, found) for wanted, found in zip(lengths, shape, strict=True)
    )


def format_shape(lengths: tuple[int | None, ...]) -> str:
    """Return a shape in words, such as "(3, any)"."""
    comma = "," if len(lengths) == 1 else ""
    return f"({', '.join('any' if n is None else str(n) for n in lengths)}{comma})"


def differing_axis(
    shapes: Mapping[Variable, tuple[int, ...]], coordinates: Mapping[str, Array]
) -> str | None:
    """Return an axis that variables share with different lengths; None if there is no such axis.

    Args:
        shapes: Shape of the array of one instance, by variable.
        coordinates: The grid, whose axes are left out.
    """
    lengths: dict[str, int] = {}
    for variable, shape in shapes.items():
        # The first axis of a ragged variable may have any length.
        for axis, length in list(zip(variable.axes, shape, strict=False))[variable.ragged :]:
            if axis not in coordinates and lengths.setdefault(axis, length) != length:
                return axis
    return None
