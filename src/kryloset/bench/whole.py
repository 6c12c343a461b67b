# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long does a user wait: a script by hand, or the whole workflow?

The script is `by_hand.py`; the workflow draws, sorts, solves, verifies, merges, compares and
reports. They take turns with the same set on two cores, each run in a fresh folder.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from kryloset.bench import by_hand
from kryloset.bench.goals import Goal
from kryloset.bench.tables import COLUMNS, Row, grouped, tabulate
from kryloset.bench.workflow import Job, find_clone, read_jobs, run_command, run_workflow
from kryloset.errors import KrylosetError
from kryloset.progress import track

CORES = 2

RATIOS = {(1000, 64): 1.5, (10_000, 64): 0.5, (1000, 128): 0.5, (10_000, 128): 0.25}
"""Goals: the workflow's seconds by the clock to the script's, by instances and points a side."""

TO_DRY_RUN, SMALLEST = 3.0, (64, 64)
"""Goal: the workflow's seconds to those of `snakemake -n`, for the default set."""

MEGABYTES = 600
"""Goal: the most memory of a process, and so of a stage."""


def run(
    *, set: list[str], repeats: int, memory: str = "", root: Path | None = None
) -> Iterator[list[Row]]:
    """Measure, set by set.

    Yields:
        Rows of three tables: `run`, for each run of the script and of the workflow and for one of
        `snakemake -n`, with what it used (`workflow.Usage`); `set`, with the medians and their
        ratios; `stage`, with the means of `jobs` and `seconds` over the runs and the most
        `megabytes` that Snakemake saw.

    Raises:
        KrylosetError: A set is not given as `instances:points`, there is no clone, or a run failed.
    """
    root = find_clone(root)
    sets = [(parse_set(text), True) for text in set]
    sets += [(parse_set(memory), False)] if memory else []
    # Compiled forms and kernels are in the user's cache after this.
    _run(root, "workflow", 32, 64)
    for (instances, points), scripted in sets:
        ways = ("dry run", "script", "workflow") if scripted else ("workflow",)
        rows, jobs = [], []
        turns = range(repeats if scripted else 1)
        for _ in track(turns, f"running {instances:,} of {points} x {points}"):
            for way in ways:
                row, jobs_of_run = _run(root, way, instances, points)
                rows.append(row)
                jobs += jobs_of_run
        yield [*rows, *([compare(rows)] if scripted else []), *stages(jobs, len(turns), rows[0])]


def parse_set(text: str) -> tuple[int, int]:
    """Return instances and points a side.

    Raises:
        KrylosetError: It is not two numbers as in `1000:64`.
    """
    try:
        instances, points = map(int, text.split(":"))
    except ValueError:
        raise KrylosetError(
            f"--set {text!r} is not understood: give instances and points a side, as in 1000:64"
        ) from None
    return instances, points


def _run(root: Path, way: str, instances: int, points: int) -> tuple[Row, list[Job]]:
    """Make a set in a folder that is removed again."""
    with TemporaryDirectory(prefix="kryloset-") as name:
        folder = Path(name)
        if way == "script":
            sizes = ["--count", str(instances), "--points", str(points), "--workers", str(CORES)]
            command = [sys.executable, str(by_hand.__file__), *sizes, "--output", "by_hand.h5"]
            used = run_command(command, folder)
        else:
            dataset: dict[str, Any] = {"count": instances, "mesh": {"points": points}}
            options = ["--dry-run"] if way == "dry run" else []
            used = run_workflow(root, folder, dataset, CORES, *options)
        row: Row = {"table": "run", "instances": instances, "points": points, "way": way}
        return row | asdict(used), read_jobs(folder)


def compare(rows: Sequence[Row]) -> Row:
    """Return the medians of a set, and the ratios of the workflow's to the script's."""
    row: Row = {"table": "set", **{key: rows[0][key] for key in ("instances", "points")}}
    for (way,), runs in grouped(rows, "way").items():
        for key in ("seconds", "processor"):
            row[f"{key}_{way.replace(' ', '_')}"] = median(one[key] for one in runs)
    row["megabytes_workflow"] = max(one["megabytes"] for one in rows if one["way"] == "workflow")
    for key in ("seconds", "processor"):
        row[f"ratio_{key}"] = row[f"{key}_workflow"] / row[f"{key}_script"]
    row["ratio_dry_run"] = row["seconds_workflow"] / row["seconds_dry_run"]
    return row


def stages(jobs: Sequence[Job], runs: int, case: Row) -> list[Row]:
    """Return a row for each stage."""
    rows = []
    for part in dict.fromkeys(job.part for job in jobs):
        mine = [job for job in jobs if job.part == part]
        seen = [job.megabytes for job in mine if job.megabytes is not None]
        rows.append(
            {
                "table": "stage",
                "instances": case["instances"],
                "points": case["points"],
                "part": part,
                "jobs": len(mine) / runs,
                "seconds": sum(job.seconds for job in mine) / runs,
                "megabytes": max(seen, default=None),
            }
        )
    return rows


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare ratios and memory with the goals."""
    goals = []
    text = "seconds of the workflow to those of the "
    for row in (row for row in rows if row["table"] == "set"):
        size = row["instances"], row["points"]
        case = f"{size[0]:,} of {size[1]} x {size[1]}"
        if size in RATIOS:
            goals.append(Goal(f"{text}script", case, row["ratio_seconds"], RATIOS[size]))
        if size == SMALLEST:
            goals.append(Goal(f"{text}dry run", case, row["ratio_dry_run"], TO_DRY_RUN))
    made = [row for row in rows if row["table"] == "run" and row["way"] == "workflow"]
    largest = max(made, key=lambda row: row["megabytes"])
    case = f"{largest['instances']:,} of {largest['points']} x {largest['points']}"
    goals.append(Goal("MB of a process", case, largest["megabytes"], MEGABYTES))
    return goals


def describe(rows: Sequence[Row]) -> str:
    """Return the medians of a set and its stages as tables."""
    found = {table: made for (table,), made in grouped(rows, "table").items() if table != "run"}
    return "\n\n".join(tabulate(made, COLUMNS[f"whole_{name}"]) for name, made in found.items())
