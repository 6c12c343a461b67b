# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which datasets a run has made and checked, while their comparisons and reports go on."""

import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Finished:
    """The datasets that are there since a run began.

    Attributes:
        results: The folder of all datasets.
        began: Start of the run, in seconds since the epoch.
    """

    results: Path
    began: float = field(default_factory=time.time)
    _told: set[Path] = field(default_factory=set)

    def lines(self) -> list[str]:
        """Return a line for each dataset that has appeared since the last call."""
        found = []
        for check in sorted(self.results.glob("*/check.json")):
            dataset = check.with_name("dataset.h5")
            if dataset not in self._told and self._new(check) and dataset.exists():
                self._told.add(dataset)
                found.append(f"{dataset.parent.name}: {dataset} is there, and checked")
        return found

    def _new(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime >= self.began
        except FileNotFoundError:  # it has just been removed
            return False
