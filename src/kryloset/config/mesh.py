# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The mesh and the grids of a dataset's configuration."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from kryloset.config.section import Section
from kryloset.errors import ConfigError

#: Points of a grid: the same number along each axis, or a number for each.
type GridPoints = int | tuple[int, ...]

#: Where the points of an axis are: a rule, the rule for refined walls with its ratio, or the points
#: themselves in fractions of the side.
type AxisSpacing = (
    Literal["equidistant", "chebyshev"] | dict[Literal["walls"], float] | tuple[float, ...]
)

_Points = Annotated[int, Field(ge=3, le=65_537)]
_FurtherPoints = Annotated[int, Field(ge=2, le=65_537)]
_Side = Annotated[float, Field(ge=1e-6, le=1e6)]

#: Largest ratio of the widest spacing of an axis to the narrowest.
_STEEPEST = 1000.0


class MeshConfig(Section):
    """The mesh and the grid on which the dataset is stored."""

    points: _Points | tuple[_Points, ...] = Field(
        64,
        description="Grid points per side, including those on the boundary, from 3 to 65,537; or a "
        "list with a number for each axis, such as [129, 65]. If the domain is a square or a box, "
        "the grid points are the degrees of freedom, so every unknown is stored.",
    )
    sides: tuple[_Side, ...] | None = Field(
        None,
        # By default, a dataset has the configuration that it had before this key existed.
        exclude_if=lambda sides: sides is None,
        description="Lengths of the sides of the box, one for each axis, such as [2.0, 1.0]; null "
        "means those of the family, which are 1 for most.",
    )
    spacing: AxisSpacing | tuple[AxisSpacing, ...] = Field(
        "equidistant",
        exclude_if=lambda spacing: spacing == "equidistant",
        description="Where the points along an axis are. equidistant; chebyshev: "
        "Chebyshev-Gauss-Lobatto points, which cluster at both ends; {walls: 10}: refined at both "
        "ends by a hyperbolic tangent, the widest spacing 10 times the narrowest; or the points "
        "themselves as fractions of the side from 0 to 1. A list has one of these for each axis. "
        "The vertices of the mesh are at these points.",
    )
    degree: Literal[1, 2] = Field(
        1,
        description="Polynomial degree of the Lagrange elements; 2 needs odd `points`. The points "
        "between vertices are then midpoints.",
    )
    periodic: tuple[Literal["x", "y", "z"], ...] = Field(
        (),
        exclude_if=lambda axes: not axes,
        description="Axes along which the domain is periodic, such as [x]: the sides across them "
        "are one, and fields and coefficients continue there. The grid leaves out the end of such "
        "an axis, which is its beginning, so that with degree 2 it has an even number of points.",
    )
    dimension: Literal[1, 2, 3] | None = Field(
        None,
        description="Space dimension of a family that offers several; null means its default.",
    )
    grids: tuple[_FurtherPoints | tuple[_FurtherPoints, ...], ...] = Field(
        (),
        description="Points of further grids on which the same instances are stored: a number per "
        "side, or a list with one for each axis. They are equidistant. The finite element "
        "functions are evaluated there exactly.",
    )
    nodal_parameters: bool = Field(
        False,
        exclude_if=lambda chosen: not chosen,
        description="Whether parameters are stored at the nodes of the mesh, too, as the forms see "
        "them, where these are not the points of the grid: for learning on meshes. For families "
        "without time steps.",
    )

    @field_validator("spacing", mode="before")
    @classmethod
    def _spacing_is_known(cls, spacing: Any) -> Any:
        several = isinstance(spacing, list | tuple) and spacing and not _are_fractions(spacing)
        for of_axis in spacing if several else (spacing,):
            if of_axis in ("equidistant", "chebyshev") or _are_fractions(of_axis):
                continue
            ratio = of_axis.get("walls") if isinstance(of_axis, dict) else None
            if not (
                isinstance(ratio, int | float) and 1 < ratio <= _STEEPEST and len(of_axis) == 1
            ):
                raise ValueError(
                    f"{of_axis!r} is no spacing: take equidistant, chebyshev, {{walls: 10}} with a "
                    f"number above 1 and up to {_STEEPEST:g}, or the points as fractions of the "
                    "side that ascend from 0 to 1; or a list with one of these for each axis"
                )
        return spacing

    @model_validator(mode="after")
    def _points_fit_degree(self) -> "MeshConfig":
        if isinstance(self.points, int) and self.periodic:
            # Which axes there are is known to the family.
            return self
        for axis, points in zip("xyz", self.points_along(1), strict=False):
            if (points - (axis not in self.periodic)) % self.degree:
                raise ValueError(
                    f"points {points} does not fit degree {self.degree}: a cell has "
                    f"{self.degree + 1} points per side, so take an odd number, or an even one "
                    f"along a periodic axis, such as {points + 1}"
                )
        return self

    @model_validator(mode="after")
    def _grids_differ(self) -> "MeshConfig":
        grids = [points_of(g) if isinstance(g, tuple) else g for g in (*self.grids, self.points)]
        spacings = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
        if any(spacing != "equidistant" for spacing in spacings):
            grids.pop()  # The further grids are equidistant, and that of `points` is not.
        if len(set(grids)) < len(grids):
            raise ValueError(
                f"grids {plain(self.grids)} repeats a grid, or names that of points "
                f"{plain(self.points)}: list each further grid once"
            )
        return self

    def find_grid(self, points: GridPoints) -> GridPoints | None:
        """Return a further grid as `grids` has it, by its points, or None for that of `points`.

        A grid of [33, 33] points is one of 33.

        Raises:
            ConfigError: There is no such grid.
        """

        def plainly(of: GridPoints) -> GridPoints:
            return points_of(of) if isinstance(of, tuple) else of

        for further in self.grids:
            if plainly(further) == plainly(points):
                return further
        if plainly(self.points) == plainly(points):
            return None
        there = f"it has {plain(self.grids)}" if self.grids else "it is empty"
        raise ConfigError(f"{plain(points)} is not in mesh.grids: {there}")

    def points_along(self, dimension: int) -> tuple[int, ...]:
        """Return the number of points along each axis."""
        return (self.points,) * dimension if isinstance(self.points, int) else self.points


def _are_fractions(given: Any) -> bool:
    """Return whether these are points in fractions of a side."""
    numbers = isinstance(given, list | tuple) and all(isinstance(x, int | float) for x in given)
    if not numbers or len(given) < 3:
        return False
    return given[0] == 0 and given[-1] == 1 and all(a < b for a, b in pairwise(given))


def plain(points: Any) -> Any:
    """Return points as a configuration has them, with lists for tuples."""
    return [plain(one) for one in points] if isinstance(points, tuple) else points


def points_of(shape: tuple[int, ...]) -> GridPoints:
    """Return the points of a grid as a configuration has them: a number if all axes have it."""
    return shape[0] if len(set(shape)) == 1 else shape


def name_points(points: GridPoints) -> str:
    """Return the name of a grid by its points, such as `33` or `129x65`."""
    return str(points) if isinstance(points, int) else "x".join(map(str, points))


def parse_points(text: str) -> GridPoints:
    """Return the points from what `name_points` returned.

    Raises:
        ConfigError: They are not whole numbers.
    """
    try:
        first, *others = map(int, text.split("x"))
    except ValueError:
        raise ConfigError(
            f"points {text!r} are not whole numbers: write one, or one for each axis as in 129x65"
        ) from None
    return (first, *others) if others else first


def count_points(points: GridPoints) -> str:
    """Return the points of a grid in words."""
    if isinstance(points, int):
        return f"{points} points a side"
    return f"{' x '.join(map(str, points))} points"
