# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datasets of which instances fail, made in a tenth of a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpi4py import MPI

import pytest

from kryloset.config import DatasetConfig
from kryloset.dataset.failures import Failure
from kryloset.dataset.journal import Journal
from kryloset.dataset.reader import Dataset
from kryloset.given.opening import resolve
from kryloset.run import solve, sort
from kryloset.sampling import generator
from merging import merge_verified

FAMILY = f"{Path(__file__).parent / 'failing.py'}:Failing"
GIVEN = {
    "family": FAMILY, "count": 12, "chunks": 2, "seed": 5, "mesh": {"points": 5},
    "splits": {"train": 0.5, "calibration": 0.25, "test": 0.25},
    "parameters": {"drawing": 0.2, "solving": 0.3},
    "on_failure": "redraw", "failure_limit": 99,
    "sort": "hilbert", "features": "parameters", "solver": {"method": "direct"},
}  # fmt: skip


def make(folder: Path, **changes) -> Path:
    """Make a dataset; an earlier one in the folder may be kept."""
    config = resolve(DatasetConfig(**GIVEN | changes))
    order, path = folder / "order.h5", folder / "dataset.h5"
    sort.run(config, "set", output=order, earlier=path)
    parts = config.chunks + len(config.ood)
    chunks = [folder / f"{i + 1}-of-{parts}.h5" for i in range(parts)]
    for chunk in chunks:
        chunk.unlink(missing_ok=True)
        solve.run(
            config, "set", order=order, chunk=chunk.stem, output=chunk, comm=MPI.COMM_SELF
        )  # fmt: skip
    return merge_verified(config, "set", order=order, chunks=chunks, output=path)


def expected(count: int, drawing: float = 0.2, solving: float = 0.3) -> list[tuple]:
    """Return what fails and what does not, from the generators alone."""
    failed = []
    for index in range(count):
        for attempt in range(100):
            drawn = generator(5, index, attempt)
            drawn.random(5), drawn.random(5)
            nu = drawn.random()
            if drawing <= nu <= 1 - solving:
                break
            failed.append((index, attempt, "draw" if nu < drawing else "solve"))
    return failed


def read_failures(path: Path) -> tuple[Failure, ...]:
    with Dataset(path) as data:
        return data.provenance().failures


def parameters(path: Path) -> list[float]:
    with Dataset(path) as data:
        return data.array("nu")[:].tolist()


class Killed(BaseException):
    """The end of a process."""


@contextmanager
def killed_after(groups: int) -> Iterator[None]:
    """End what runs as a kill would, before it records one group more than these."""
    append, count = Journal.append, 0

    def dying(self, arrays, instances):
        nonlocal count
        count += 1
        if count == groups + 1:
            raise Killed
        append(self, arrays, instances)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Journal, "append", dying)
        yield
