# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Numbers as the pages and figures of a report write them."""


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
