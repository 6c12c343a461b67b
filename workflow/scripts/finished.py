# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which datasets a run has made and checked, while their comparisons and reports go on."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Finished:
    """The datasets that are there since a run began.

    Attributes:
        results: The folder of all datasets.
    """

    results: Path
    _seen: dict[Path, int] = field(init=False)

    def __post_init__(self) -> None:
        """Remember the checks of earlier runs."""
        self._seen = self._checks()

    def lines(self) -> list[str]:
        """Return a line for each dataset that has appeared since the last call."""
        checks, seen = self._checks(), self._seen
        self._seen = checks
        datasets = [
            check.with_name("dataset.h5")
            for check, written in sorted(checks.items())
            if seen.get(check) != written
        ]
        return [f"{dataset.parent.name}: {dataset} is there, and checked" for dataset in datasets]

    def _checks(self) -> dict[Path, int]:
        """Return when each check was written.

        That is compared only with itself: the clock of a file system is not that of a process.
        """
        found = {}
        for check in self.results.glob("*/check.json"):
            with suppress(FileNotFoundError):  # it has just been removed
                if check.with_name("dataset.h5").exists():
                    found[check] = check.stat().st_mtime_ns
        return found
