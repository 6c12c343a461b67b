# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The figures of the report that show numbers; those of functions are in `gallery`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from kryloset.report.drawing import leave_room, name_powers
from kryloset.report.theme import BLUE, INK, MUTED, SERIES, VERMILION, styled

type Array = NDArray[np.float64]

#: Inches of a character along its line, at 9 points.
CHARACTER = 0.075

#: Inches right of bars, for half of the last tick's number and the end of a long bar's number.
BESIDE = 0.45

#: Points of a curve above which it is an image: as shapes they would be megabytes of a page.
MANY = 1000


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
    leave_room(figure, 0.6, top=0.35)
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
    leave_room(figure, 0.6, top=0.35)
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
    name_powers(axis)
    _legend(axis)
    leave_room(figure, 0.6, top=0.35)
    return figure


@styled
def seconds(parts: Mapping[str, float]) -> Figure:
    """Draw the total seconds of each part of the work."""
    figure = Figure(figsize=(7.2, 0.32 * len(parts) + 0.7))
    _bars(figure.subplots(), list(parts), list(parts.values()), "total seconds", [BLUE])
    leave_room(figure, _longest(parts), right=BESIDE)
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
    leave_room(figure, _longest(labels), right=BESIDE, between=0.2)
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
def training(curves: Mapping[str, Array], turn: str) -> Figure:
    """Draw errors over the epochs, or what else a turn is, on a logarithmic scale."""
    rows = math.ceil(len(curves) / 3)
    figure = Figure(figsize=(7.2, 2.6 + 0.2 * rows))
    axis = figure.subplots()
    styles = product(("-", "--", ":"), SERIES.values())
    for (name, values), (line, colour) in zip(curves.items(), styles, strict=False):
        turns = np.arange(1, len(values) + 1)
        axis.semilogy(turns, values, f".{line}", color=colour, label=name)
    axis.set(xlabel=turn, ylabel="relative L2 error")
    axis.grid(which="both")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axis.get_ylim()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
    _legend(axis)
    leave_room(figure, 0.6, top=0.15 + 0.2 * rows)
    return figure


@styled
def rollout(
    times: Array, errors: Mapping[str, Array], field: str, spectra: Mapping[str, Array]
) -> Figure:
    """Draw errors along trajectories, and the energy of a field by number of waves.

    Args:
        times: Times of the states.
        errors: Relative L2 errors at these times, by predictor.
        field: Name of the field.
        spectra: Its energies, by predictor; those of the truth under `truth`.
    """
    rows = math.ceil((len(errors) + 1) / 3)
    figure = Figure(figsize=(7.2, 2.6 + 0.2 * rows))
    left, right = figure.subplots(1, 2)
    styles = list(product(("-", "--", ":"), SERIES.values()))
    looks = dict(zip(errors, styles, strict=False))
    for name, values in errors.items():
        line, colour = looks[name]
        left.semilogy(times, values, f".{line}", color=colour, label=name)
    for name, values in spectra.items():
        line, colour = looks.get(name, ("-", INK))
        right.semilogy(values, line, color=colour, label=name)
    left.set(xlabel="time", ylabel="relative L2 error")
    right.set(xlabel="waves over the domain", ylabel=f"energy of {field}")
    name_powers(left)
    name_powers(right)
    handles, labels = right.get_legend_handles_labels()
    left.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2
    )
    leave_room(figure, 0.8, top=0.15 + 0.2 * rows, between=0.35)
    return figure
