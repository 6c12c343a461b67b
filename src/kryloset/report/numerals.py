# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Numbers as the pages and figures of a report write them."""

from collections.abc import Sequence
from statistics import mean, stdev


def raise_digits(exponent: int) -> str:
    """Return an exponent as superscript characters, as in ⁻⁹."""
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def scientific(value: float) -> str:
    """Return a number as in 9.97·10⁻⁹."""
    digits, exponent = f"{value:.3g}".partition("e")[::2]
    if not exponent:
        return digits
    power = f"10{raise_digits(int(exponent))}"
    return power if digits == "1" else f"{digits}·{power}"


def spread(values: Sequence[float]) -> str:
    """Return the mean of an error over seeds, and its standard deviation if there are several."""
    told = f"{mean(values):.4f}"
    return told if len(values) == 1 else f"{told} ± {stdev(values):.4f}"
