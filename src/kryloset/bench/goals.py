# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Goals, and figures that are measured without PETSc, whose memory some benches must not count."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from kryloset.bench.tables import Columns, Row
from kryloset.errors import KrylosetError


@dataclass(frozen=True)
class Goal:
    """What was promised or published, and what was measured.

    Attributes:
        text: The quantity, for people.
        case: Where it was measured.
        figure: What was measured; None where a method failed or was not there.
        limit: The largest figure that meets the goal.
        at_least: Whether it is the smallest one instead.
        reason: Why the figure misses the goal, where that is known.
    """

    text: str
    case: str
    figure: float | None
    limit: float
    at_least: bool = False
    reason: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure meets the goal."""
        if self.figure is None:
            return False
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def to_row(self) -> Row:
        """Return the goal as a row, ready for JSON."""
        return {"table": "goal", **asdict(self), "met": self.met}


GOAL_COLUMNS: Columns = {
    "goal": "text",
    "case": "case",
    "measured": "figure:.3g",
    "limit": lambda row: f"{'≥' if row['at_least'] else '≤'} {row['limit']:g}",
    "verdict": lambda row: "met" if row["met"] else "missed",
    "why missed": lambda row: "" if row["met"] else row["reason"],
}


def check_names(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        KrylosetError: Names the option, and all that are known.
    """
    for name in names:
        if name not in known:
            raise KrylosetError(f"{option} {name!r} is not known: use one of {', '.join(known)}")


def finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return float(value) if math.isfinite(value) else None


def timed[T](call: Callable[[], T]) -> tuple[T, float]:
    """Return what a call returns, and the seconds of the processor that it takes."""
    began = time.process_time()
    made = call()
    return made, time.process_time() - began


def process_memory(key: str) -> float | None:
    """Return bytes by Linux's /proc/self/status, None on other systems.

    Args:
        key: Such as VmHWM, the most that this process ever had, without what its parent had at its
            start.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return 1024.0 * int(line.split()[1])
    return None
