# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What does the file cost beside plain h5py: to write, to merge, and for training to read?

A Darcy set is made by the whole workflow. Its solutions are written again as the stage `solve`
writes them; its chunks are merged again; and its training split is read in shuffled batches.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import h5py

from kryloset.bench.goals import Goal
from kryloset.bench.making import Chunk, Sequential
from kryloset.bench.tables import COLUMNS, Row, grouped, tabulate
from kryloset.bench.workflow import NAME, find_clone, run_workflow
from kryloset.config import Compression, load_dataset
from kryloset.dataset.reader import Dataset
from kryloset.krylov import SequenceSolver
from kryloset.problems import load_family
from kryloset.progress import track
from kryloset.run import merge

TO_SAME_CHUNKS, TO_CONTIGUOUS, TO_CP = 1.2, 1.5, 1.5
"""Goals: a reader's seconds to those of plain h5py, and the merge's to those of `cp`."""

PAIR, STATES = 100, 30
"""Goals: microseconds of the processor for a pair, and for a pair of states."""

WORKERS = (0, 2, 4)
"""Of PyTorch's `DataLoader`."""

WRITTEN, GROUP = 2000, 16
"""Instances that are written, and how many at once, as they are solved."""

FIELD = "u"
"""The solution of Darcy's equation."""

TRAJECTORIES = {"family": "heat", "count": 32}
"""What is read a state at a time."""


def run(
    *, instances: int, points: int, repeats: int, root: Path | None = None
) -> Iterator[list[Row]]:
    """Measure writing, merging and reading.

    Yields:
        Rows of four tables: `write` and `merge`, with `seconds` by the clock and of the
        `processor` for a number of `bytes`, each the median of the repeats; `read` and `pair`, as
        `reading.measure` and `reading.measure_pairs` return them.

    Raises:
        KrylosetError: There is no clone, or the workflow failed.
        ModuleNotFoundError: PyTorch is not installed.
    """
    from kryloset.bench import reading

    root = find_clone(root)
    dataset = {"count": instances, "mesh": {"points": points}, "comparison": {"instances": 2}}
    with TemporaryDirectory(prefix="kryloset-") as name:
        folder = Path(name)
        run_workflow(root, folder, dataset, 2)
        results = folder / "results" / NAME
        yield in_turn("write", _writers(results), repeats)
        yield in_turn("merge", _mergers(results), repeats)
        data, contiguous = results / "dataset.h5", folder / "contiguous.h5"
        counts = track(WORKERS, "reading")
        yield [reading.measure(data, contiguous, workers, repeats) for workers in counts]
        with_states = folder / "states"
        with_states.mkdir()
        run_workflow(root, with_states, dataset | TRAJECTORIES, 2)
        moving = with_states / "results" / NAME / "dataset.h5"
        pair = reading.measure_pairs
        yield [pair(data, repeats), pair(moving, repeats, window=1)]


def in_turn(table: str, ways: Mapping[str, Callable[[Path], int]], repeats: int) -> list[Row]:
    """Return the median seconds of each way to make a file, which returns its bytes."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    size = dict.fromkeys(ways, 0)
    for _ in range(repeats):
        for way, make in ways.items():
            with TemporaryDirectory(prefix="kryloset-") as folder:
                began, processor = time.perf_counter(), _processor()
                size[way] = make(Path(folder))
                taken[way].append((time.perf_counter() - began, _processor() - processor))
    rows: list[Row] = []
    for way, times in taken.items():
        clock, processor = (median(each) for each in zip(*times, strict=True))
        row = {"table": table, "way": way, "seconds": clock, "processor": processor}
        rows.append(row | {"bytes": size[way], "rate": size[way] / clock})
    for row in rows:
        row["ratio"] = row["seconds"] / rows[-1]["seconds"]
    return rows


def _processor() -> float:
    """Return the seconds of the processor that this process and its children have used."""
    return sum(os.times()[:4])


def _writers(results: Path) -> dict[str, Callable[[Path], int]]:
    """Return ways to write solutions, the plainest last."""
    family = load_family(load_dataset(results / "config/merge.yaml", NAME))
    with Dataset(results / "dataset.h5") as made:
        heads = made.array(FIELD)[:WRITTEN]

    def stage(folder: Path, compression: Compression = "auto") -> int:
        chunk = Chunk(folder, family, len(heads), compression)
        solve = Sequential(SequenceSolver(tolerance=1e-8))
        for first in range(0, len(heads), GROUP):
            group = [{FIELD: head} for head in heads[first : first + GROUP]]
            chunk.write(first, group, solve)
        chunk.finish()
        return int(heads.nbytes)

    def plain(folder: Path, **options: Any) -> int:
        with h5py.File(folder / "plain.h5", "w") as file:
            array = file.create_dataset(FIELD, heads.shape, heads.dtype, **options)
            for row, head in enumerate(heads):
                array[row] = head
        return int(heads.nbytes)

    same: dict[str, Any] = {"chunks": (1, *heads.shape[1:]), "fletcher32": True}
    return {
        "journal and file of a chunk": stage,
        "the same, compressed": partial(stage, compression="always"),
        "h5py, same chunks and checksums": partial(plain, **same),
        "h5py, in one piece": plain,
    }


def _mergers(results: Path) -> dict[str, Callable[[Path], int]]:
    """Return ways to make the file of a dataset, `cp` last."""
    config, data = load_dataset(results / "config/merge.yaml", NAME), results / "dataset.h5"
    chunks = sorted(results.glob("chunks/*.h5"))

    def stage(folder: Path) -> int:
        merge.run(
            config,
            NAME,
            order=results / "order.h5",
            chunks=chunks,
            verified=[results / "verified" / f"{chunk.stem}.json" for chunk in chunks],
            output=folder / "dataset.h5",
            **{key: folder / f"{key}.json" for key in ("check", "timings", "choices")},
        )
        return data.stat().st_size

    def plain(folder: Path) -> int:
        with Dataset(data) as made, h5py.File(folder / "plain.h5", "w") as copy:
            for array in map(made.array, ("k", FIELD)):
                options = {"chunks": array.chunks, "fletcher32": True}
                new = copy.create_dataset(array.name, array.shape, array.dtype, **options)
                for row in range(len(array)):
                    new[row] = array[row]
        return data.stat().st_size

    def copy(folder: Path) -> int:
        subprocess.run(["cp", data, folder / "copy.h5"], check=True)
        return data.stat().st_size

    return {"merge of the chunks": stage, "h5py, row by row": plain, "cp": copy}


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare ratios with the goals."""
    goals = []
    for row in (row for row in rows if row["table"] == "read"):
        case = f"{row['workers']} workers"
        for key, text, limit in (
            ("to_same_chunks", "plain h5py with the same chunks", TO_SAME_CHUNKS),
            ("to_contiguous", "plain h5py and arrays in one piece", TO_CONTIGUOUS),
        ):
            goals.append(Goal(f"seconds of a reader to those of {text}", case, row[key], limit))
    pairs = (row for row in rows if row["table"] == "pair")
    for row, limit in zip(pairs, (PAIR, STATES), strict=True):
        goals.append(Goal("µs of the processor for a pair", row["pairs"], row["later"], limit))
    (merged, *_) = (row for row in rows if row["table"] == "merge")
    case = f"{merged['bytes'] / 1e6:,.0f} MB"
    return [*goals, Goal("seconds of the merge to those of cp", case, merged["ratio"], TO_CP)]


def describe(rows: Sequence[Row]) -> str:
    """Return the rows of one table."""
    ((table,),) = grouped(rows, "table")
    name = table if table in ("read", "pair") else "write"
    return tabulate(rows, COLUMNS[f"dataset_{name}"])
