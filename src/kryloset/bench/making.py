# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Making a dataset by one method, a group at a time: what it takes, and what is written."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import Compression, StorageConfig
from kryloset.dataset.journal import Journal
from kryloset.errors import KrylosetError
from kryloset.krylov import Solver, State
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.problems import Discretisation, Family, Instance
from kryloset.run import chunk as chunks
from kryloset.run import files

SAVE_EVERY = 1.0
"""Seconds from one saved state of the solver to the next."""

PARTS = ("assembly", "setup", "iterate", "write", "sort")


@dataclass
class Account:
    """What it took to solve the systems of one instance or group, in seconds of the processor.

    Attributes:
        deadline: Reading of the processor's clock after which it is not waited for.
        unknowns: Rows of a system.
        systems: Linear systems.
        iterations: Of all of them.
        escalations: Systems that a fallback solved.
        setup: For preconditioners and factors.
        iterate: For the rest of the solves.
        assembly: For assembly, and for gathering the solution.
        write: For writing the solution.
        true_residual: The largest, computed from an assembly of its own.
    """

    deadline: float = math.inf
    unknowns: int = 0
    systems: float = 0
    iterations: float = 0
    escalations: float = 0
    setup: float = 0.0
    iterate: float = 0.0
    assembly: float = 0.0
    write: float = 0.0
    true_residual: float = math.nan

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.assembly + self.setup + self.iterate + self.write

    def share(self, count: int, true_residual: float) -> "Account":
        """Return what it took for each instance of a group, and the residual of one."""
        keys = ("systems", "iterations", "escalations", "setup", "iterate", "assembly", "write")
        parts = {key: getattr(self, key) / count for key in keys}
        return replace(self, true_residual=true_residual, **parts)


class Stopped(KrylosetError):
    """A method failed, or takes too long."""


class Sequential:
    """A `Solve` that hands the state of a solver from system to system.

    Args:
        solver: A `Solver`.
        solve: What to call with the solver, A, b and the state, such as `solve_or_escalate`;
            by default the solver itself, whose failure is then the end.
    """

    def __init__(self, solver: Solver[Any], solve: Callable[..., Any] | None = None) -> None:
        """Begin before the first system."""
        self.solver = solver
        self.state: State = solver.init()
        self.account = Account()
        self._solve = solve

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""
        return self.solver.tolerance

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x.

        Raises:
            Stopped: It takes too long, or the solver fails.
            KrylosetError: No fallback solves the system either.
        """
        account, began = self.account, time.process_time()
        if began > account.deadline:
            raise Stopped(f"given up after {account.systems} systems")
        state = self.state.for_operator(operator)
        if self._solve is not None:
            result, self.state, failed = self._solve(self.solver, operator, rhs, state)
            account.escalations += len(failed)
        else:
            result, self.state = self.solver.solve(operator, rhs, state)
            if not result.converged:
                reason = result.reason.name.lower()
                raise Stopped(
                    f"does not converge after {result.iterations:,} iterations ({reason})"
                )
        seconds = time.process_time() - began
        reported = result.seconds_setup + result.seconds_rebuild + result.seconds_iterate
        # Solvers report wall-clock seconds, of which only the shares are used.
        setup = seconds * result.seconds_setup / reported if reported else 0.0
        ensemble = ensemble_of(operator)
        account.unknowns = operator.getSize()[0] if ensemble is None else ensemble.pattern.rows
        account.systems += len(result.of_each)
        account.iterations += result.iterations
        account.setup += setup
        account.iterate += seconds - setup
        return result.solution


class Rows:
    """An HDF5 file with an array a field, filled a row at a time as one does by hand."""

    def __init__(self, path: Path, count: int) -> None:
        """Open the file for that many instances."""
        self._file, self._count = h5py.File(path, "w"), count

    def write(self, first: int, solutions: Sequence[Instance], solve: Sequential) -> None:
        """Write the fields of instances, one after another."""
        for row, fields in enumerate(solutions, start=first):
            for name, values in fields.items():
                if row == 0:
                    self._file.create_dataset(name, (self._count, *values.shape), values.dtype)
                self._file[name][row] = values

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class Chunk:
    """What the stage `solve` writes: a journal, the solver's state, and in the end one file."""

    def __init__(
        self, folder: Path, family: Family, count: int, compression: Compression = "auto"
    ) -> None:
        """Open the journal for that many instances."""
        self._family, self._folder = family, folder
        self._journal = Journal(folder / "journal", "bench", count)
        self._encoder = chunks.Encoder(
            family, self._journal, StorageConfig(compression=compression)
        )
        self._saved = time.monotonic()

    def write(self, first: int, solutions: Sequence[Instance], solve: Sequential) -> None:
        """Append a group to the journal; each second save the solver's state beside it."""
        count = len(solutions)
        record: dict[str, NDArray[Any]] = {files.INSTANCE: np.arange(first, first + count)}
        for name, value in vars(solve.account).items():
            record[files.solver(name)] = np.full(count, value)
        # Parameters are no part of what methods by hand write.
        rows = self._encoder.rows([{}] * count, solutions, [])
        self._journal.append(record | rows, count)
        if time.monotonic() - self._saved > SAVE_EVERY:
            solve.state.save(self._folder / "state.npz")
            self._saved = time.monotonic()

    def finish(self) -> None:
        """Complete the chunk's file."""
        instances = np.arange(self._journal.instances)
        chunk = chunks.Chunk("1-of-1", instances, self._folder / "chunk.h5")
        chunks.write_chunk(chunk, self._journal, self._family, {})
        self._journal.discard()


@dataclass
class Maker:
    """A method that makes a dataset of a family.

    Attributes:
        key: Its name; the label is what people call it.
        discretisation: Assembles its systems, which `solve` solves.
        order: Numbers of the instances as it meets them.
        output: Takes its solutions.
        sort: Seconds of the sort, an instance.
        group: How many instances it solves at once.
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
    group: int = 1
    made: list[Account] = field(default_factory=list)
    note: str = ""
    running: bool = True

    @property
    def median(self) -> float:
        """Median of the seconds an instance, infinite before the first."""
        return self.sort + median(one.seconds for one in self.made) if self.made else math.inf

    @property
    def median_without_writing(self) -> float:
        """Their median without those for writing."""
        rest = [one.seconds - one.write for one in self.made]
        return self.sort + median(rest) if rest else math.inf

    @property
    def mean(self) -> float:
        """Their mean: first set-ups and trials count."""
        return self.sort + fmean(one.seconds for one in self.made) if self.made else math.inf

    def mean_of(self, key: str) -> float | None:
        """Return the mean of a quantity, None where nothing was made."""
        return fmean(getattr(one, key) for one in self.made) if self.made else None

    def make(self, instances: Sequence[Instance], check: Discretisation, limit: float) -> None:
        """Solve one more group within some seconds, write it, and let `check` assemble it."""
        account = self.solve.account = Account(deadline=time.process_time() + limit)
        start = time.process_time()
        try:
            solutions = self.discretisation.solve(instances, self.solve)
        except KrylosetError as error:
            self._stop(str(error).splitlines()[0])
            return
        solved = time.process_time()
        self.output.write(len(self.made), solutions, self.solve)
        account.write = time.process_time() - solved
        account.assembly = solved - start - account.setup - account.iterate
        for instance, solution in zip(instances, solutions, strict=True):
            residual = check.residual(instance, solution)
            # Not "above", so that one that is no number is found too.
            if not residual <= self.solve.tolerance:
                self._stop(f"its residual is {residual:.1e}")
                return
            self.made.append(account.share(len(instances), residual))

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
