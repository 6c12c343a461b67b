# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A setting that is a range of numbers."""

from typing import Annotated

from pydantic import AfterValidator


def _require_ascending(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    if not low < high:
        raise ValueError(f"[{low}, {high}] is not a range: its numbers must ascend")
    return ends


#: The ends of a range, the lower one first.
type Range = Annotated[tuple[float, float], AfterValidator(_require_ascending)]
