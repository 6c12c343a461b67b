# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A mean over recent systems, in which older ones count less and less."""


def recent_mean(before: float, value: float, weight: float) -> float:
    """Return the exponentially weighted mean after one more value.

    Args:
        before: The mean so far; 0 before the first value.
        value: The newest value.
        weight: Weight of the newest value, between 0 and 1.
    """
    return value if before == 0.0 else (1 - weight) * before + weight * value
