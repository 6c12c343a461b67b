# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Figures of functions side by side: graphs of one variable, maps of two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from kryloset.problems.lattice import is_equidistant
from kryloset.report.drawing import leave_room, name_powers
from kryloset.report.theme import BLUE, MUTED, VERMILION, styled

type Array = NDArray[np.float64]

#: Characters in a line of a row's label; longer lines overlap the label of the next row.
WIDTH = 22

#: Inches of a line of a label, at 9 points.
LINE = 0.16

#: From the beginning of a map to that of the next, in its lengths.
GAP = 1.06

#: Perceptually uniform colour maps, for parameters and for solutions.
COLOUR_MAPS = ("viridis", "magma")
#: That of errors, in which 0 is in the middle.
ERRORS = "RdBu_r"


@dataclass(frozen=True)
class Pictures:
    """One quantity of several instances, shown side by side.

    Attributes:
        label: Long name and unit.
        values: Shape (instance, x) or (instance, x, y), at points or in cells; NaN outside the
            domain.
        computed: Whether it is part of the solution, not a parameter.
        logarithmic: Whether the scale is logarithmic.
        vertices: For values in cells, the vertices along each axis.
        limits: Ends of the scale, which the rows of truth and prediction share; by default those of
            the values.
        error: Whether it is an error: the scale of a map has 0 in its middle.
    """

    label: str
    values: Array
    computed: bool
    logarithmic: bool = False
    vertices: tuple[Array, ...] = ()
    limits: tuple[float, float] | None = None
    error: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """Ends of the scale. Points outside the domain are NaN."""
        if self.limits is not None:
            return self.limits
        if self.error:
            largest = float(np.nanmax(np.abs(self.values)))
            return -largest, largest
        return float(np.nanmin(self.values)), float(np.nanmax(self.values))


@styled
def gallery(
    rows: Sequence[Pictures], titles: Sequence[str], coordinates: Mapping[str, Array]
) -> Figure:
    """Draw functions of a few instances: one column per instance, one row per quantity.

    The pictures of a row share one scale, so that instances can be compared.

    Args:
        rows: The quantities.
        titles: Those of the columns.
        coordinates: Points along one axis, for graphs, or two axes, for maps.
    """
    ends = [line[-1] - line[0] for line in coordinates.values()]
    # A wide domain has lower pictures, though not too low for their labels.
    tall = float(np.clip(ends[1] / ends[0], 0.75, 2.0)) if len(ends) == 2 else 1.0
    figure = Figure(figsize=(1.5 * len(titles) + 0.9, 1.6 * tall * len(rows) + 0.3))
    draw = _graphs if len(coordinates) == 1 else _maps
    draw(figure, rows, titles, coordinates)
    return figure


def _room(rows: Sequence[Pictures]) -> float:
    """Return the inches that the labels of rows take across their lines, and more for errors."""
    lines = max(fill(row.label, WIDTH).count("\n") + 1 for row in rows)
    # These are small numbers, with many digits.
    return LINE * lines + 0.3 * any(row.error for row in rows)


def _graphs(
    figure: Figure,
    rows: Sequence[Pictures],
    titles: Sequence[str],
    coordinates: Mapping[str, Array],
) -> None:
    """Draw functions of one variable; `sharey` gives a row one scale."""
    ((name, x),) = coordinates.items()
    grid = figure.subplots(len(rows), len(titles), squeeze=False, sharex=True, sharey="row")
    for row, pictures in zip(grid, rows, strict=True):
        for axis, values in zip(row, pictures.values, strict=True):
            colour = MUTED if pictures.error else (BLUE, VERMILION)[pictures.computed]
            if pictures.vertices:
                axis.stairs(values, pictures.vertices[0], color=colour, baseline=None)
            else:
                axis.plot(x, values, color=colour)
            axis.set(xlim=(x[0], x[-1]), yscale="log" if pictures.logarithmic else "linear")
            if pictures.logarithmic:
                name_powers(axis)
        if pictures.limits is not None:
            margin = 0.05 * (pictures.limits[1] - pictures.limits[0])
            row[0].set_ylim(pictures.limits[0] - margin, pictures.limits[1] + margin)
        row[0].set_ylabel(fill(pictures.label, WIDTH))
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    grid[-1, 0].set_xlabel(name)
    leave_room(figure, 0.5 + _room(rows), top=0.3, between=0.25)


def _maps(
    figure: Figure,
    rows: Sequence[Pictures],
    titles: Sequence[str],
    coordinates: Mapping[str, Array],
) -> None:
    """Draw functions of two variables: a row shares its axes, which take long to lay out."""
    (across, x), (up, y) = coordinates.items()
    begins = GAP * np.arange(len(titles)) * (x[-1] - x[0])
    for axis, pictures in zip(np.atleast_1d(figure.subplots(len(rows))), rows, strict=True):
        norm = (LogNorm if pictures.logarithmic else Normalize)(*pictures.scale)
        colour_map = ERRORS if pictures.error else COLOUR_MAPS[pictures.computed]
        colours = {"norm": norm, "cmap": colour_map}
        for begin, values in zip(begins, pictures.values, strict=True):
            if pictures.vertices:
                image = _map_cells(axis, begin, pictures.vertices, values.T, colours)
            else:
                image = _map(axis, x + begin, y, values.T, colours)
            size = x[-1] - x[0], y[-1] - y[0]
            image.set_clip_path(Rectangle((x[0] + begin, y[0]), *size, transform=axis.transData))
        axis.set(xlim=(x[0], x[-1] + begins[-1]), ylim=(y[0], y[-1]), xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(False)
        thickness = 0.1 / len(titles)
        beside = axis.inset_axes((1 + thickness, 0, thickness, 1))
        bar = figure.colorbar(image, beside, label=fill(pictures.label, WIDTH))
        if pictures.logarithmic:
            name_powers(bar.ax)
    above: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "fontsize": 9}
    for begin, title in zip(begins, titles, strict=True):
        figure.axes[0].annotate(title, (x[0] + begin, y[-1]), **above)
    axis.set_ylabel(up)
    axis.set_xlabel(across, x=(x[-1] - x[0]) / (x[-1] + begins[-1] - x[0]) / 2)
    leave_room(figure, 0.3, 0.8 + _room(rows), bottom=0.3, top=0.3)


def _map(axis: Axes, x: Array, y: Array, values: Array, colours: Mapping[str, Any]) -> Any:
    """Draw a function of two variables, shape (y, x), at its grid points."""
    if not (is_equidistant(x) and is_equidistant(y)):
        axis.set_aspect("equal")
        return axis.pcolormesh(x, y, values, shading="nearest", rasterized=True, **colours)
    # Values belong to grid points, so pixels reach half a cell beyond the outermost points.
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    extent = (x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy)
    return axis.imshow(values, origin="lower", extent=extent, interpolation="bilinear", **colours)


def _map_cells(
    axis: Axes, begin: float, vertices: Sequence[Array], values: Array, colours: Mapping[str, Any]
) -> Any:
    """Draw values in the cells between vertices, shape (y, x), from an offset along x."""
    axis.set_aspect("equal")
    x, y, *_ = vertices
    return axis.pcolormesh(x + begin, y, values, rasterized=True, **colours)
