# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Making a dataset by one method, an instance at a time: what is timed, and what is written."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.bench.instances import Account, Sequential
from kryloset.dataset.journal import Journal
from kryloset.errors import KrylosetError
from kryloset.problems import Discretisation, Family, Instance
from kryloset.run import chunk as chunks
from kryloset.run import files

SAVE_EVERY = 1.0
"""Seconds from one saved state of the solver to the next."""

PARTS = ("assembly", "setup", "iterate", "write", "sort")


class Rows:
    """An HDF5 file with an array a field, filled a row at a time as one does by hand."""

    def __init__(self, path: Path, count: int) -> None:
        """Open the file for that many instances."""
        self._file = h5py.File(path, "w")
        self._count = count

    def write(self, row: int, fields: Instance, solve: Sequential) -> None:
        """Write the fields of an instance."""
        for name, values in fields.items():
            if row == 0:
                self._file.create_dataset(name, (self._count, *values.shape), values.dtype)
            self._file[name][row] = values

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class Chunk:
    """What the stage `solve` writes: a journal, the solver's state, and in the end one file."""

    def __init__(self, folder: Path, family: Family) -> None:
        """Open the journal."""
        self._family, self._folder = family, folder
        self._journal = Journal(folder / "journal", "bench")
        self._saved = time.monotonic()

    def write(self, row: int, fields: Instance, solve: Sequential) -> None:
        """Append an instance to the journal; each second save the solver's state beside it."""
        record: dict[str, NDArray[Any]] = {files.INSTANCE: np.asarray(row)}
        record |= {files.field(name): np.asarray(values) for name, values in fields.items()}
        account = vars(solve.account).items()
        record |= {files.solver(name): np.asarray(value) for name, value in account}
        self._journal.append(record)
        if time.monotonic() - self._saved > SAVE_EVERY:
            solve.state.save(self._folder / "state.npz")
            self._saved = time.monotonic()

    def finish(self) -> None:
        """Copy the journal to the chunk's file."""
        instances = np.arange(len(self._journal))
        chunk = chunks.Chunk("1-of-1", instances, self._folder / "chunk.h5")
        chunks.write_chunk(chunk, self._journal, self._family, {})
        self._journal.discard()


@dataclass
class Maker:
    """A method that makes a dataset of a family.

    Attributes:
        key: `a` to `f`.
        label: What people call it.
        discretisation: Assembles its systems.
        order: Numbers of the instances as it meets them.
        solve: Solves its systems.
        output: Takes its solutions.
        sort: Seconds of the sort, an instance.
        build: Seconds for the discretisation.
        made: One for each instance.
        note: Why there are fewer than there might be.
        running: Whether it goes on.
    """

    key: str
    label: str
    discretisation: Discretisation
    order: Sequence[int]
    solve: Sequential
    output: Rows | Chunk
    sort: float = 0.0
    build: float = 0.0
    made: list[Account] = field(default_factory=list)
    note: str = ""
    running: bool = True

    @property
    def median(self) -> float:
        """Median of the seconds an instance, infinite before the first."""
        return self.sort + median(one.seconds for one in self.made) if self.made else math.inf

    @property
    def mean(self) -> float:
        """Their mean: first set-ups and trials count."""
        return self.sort + fmean(one.seconds for one in self.made) if self.made else math.inf

    def mean_of(self, key: str) -> float | None:
        """Return the mean of a quantity, None where nothing was made."""
        return fmean(getattr(one, key) for one in self.made) if self.made else None

    def make(self, instance: Instance, check: Discretisation, limit: float) -> None:
        """Solve one more instance, write it, and check it.

        Args:
            instance: Its parameters.
            check: Computes the residual, from an assembly of its own.
            limit: Seconds after which it is not waited for.
        """
        account = self.solve.account = Account(deadline=time.process_time() + limit)
        start = time.process_time()
        try:
            solution = self.discretisation.solve(instance, self.solve)
        except KrylosetError as error:
            self._stop(str(error).splitlines()[0])
            return
        solved = time.process_time()
        self.output.write(len(self.made), solution, self.solve)
        account.write = time.process_time() - solved
        account.assembly = solved - start - account.setup - account.iterate
        account.true_residual = check.residual(instance, solution)
        # Not "above", so that one that is no number is found too.
        if not account.true_residual <= self.solve.tolerance:
            self._stop(f"its residual is {account.true_residual:.1e}")
            return
        self.made.append(account)

    def finish(self) -> None:
        """Close its output, whose cost is shared by the instances."""
        start = time.process_time()
        self.output.finish()
        if self.made:
            share = (time.process_time() - start) / len(self.made)
            for account in self.made:
                account.write += share

    def _stop(self, why: str) -> None:
        self.running = False
        self.note = f"fails: {why}" if not self.made else f"stopped: {why}"
