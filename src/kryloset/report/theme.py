# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The style of figures, in files and in pages.

`encode` renders a figure as a file on a white background. `inline` turns an SVG file into an
element of a page whose colours are CSS variables, so that the light and dark themes of the page
apply to its figures.
"""

import html
import io
import re

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

#: Colours of series by CSS variable: the palette of Okabe and Ito, safe for colour-blind readers.
SERIES = {
    "--series-1": "#0072b2",
    "--series-2": "#d55e00",
    "--series-3": "#009e73",
    "--series-4": "#cc79a7",
    "--series-5": "#e69f00",
    "--series-6": "#56b4e9",
}
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = SERIES.values()
#: Text; grid lines; data for comparison; background.
INK, GRID, MUTED, PAPER = "#1b1f24", "#d8dce1", "#7a828c", "#ffffff"
VARIABLES = {**SERIES, "--ink": INK, "--grid": GRID, "--muted": MUTED, "--paper": PAPER}

#: Decorates functions that draw or save a figure.
styled = matplotlib.rc_context(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": GRID,
        "axes.facecolor": PAPER,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=list(SERIES.values())),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "figure.facecolor": PAPER,
        "font.family": "sans-serif",
        "font.size": 9,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "kryloset",
        "text.color": INK,
        "xtick.color": GRID,
        "xtick.labelcolor": INK,
        "ytick.color": GRID,
        "ytick.labelcolor": INK,
    }
)


@styled
def encode(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a `png` or `svg` file, without a date."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    # Maps in a drawing have more pixels than grid points, if these are 64; a viewer scales them.
    dpi = 72 if kind == "svg" else 200
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def inline(svg: bytes, name: str, description: str) -> str:
    """Turn an SVG file from `encode` into an element of a page.

    Args:
        svg: The file.
        name: Prefix of the identifiers in the drawing, unique in the page.
        description: What the figure shows, for screen readers.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    for reference in ('\\bid="', r"url\(#", 'href="#'):
        text = re.sub(reference, lambda found: f"{found[0]}{name}-", text)
    for variable, colour in VARIABLES.items():
        text = re.sub(colour, f"var({variable})", text, flags=re.IGNORECASE)
    label = html.escape(description, quote=True)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
