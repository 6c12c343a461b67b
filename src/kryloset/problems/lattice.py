# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where the points of the grid are along each axis, from the configuration of the mesh.

Points that are not equidistant are places from 0 to 1, the same bit for bit on every processor, so
that random fields there are, too:

| spacing          | the point i of n + 1                                                     |
| ---------------- | ------------------------------------------------------------------------ |
| `chebyshev`      | (1 - cos(π i / n)) / 2, extrema of a Chebyshev polynomial with both ends |
| `walls`, ratio r | (1 + tanh(δ (2 i / n - 1)) / tanh δ) / 2 with cosh² δ = r                 |

The hyperbolic tangent is the usual stretching for boundary layers (Vinokur, J. Comput. Phys. 50,
1983). Its derivative is r times as large in the middle as at the ends.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kryloset.config import MeshConfig, plain
from kryloset.config.mesh import AxisSpacing
from kryloset.errors import ConfigError
from kryloset.problems.base import Array, Family, cell_axis

if TYPE_CHECKING:
    from kryloset.sampling import Line

NARROWEST = 1e-6
"""Least distance of two points, in parts of the longest side: nodes that are closer count as
one."""

ROUNDING = 1e-3 * NARROWEST
"""Difference of coordinates that are equal but for rounding, in parts of the longest side."""


def lines_of(mesh: MeshConfig, dimension: int) -> "tuple[Line, ...]":
    """Return the points of each axis: their number if they are equidistant, else their places.

    Raises:
        ConfigError: `mesh.spacing` lists other points than `mesh.points` and `mesh.degree` need.
    """
    counts = mesh.points_along(dimension)
    # Asked for with every instance that is drawn.
    if mesh.spacing == "equidistant" and not mesh.periodic:
        return counts
    of_axes = spacings_along(mesh, dimension)
    return tuple(
        _places(spacing, count, mesh.degree)
        if spacing != "equidistant"
        else np.arange(count) / count
        if axis in mesh.periodic
        else count
        for axis, spacing, count in zip("xyz", of_axes, counts, strict=False)
    )


def spacings_along(mesh: MeshConfig, dimension: int) -> tuple[AxisSpacing, ...]:
    """Return the spacing along each axis."""
    spacing = mesh.spacing
    if isinstance(spacing, tuple) and not isinstance(spacing[0], float):
        return spacing
    return (spacing,) * dimension


def spread_over(line: "Line", low: float, high: float) -> Array:
    """Return the coordinates of the points of an axis between two ends."""
    if isinstance(line, int):
        return np.linspace(low, high, line)
    return low + (high - low) * line


def is_equidistant(line: Array) -> bool:
    """Return whether points along an axis are equidistant but for rounding."""
    steps = np.diff(line)
    return bool(np.allclose(steps, steps[0], rtol=1e-6, atol=0))


def midpoints_of(line: "Line", degree: int) -> Array:
    """Return the places of the middles of cells along an axis, from 0 to 1."""
    # A periodic axis has no point at its end.
    vertices = np.unique(np.append(spread_over(line, 0.0, 1.0)[::degree], 1.0))
    return np.asarray((vertices[:-1] + vertices[1:]) / 2)


def vertices_of(family: Family) -> dict[str, Array]:
    """Return the coordinates of the vertices of a family's lattice by axis."""
    degree = family.mesh.degree
    lines = family.coordinates.items()
    return {a: np.unique(np.append(line[::degree], family.end_of(a))) for a, line in lines}


def cell_centres_of(family: Family) -> dict[str, Array]:
    """Return the centres of cells by axis of cells; none if no parameter is in cells."""
    if all(variable.placement == "points" for variable in family.parameters):
        return {}
    return {cell_axis(axis): (x[:-1] + x[1:]) / 2 for axis, x in vertices_of(family).items()}


def cells_at(family: Family, points: Array) -> tuple[NDArray[np.int64], ...]:
    """Return which cell of the lattice contains each point, the lower one between two.

    Args:
        family: The family.
        points: (points, dimension).

    Returns:
        For each axis the numbers of the cells.
    """
    found = []
    for x, along in zip(vertices_of(family).values(), points.T, strict=True):
        # A point that is beyond a vertex by rounding is at that vertex.
        places = np.searchsorted(x, along - ROUNDING * (x[-1] - x[0]))
        found.append(np.clip(places - 1, 0, len(x) - 2))
    return tuple(found)


def check_lattice(mesh: MeshConfig, sides: Sequence[float]) -> None:
    """Refuse points that are too close to each other to be told apart.

    Args:
        mesh: The mesh.
        sides: Lengths of the sides of the box.

    Raises:
        ConfigError: They are too close; or as `lines_of`.
    """
    for line, side in zip(lines_of(mesh, len(sides)), sides, strict=True):
        narrowest = side * float(np.diff(spread_over(line, 0.0, 1.0)).min())
        if narrowest < NARROWEST * max(sides):
            raise ConfigError(
                f"mesh.spacing {plain(mesh.spacing)}: two points are {narrowest:.1e} apart, less "
                f"than {NARROWEST:g} of the longest side, {max(sides):g}: take fewer points or a "
                "milder spacing"
            )


def _places(spacing: AxisSpacing, count: int, degree: int) -> Array:
    """Return the points of an axis, from 0 to 1. Those between vertices are midpoints."""
    # Imported here, since whoever only reads a dataset should not load SciPy.
    from kryloset.sampling import hyperbolic_tangent, logarithm
    from kryloset.sampling.portable import sine_of_fraction

    if isinstance(spacing, tuple):
        return _listed(np.array(spacing, np.float64), count, degree)
    intervals = (count - 1) // degree
    numbers = np.arange(intervals + 1)
    if isinstance(spacing, dict):
        ratio = spacing["walls"]
        # The inverse of cosh² δ = r.
        delta = float(logarithm(np.sqrt(ratio) + np.sqrt(ratio - 1)))
        from_middle = (2 * numbers - intervals) / intervals
        # Exactly odd, and 1 at the ends.
        tangents = hyperbolic_tangent(delta * abs(from_middle)) / hyperbolic_tangent(delta)
        vertices = (1 + np.sign(from_middle) * tangents) / 2
    else:
        vertices = np.square(sine_of_fraction(numbers, 2 * intervals))
    places = np.empty(count)
    places[::degree] = vertices
    if degree == 2:
        places[1::2] = (vertices[:-1] + vertices[1:]) / 2
    return places


def _listed(places: Array, count: int, degree: int) -> Array:
    if len(places) != count:
        raise ConfigError(
            f"mesh.spacing lists {len(places)} points for an axis of {count}: give mesh.points the "
            "same number for that axis"
        )
    if degree == 2 and not np.allclose(places[1::2], (places[:-1:2] + places[2::2]) / 2):
        raise ConfigError(
            "mesh.spacing lists points for mesh.degree 2, of which every second must be the "
            "midpoint of its neighbours"
        )
    return places
