# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What does the whole workflow cost beside solving, by workers and by size?

Every figure is of a run of the real workflow, in a folder of its own. The seconds of a job
are those of Snakemake's benchmark files; solving is assembly and solver, as each chunk has
timed them for every instance. All else is overhead: Snakemake, the start of processes, and
drawing, sorting, writing, merging, checking, comparing and reporting.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from kryloset.bench.goals import Goal
from kryloset.bench.tables import COLUMNS, Row, grouped, tabulate
from kryloset.bench.workflow import NAME, find_clone, read_jobs, run_workflow
from kryloset.progress import track
from kryloset.run import files

SPEEDUP, SHARE, SERIAL, SECONDS, EXPLAINED = 1.85, 0.10, 0.01, 900.0, 0.9
"""Goals: one worker's seconds to two workers'; overhead to all seconds of one worker; of the model
the share of each part on one core but the sort, its seconds, and R² of each part that counts."""

COUNTS = 0.01
"""Share of the model's seconds from which a part counts."""

RUNS = (
    (1000, 50, 1),
    (1000, 100, 20),
    (2000, 33, 200),
    (4000, 100, 4),
    (10_000, 50, 50),
    (50_000, 33, 20),
)
QUICK_RUNS = ((60, 33, 6), (400, 100, 1), (2000, 33, 2))
"""Instances, points a side and chunks of the runs that only the model is fitted to."""

PREDICTED = {"instances": 1_000_000, "unknowns": 10_000, "chunks": 1_000, "cores": 1_000}
"""What the model is asked for."""

DRAWING = 8
"""Processes that draw a large set, which workflow/rules/common/resources.smk takes to sort it."""

CHUNKED = ("solving", "chunk", "verify")
"""Parts that all chunks have, at the same time."""

PARTS = (*CHUNKED, "Snakemake", "draw", "sort", "merge", "compare", "report")
"""Parts of the seconds: assembly and solver; the rest of the jobs that solve a chunk; the jobs that
verify it; Snakemake itself, with what no benchmark file counts; drawing with features; the rest of
the job that sorts; and the other stages."""

COEFFICIENTS = ("constant", "a_job", "an_instance", "an_unknown")
"""Of the model: seconds of a run, and more for each job, instance, and unknown of an instance."""


def measure_run(
    root: Path, instances: int, points: int, workers: int, chunks: int, settings: Mapping[str, Any]
) -> Row:
    """Make one Darcy dataset by Snakemake from a clone, in a folder that is removed again.

    Returns:
        A row with `seconds` of the whole run and `phase`, from the start of the first to the
        end of the last job of a chunk; by part `seconds_<part>`, summed over its jobs
        (`seconds_Snakemake` only where there is one worker, whose jobs follow one another);
        `jobs` and `bytes`.

    Raises:
        KrylosetError: The run failed.
    """
    dataset = {"count": instances, "chunks": chunks, "mesh": {"points": points}, **settings}
    with TemporaryDirectory(prefix="kryloset-") as name:
        folder = Path(name)
        seconds = run_workflow(root, folder, dataset, workers).seconds
        results, jobs = folder / "results" / NAME, read_jobs(folder)
        taken = dict.fromkeys(PARTS, 0.0)
        for job in jobs:
            taken["chunk" if job.part == "solve" else job.part] += job.seconds
        taken["solving"] = sum(_solving_seconds(path) for path in results.glob("chunks/*.h5"))
        taken["chunk"] -= taken["solving"]
        with h5py.File(results / "order.h5") as order:
            taken["draw"] = float(order.attrs[files.SECONDS_FEATURES])
        taken["sort"] -= taken["draw"]
        del taken["Snakemake"]
        if workers == 1:
            taken["Snakemake"] = seconds - sum(taken.values())
        phase = [job for job in jobs if job.part in ("solve", "verify")]
        return {
            "table": "run",
            "instances": instances,
            "unknowns": points**2,
            "chunks": chunks,
            "workers": workers,
            "seconds": seconds,
            "phase": max(job.ended for job in phase)
            - min(job.ended - job.seconds for job in phase),
            **{f"seconds_{part}": value for part, value in taken.items()},
            "bytes": sum(path.stat().st_size for path in results.rglob("*") if path.is_file()),
        }


def _solving_seconds(chunk: Path) -> float:
    with h5py.File(chunk) as file:
        return float(sum(np.sum(part) for part in file[files.SECONDS].values()))


def fit(rows: Sequence[Row]) -> list[Row]:
    """Fit the seconds of every part, and the bytes, to the runs of one worker.

    The model is C + J j + I i + U i n with j chunks, and i instances of n unknowns, where `solving`
    and `draw` have neither C nor J, the other parts of chunks have no C, `Snakemake` neither I nor
    U, and `sort`, `compare` and `report` no J.
    The coefficients are non-negative and minimise the sum of the squares of relative errors
    (Lawson and Hanson, Solving least squares problems, 1974, chapter 23).

    Returns:
        A row for each part, with the `COEFFICIENTS`, the number of `runs`, and the goodness of the
        fit: `error`, the root mean square of the relative errors, and `r2`, the share of the
        variance that is explained.
    """
    alone = [row for row in rows if row["workers"] == 1]
    fitted = []
    for part in (*PARTS, "bytes"):
        key = part if part == "bytes" else f"seconds_{part}"
        target = np.array([row[key] for row in alone], float)
        matrix = np.array([_terms(part, row) for row in alone])
        weights = 1 / np.maximum(target, 1e-9)
        # Columns of one size, or rounding would take the smallest coefficients.
        sizes = np.maximum(np.abs(matrix * weights[:, None]).max(axis=0), 1e-300)
        scaled, _ = scipy.optimize.nnls(matrix * weights[:, None] / sizes, target * weights)
        coefficients = scaled / sizes
        found = matrix @ coefficients
        variance = float(np.sum((target - target.mean()) ** 2))
        fitted.append(
            {
                "table": "fit",
                "part": part,
                "runs": len(alone),
                **dict(zip(COEFFICIENTS, coefficients.tolist(), strict=True)),
                "error": float(np.sqrt(np.mean((found * weights - 1) ** 2))),
                "r2": 1 - float(np.sum((found - target) ** 2)) / variance if variance else 1.0,
            }
        )
    return fitted


def _terms(part: str, case: Row) -> NDArray[np.float64]:
    """Return what the `COEFFICIENTS` are multiplied by."""
    jobs = case["chunks"] * (part in ("chunk", "verify", "Snakemake", "merge"))
    instances = 0 if part == "Snakemake" else case["instances"]
    return np.array(
        [part not in (*CHUNKED, "draw"), jobs, instances, instances * case["unknowns"]], float
    )


def predict(fitted: Sequence[Row], case: Row) -> list[Row]:
    """Return the seconds that each part of a run takes on many cores, the longest first.

    Chunks are solved and verified on all cores at once, in as many rounds as it takes. Every other
    stage is one job on one core, after the one before, but for the processes that draw, and
    Snakemake starts one job after another.
    The comparison runs beside the stages after the sort and does not count. File systems are taken
    to be as fast as the one that the runs were measured on.

    Returns:
        A row for each part, with `seconds`, and `share` of all; for `bytes` the number of bytes.
    """
    rows = []
    for row in fitted:
        part = row["part"]
        amount = float(_terms(part, case) @ np.array([row[name] for name in COEFFICIENTS]))
        if part in CHUNKED:
            amount *= -(-case["chunks"] // case["cores"]) / case["chunks"]
        elif part == "draw":
            amount /= min(DRAWING, case["cores"])
        if part == "bytes":
            rows.append({"table": "model", **case, "part": part, "bytes": amount})
        elif part != "compare":
            rows.append({"table": "model", **case, "part": part, "seconds": amount})
    whole = sum(row.get("seconds", 0.0) for row in rows)
    for row in rows:
        if "seconds" in row:
            row["share"] = row["seconds"] / whole
    return sorted(rows, key=lambda row: -row.get("seconds", -1.0))


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare the runs of one and two workers, by their medians, and the model with the goals."""
    runs = grouped([row for row in rows if row["table"] == "run"], "workers")
    two, size = runs[2,], ("instances", "unknowns")
    ((instances, unknowns),) = grouped(two, *size)
    alone = [row for row in runs[1,] if row["chunks"] == 1]
    one = grouped(alone, *size)[instances, unknowns]
    case = f"{instances:,} instances, n = {unknowns:,}"
    speedup, whole = (
        median(r[key] for r in one) / median(r[key] for r in two) for key in ("phase", "seconds")
    )
    share = median(1 - r["seconds_solving"] / r["seconds"] for r in one)
    workers = "one worker's seconds to two workers'"
    goals = [
        Goal(f"{workers}, jobs of chunks", case, speedup, SPEEDUP, at_least=True),
        Goal(f"{workers}, the whole run", case, whole, SPEEDUP, at_least=True),
        Goal("share of all that is not assembly or solver", case, share, SHARE),
    ]
    model = [row for row in rows if row["table"] == "model" and "seconds" in row]
    if model:
        fitted = {row["part"]: row["r2"] for row in rows if row["table"] == "fit"}
        counting = [row["part"] for row in model if row["share"] >= COUNTS]
        least = min(counting, key=lambda part: fitted[part])
        case = "{instances:,} instances, n = {unknowns:,}, {cores:,} cores".format(**model[0])
        seconds = sum(row["seconds"] for row in model)
        # The longest comes first.
        serial = next(row for row in model if row["part"] not in (*CHUNKED, "draw", "sort"))
        text = f"largest share of a part on one core but the sort, of `{serial['part']}`"
        goals.append(Goal(text, case, serial["share"], SERIAL))
        text = f"least R² of its parts, of `{least}`"
        goals.append(Goal("seconds of the model", case, seconds, SECONDS))
        goals.append(Goal(text, case, fitted[least], EXPLAINED, at_least=True))
    return goals


def run(
    *,
    instances: int,
    points: int,
    repeats: int,
    method: str | None = None,
    preconditioner: str | None = None,
    quick: bool = False,
    root: Path | None = None,
) -> Iterator[list[Row]]:
    """Measure, fit and predict; yield the rows of `measure_run`, `fit` and `predict`.

    Raises:
        KrylosetError: There is no clone, or a run failed.
    """
    root = find_clone(root)
    # Sorted as a million would be, so that the seconds of sorting grow alike.
    settings: dict[str, Any] = {"sort": "hilbert"}
    given = {"method": method, "preconditioner": preconditioner}
    settings |= {"solver": {key: value for key, value in given.items() if value is not None}}
    cases = [(instances, points, workers, workers) for _ in range(repeats) for workers in (1, 2)]
    runs = QUICK_RUNS if quick else RUNS
    cases += [(count, side, 1, chunks) for count, side, chunks in runs]
    rows = [measure_run(root, *case, settings) for case in track(cases, "running the workflow")]
    fitted = fit(rows)
    yield [*rows, *fitted, *predict(fitted, PREDICTED)]


def describe(rows: Sequence[Row]) -> str:
    """Return the runs, the fit and the prediction as tables."""
    by = {table: found for (table,), found in grouped(rows, "table").items()}
    return "\n\n".join(
        [
            f"Seconds, {os.cpu_count()} cores.",
            tabulate(by["run"], COLUMNS["scale_run"]),
            describe_fit(by["fit"]),
            describe_model(by["model"]),
        ]
    )


def describe_fit(rows: Sequence[Row]) -> str:
    """Return the fits of seconds as a table."""
    return tabulate([row for row in rows if row["part"] != "bytes"], COLUMNS["scale_fit"])


def describe_model(rows: Sequence[Row]) -> str:
    """Return the prediction as a table, below what was predicted and the bottleneck."""
    timed = [row for row in rows if "seconds" in row]
    (stored,) = (row["bytes"] for row in rows if "bytes" in row)
    seconds = sum(row["seconds"] for row in timed)
    text = (
        "{instances:,} instances of {unknowns:,} unknowns, {chunks:,} chunks, {cores:,} cores: "
        f"{seconds:,.0f} s, {stored / 1e12:.2f} TB of files. The bottleneck is "
        f"`{timed[0]['part']}`."
    )
    return f"{text.format(**rows[0])}\n\n{tabulate(timed, COLUMNS['scale_model'])}"
