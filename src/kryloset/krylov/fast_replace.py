# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A quick replacement for `dataclasses.replace`."""

from typing import Any


def fast_replace[T](value: T, **changes: Any) -> T:
    """Return a copy of a frozen dataclass with some fields changed.

    It takes a tenth of the time of `dataclasses.replace`, since it copies all fields at once and
    checks nothing. It is for dataclasses without `__post_init__`, in code that runs several times
    a system.
    """
    evolved = object.__new__(type(value))
    evolved.__dict__.update(value.__dict__, **changes)
    return evolved
