# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How far solving is: one line for the chunks of all datasets, from what jobs leave on the disk."""

import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import h5py

from kryloset.dataset.journal import count_records


@dataclass
class Solving:
    """The chunks that are solved from now on.

    Attributes:
        results: The folder of all datasets.
        began: When, in seconds since the epoch.
    """

    results: Path
    began: float = field(default_factory=time.time)
    #: Instances, and seconds since the epoch, when the first chunk was seen at work.
    _first: tuple[int, float] | None = None
    #: By journal: whole records in it, and where they end.
    _read: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def line(self) -> str | None:
        """Return how many instances are solved, how quickly, and what time the rest will take.

        None where no chunk is at work.
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
        """Return how many instances of a dataset are solved, and of how many in this run."""
        try:
            with h5py.File(order) as file:
                bounds = file["bounds"][:].tolist()
        except (OSError, KeyError):  # just being replaced
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
            solved = self._records(journal)
            if solved is not None:
                done += min(solved, end - begin)
            elif finished:
                done += end - begin
            if solved is not None or finished or waiting:
                total += end - begin
        return done, total

    def _records(self, journal: Path) -> int | None:
        """Return the number of instances in a journal; None where there is none."""
        known = self._read.get(journal, (0, 0))
        try:
            if journal.stat().st_size < known[1]:  # another journal
                known = (0, 0)
            more, end = count_records(journal, known[1])
        except OSError:
            return None
        self._read[journal] = (known[0] + more, end)
        # The first record names the work.
        return max(0, known[0] + more - 1)
