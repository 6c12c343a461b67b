# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The figures of the report, drawn from plain arrays."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from kryloset.problems.lattice import is_equidistant
from kryloset.report.numerals import raise_digits
from kryloset.report.theme import BLUE, INK, MUTED, SERIES, VERMILION, styled

type Array = NDArray[np.float64]

#: Characters in a line of a row's label; longer lines overlap the label of the next row.
WIDTH = 22

#: Inches of a character along its line, and of a line, at 9 points.
CHARACTER, LINE = 0.075, 0.16

#: Inches right of bars, for half of the last tick's number and the end of a long bar's number.
BESIDE = 0.45

#: From the beginning of a map to that of the next, in its lengths.
GAP = 1.06

#: Points of a curve above which it is an image: as shapes they would be megabytes of a page.
MANY = 1000

#: Perceptually uniform colour maps, for parameters and for solutions.
COLOUR_MAPS = ("viridis", "magma")


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
    """

    label: str
    values: Array
    computed: bool
    logarithmic: bool = False
    vertices: tuple[Array, ...] = ()


@styled
def samples(
    rows: Sequence[Pictures], instances: Sequence[int], coordinates: Mapping[str, Array]
) -> Figure:
    """Draw functions of a few instances: one column per instance, one row per quantity.

    The pictures of a row share one scale, so that instances can be compared.

    Args:
        rows: The quantities.
        instances: Numbers of the instances.
        coordinates: Points along one axis, for graphs, or two axes, for maps.
    """
    ends = [line[-1] - line[0] for line in coordinates.values()]
    # A wide domain has lower pictures, though not too low for their labels.
    tall = float(np.clip(ends[1] / ends[0], 0.75, 2.0)) if len(ends) == 2 else 1.0
    figure = Figure(figsize=(1.5 * len(instances) + 0.9, 1.6 * tall * len(rows) + 0.3))
    draw = _graphs if len(coordinates) == 1 else _maps
    draw(figure, rows, instances, coordinates)
    return figure


def _leave_room(
    figure: Figure,
    left: float,
    right: float = 0.15,
    bottom: float = 0.45,
    top: float = 0.1,
    between: float = 0.1,
) -> None:
    """Place the axes. To measure their labels for that would take as long as to draw them.

    Args:
        figure: The figure.
        left: Inches from an edge of the figure to the axes.
        right: As left.
        bottom: As left.
        top: As left.
        between: Room between axes, in their mean length.
    """
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height,
        wspace=between, hspace=between,
    )  # fmt: skip


def _lines(rows: Sequence[Pictures]) -> float:
    """Return the inches that the labels of rows take across their lines."""
    return LINE * max(fill(row.label, WIDTH).count("\n") + 1 for row in rows)


def _graphs(
    figure: Figure,
    rows: Sequence[Pictures],
    instances: Sequence[int],
    coordinates: Mapping[str, Array],
) -> None:
    """Draw functions of one variable; `sharey` gives a row one scale."""
    ((name, x),) = coordinates.items()
    grid = figure.subplots(len(rows), len(instances), squeeze=False, sharex=True, sharey="row")
    for row, pictures in zip(grid, rows, strict=True):
        for axis, values in zip(row, pictures.values, strict=True):
            colour = (BLUE, VERMILION)[pictures.computed]
            if pictures.vertices:
                axis.stairs(values, pictures.vertices[0], color=colour, baseline=None)
            else:
                axis.plot(x, values, color=colour)
            axis.set(xlim=(x[0], x[-1]), yscale="log" if pictures.logarithmic else "linear")
            if pictures.logarithmic:
                _name_powers(axis)
        row[0].set_ylabel(fill(pictures.label, WIDTH))
    for axis, instance in zip(grid[0], instances, strict=True):
        axis.set_title(f"instance {instance}", fontsize=9)
    grid[-1, 0].set_xlabel(name)
    _leave_room(figure, 0.5 + _lines(rows), top=0.3, between=0.25)


def _maps(
    figure: Figure,
    rows: Sequence[Pictures],
    instances: Sequence[int],
    coordinates: Mapping[str, Array],
) -> None:
    """Draw functions of two variables: a row shares its axes, which take long to lay out."""
    (across, x), (up, y) = coordinates.items()
    begins = GAP * np.arange(len(instances)) * (x[-1] - x[0])
    for axis, pictures in zip(np.atleast_1d(figure.subplots(len(rows))), rows, strict=True):
        # Points outside the domain are NaN and stay blank.
        low, high = float(np.nanmin(pictures.values)), float(np.nanmax(pictures.values))
        norm = LogNorm(low, high) if pictures.logarithmic else Normalize(low, high)
        colours = {"norm": norm, "cmap": COLOUR_MAPS[pictures.computed]}
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
        thickness = 0.1 / len(instances)
        beside = axis.inset_axes((1 + thickness, 0, thickness, 1))
        bar = figure.colorbar(image, beside, label=fill(pictures.label, WIDTH))
        if pictures.logarithmic:
            _name_powers(bar.ax)
    above: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points", "fontsize": 9}
    for begin, instance in zip(begins, instances, strict=True):
        figure.axes[0].annotate(f"instance {instance}", (x[0] + begin, y[-1]), **above)
    axis.set_ylabel(up)
    axis.set_xlabel(across, x=(x[-1] - x[0]) / (x[-1] + begins[-1] - x[0]) / 2)
    _leave_room(figure, 0.3, 0.8 + _lines(rows), bottom=0.3, top=0.3)


class _Powers(LogFormatter):
    """Powers of ten as plain text: matplotlib's own labels are formulas, which it parses slowly."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick; none if there is no room for it."""
        if not super().__call__(x, pos):
            return ""
        digits, _, exponent = f"{x:.0e}".partition("e")
        power = f"10{raise_digits(int(exponent))}"
        return power if digits == "1" else f"{digits}×{power}"


def _name_powers(axis: Axes) -> None:
    """Label the ticks of a logarithmic vertical axis."""
    axis.yaxis.set_major_formatter(_Powers())
    axis.yaxis.set_minor_formatter(_Powers())


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


@styled
def neighbours(ordered: Array, given: Array) -> Figure:
    """Draw the distances between neighbours in solving order and in the order of drawing."""
    figure = Figure(figsize=(7.2, 2.7))
    along, spread = figure.subplots(1, 2, width_ratios=(2.4, 1))
    # All distances are 0 if the sort cannot tell the instances apart.
    bins = np.linspace(0, max(ordered.max(), given.max()) or 1.0, 25)
    many = len(ordered) > MANY
    for distances, label, colour in (
        (given, "as drawn", VERMILION),
        (ordered, "solving order", BLUE),
    ):
        marks = "-" if many else ".-"
        along.plot(distances, marks, lw=0.8, ms=4, color=colour, label=label, rasterized=many)
        spread.hist(distances, bins, color=colour, alpha=0.55, orientation="horizontal")
    along.set(xlabel="step along the order", ylabel="distance to the next instance", ylim=(0, None))
    _legend(along)
    spread.set(xlabel="number of steps", ylim=along.get_ylim())
    spread.tick_params(labelleft=False)
    _leave_room(figure, 0.6, top=0.35)
    return figure


@styled
def iterations(
    counts: NDArray[np.int64], helped: NDArray[np.bool_], bounds: NDArray[np.int64]
) -> Figure:
    """Draw the iterations of each instance in solving order.

    Args:
        counts: Iterations in solving order, shape (instance,).
        helped: Whether the instance reused the subspace of its predecessor, shape (instance,).
        bounds: Positions where chunks begin and end, shape (chunks + 1,).
    """
    figure = Figure(figsize=(7.2, 2.6))
    axis = figure.subplots()
    for start in bounds[1:-1]:
        axis.axvline(start - 0.5, color=MUTED, lw=0.8, ls=":")
    place, many = np.arange(len(counts)), len(counts) > MANY
    for chosen, mark, colour, label in (
        (helped, ".", BLUE, "with its predecessor's subspace"),
        (~helped, "s", VERMILION, "without a predecessor"),
    ):
        if chosen.any():
            look: dict[str, Any] = {"ms": 5, "color": colour, "label": label, "rasterized": many}
            axis.plot(place[chosen], counts[chosen], mark, **look)
    axis.set(
        xlabel="position in the solving order",
        ylabel="iterations",
        ylim=(0, 1.08 * int(counts.max(initial=1))),
    )
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axis)
    _leave_room(figure, 0.6, top=0.35)
    return figure


@styled
def refinement(distances: Mapping[str, Array], tolerance: float) -> Figure:
    """Draw the distances of some instances to their solutions on a refined mesh, smallest first.

    Args:
        distances: By field, shape (instances,).
        tolerance: That of the residuals, which is a line.
    """
    figure = Figure(figsize=(7.2, 2.4))
    axis = figure.subplots()
    for (name, values), colour in zip(distances.items(), SERIES.values(), strict=False):
        axis.plot(np.arange(1, len(values) + 1), np.sort(values), ".-", color=colour, label=name)
    axis.axhline(tolerance, color=MUTED, lw=0.8, ls=":", label="tolerance of the residual")
    axis.set(xlabel="instance, by its distance", ylabel="relative L2 distance", yscale="log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name_powers(axis)
    _legend(axis)
    _leave_room(figure, 0.6, top=0.35)
    return figure


@styled
def seconds(parts: Mapping[str, float]) -> Figure:
    """Draw the total seconds of each part of the work."""
    figure = Figure(figsize=(7.2, 0.32 * len(parts) + 0.7))
    _bars(figure.subplots(), list(parts), list(parts.values()), "total seconds", [BLUE])
    _leave_room(figure, _longest(parts), right=BESIDE)
    return figure


@styled
def comparison(
    labels: Sequence[str], counts: Sequence[float], times: Sequence[float], own: int
) -> Figure:
    """Draw the median iterations and milliseconds of each method.

    Args:
        labels: The methods.
        counts: Median iterations of each.
        times: Median seconds of each.
        own: Index of the method that made the dataset.
    """
    figure = Figure(figsize=(7.2, 0.36 * len(labels) + 0.8))
    left, right = figure.subplots(1, 2, sharey=True)
    colours = [BLUE if index == own else MUTED for index in range(len(labels))]
    _bars(left, labels, counts, "iterations (median)", colours)
    _bars(right, labels, [1e3 * t for t in times], "milliseconds (median)", colours)
    _leave_room(figure, _longest(labels), right=BESIDE, between=0.2)
    return figure


def _longest(labels: Iterable[str]) -> float:
    """Return the inches that the longest label takes along its line, and some more."""
    return 0.2 + CHARACTER * max(map(len, labels))


def _bars(
    axis: Axes, labels: Sequence[str], values: Sequence[float], label: str, colours: Sequence[str]
) -> None:
    """Draw labelled horizontal bars from top to bottom."""
    bars = axis.barh(range(len(labels)), values, color=colours, height=0.68)
    axis.bar_label(bars, fmt="{:.3g}", padding=3, color=INK)
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel(label)
    axis.margins(x=0.14)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()


def _legend(axis: Axes) -> None:
    """Put the legend above the axes, where it covers no data."""
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


@styled
def training(curves: Mapping[str, Array]) -> Figure:
    """Draw errors over the epochs, on a logarithmic scale."""
    rows = math.ceil(len(curves) / 3)
    figure = Figure(figsize=(7.2, 2.6 + 0.2 * rows))
    axis = figure.subplots()
    styles = product(("-", "--", ":"), SERIES.values())
    for (name, values), (line, colour) in zip(curves.items(), styles, strict=False):
        epochs = np.arange(1, len(values) + 1)
        axis.semilogy(epochs, values, f".{line}", color=colour, label=name)
    axis.set(xlabel="epoch", ylabel="relative L2 error")
    axis.grid(which="both")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axis.get_ylim()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
    _legend(axis)
    _leave_room(figure, 0.6, top=0.15 + 0.2 * rows)
    return figure
