# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The progress of solving: one line for all chunks of all datasets, read from the journals."""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import h5py

from kryloset.dataset.journal import count_instances
from kryloset.run.files import BOUNDS


@dataclass
class Solving:
    """The progress of the chunks solved in this run.

    Attributes:
        results: The folder of all datasets.
        began: Start of the run, in seconds since the epoch.
    """

    results: Path
    began: float = field(default_factory=time.time)
    #: Instances solved, and seconds since the epoch, when the first active chunk was seen.
    _first: tuple[int, float] | None = None
    #: The number of instances in the complete records of each journal, and where these end.
    _read: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def line(self) -> str | None:
        """Return the number of instances solved, the rate and the remaining time.

        None if no chunk is being solved.
        """
        done = total = 0
        for dataset in self.results.glob("*/order.h5"):
            if any(dataset.parent.glob("chunks/*.working/journal")):
                solved, all_ = self._count(dataset)
                done, total = done + solved, total + all_
        if not total:
            return None
        now = time.time()
        first, then = self._first = self._first or (done, now)
        if done == first:
            return f"solving: {done:,} of {total:,} instances"
        rate = (done - first) / (now - then)
        return (
            f"solving: {done:,} of {total:,} instances, {rate:.3g} a second, "
            f"{(total - done) / rate:.0f} s left"
        )

    def _count(self, order: Path) -> tuple[int, int]:
        """Return how many instances of a dataset this run has solved, and has to solve."""
        try:
            with h5py.File(order) as file:
                bounds = file[BOUNDS][:].tolist()
        except (OSError, KeyError):  # the file is being replaced
            return 0, 0
        done = total = 0
        chunks = len(bounds) - 1
        for number, (begin, end) in enumerate(pairwise(bounds), start=1):
            chunk = order.parent / f"chunks/{number}-of-{chunks}.h5"
            journal = chunk.with_name(chunk.name + ".working") / "journal"
            try:
                finished = chunk.stat().st_mtime >= self.began
                waiting = False
            except FileNotFoundError:
                finished, waiting = False, True
            solved = self._instances(journal)
            if solved is not None:
                done += min(solved, end - begin)
            elif finished:
                done += end - begin
            if solved is not None or finished or waiting:
                total += end - begin
        return done, total

    def _instances(self, journal: Path) -> int | None:
        """Return the number of instances in a journal; None if there is no journal."""
        known = self._read.get(journal, (0, 0))
        try:
            if journal.stat().st_size < known[1]:  # a new journal
                known = (0, 0)
            more, end = count_instances(journal, known[1])
        except OSError:
            return None
        self._read[journal] = (known[0] + more, end)
        return known[0] + more
