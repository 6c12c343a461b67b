# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What figures share: room for labels, and ticks of logarithmic scales."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from kryloset.report.numerals import raise_digits


def leave_room(
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


class _Powers(LogFormatter):
    """Powers of ten as plain text: matplotlib's own labels are formulas, which it parses slowly."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick; none if there is no room for it."""
        if not super().__call__(x, pos):
            return ""
        digits, _, exponent = f"{x:.0e}".partition("e")
        power = f"10{raise_digits(int(exponent))}"
        return power if digits == "1" else f"{digits}×{power}"


def name_powers(axis: Axes) -> None:
    """Label the ticks of a logarithmic vertical axis."""
    axis.yaxis.set_major_formatter(_Powers())
    axis.yaxis.set_minor_formatter(_Powers())
