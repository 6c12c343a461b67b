# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the whole workflow costs beside solving, by workers, and by size.

Every figure is of a run of the real workflow, in a folder of its own. The seconds of a job
are those of Snakemake's benchmark files; solving is assembly and solver, as each chunk has
timed them for every instance. All else is overhead: Snakemake, the start of processes, and
drawing, sorting, writing, merging, checking, comparing and reporting.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import scipy.optimize
import yaml
from numpy.typing import NDArray

from kryloset.errors import KrylosetError
from kryloset.progress import track

SPEEDUP, SHARE = 1.85, 0.10
"""Goals: one worker's seconds to two workers'; overhead to all seconds of one worker."""

INSTANCES, QUICK_INSTANCES = 1_000, 60
POINTS, QUICK_POINTS = 100, 33
"""Of the runs with one and two workers; the grid has POINTS x POINTS unknowns."""

RUNS = ((100, 50, 1), (600, 50, 4), (100, 100, 2), (600, 100, 1), (200, 150, 1))
QUICK_RUNS = ((40, 40, 3), (240, 33, 1))
"""Instances, points a side and chunks of the runs that only the model is fitted to."""

PREDICTED = {"instances": 1_000_000, "unknowns": 10_000, "chunks": 1_000, "cores": 1_000}
"""What the model is asked for."""

STAGES = {
    "sample": "sample_parameters",
    "sort": "sort_instances",
    "merge": "merge_chunks",
    "check": "check_dataset",
    "compare": "compare_solvers",
    "report": "report_dataset",
}
"""Rules of one job each, by stage."""

PARTS = ("solving", "chunk", "Snakemake", *STAGES)
"""What seconds are told apart by: of assembly and solver; of the jobs that solve a chunk but
for these; of Snakemake itself and what no benchmark file counts; of the other stages."""


def measure_run(
    root: Path, instances: int, points: int, workers: int, chunks: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Make one Darcy dataset by Snakemake, in a folder that is removed again.

    Args:
        root: The clone of the repository.
        instances: Instances.
        points: Grid points a side.
        workers: Cores that Snakemake may use.
        chunks: Chunks.
        settings: Of the dataset, beside these.

    Returns:
        A row with `seconds` of the whole run and `phase`, from the start of the first to the
        end of the last job that solves; by part `seconds_<part>`, summed over its jobs
        (`seconds_Snakemake` only where there is one worker, whose jobs follow one another);
        `jobs` and `bytes`.

    Raises:
        KrylosetError: The run failed.
    """
    dataset = {"count": instances, "chunks": chunks, "mesh": {"points": points}, **settings}
    with TemporaryDirectory(prefix="kryloset-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(yaml.safe_dump({"datasets": {"darcy": dataset}}))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
        command += ["--configfile", "config.yaml", "--cores", str(workers)]
        command += ["--workflow-profile", "none"]
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            logs = "".join(path.read_text() for path in sorted(folder.glob("logs/**/*.log")))
            said = done.stderr[-2000:] + logs[-2000:]
            raise KrylosetError(f"`{' '.join(command)}` failed:\n{said}")
        results, benchmarks = folder / "results/darcy", folder / "benchmarks/darcy"
        taken = {part: _job_seconds(benchmarks / f"{rule}.tsv") for part, rule in STAGES.items()}
        files = sorted(benchmarks.glob("solve_chunk/*.tsv"))
        jobs = [_job_seconds(file) for file in files]
        solving = sum(_solving_seconds(path) for path in results.glob("chunks/*.h5"))
        # A benchmark file is written when its job ends.
        ends = [file.stat().st_mtime for file in files]
        begins = [end - job for end, job in zip(ends, jobs, strict=True)]
        taken |= {"solving": solving, "chunk": sum(jobs) - solving}
        if workers == 1:
            taken["Snakemake"] = seconds - sum(taken.values())
        return {
            "table": "run",
            "instances": instances,
            "unknowns": points**2,
            "chunks": chunks,
            "workers": workers,
            "seconds": seconds,
            "phase": max(ends) - min(begins),
            **{f"seconds_{part}": value for part, value in taken.items()},
            "bytes": sum(path.stat().st_size for path in results.rglob("*") if path.is_file()),
        }


def _job_seconds(file: Path) -> float:
    """Return the seconds of a job in a benchmark file of Snakemake."""
    heading, values = (line.split("\t") for line in file.read_text().splitlines()[:2])
    return float(values[heading.index("s")])


def _solving_seconds(chunk: Path) -> float:
    with h5py.File(chunk) as file:
        return float(sum(np.sum(part) for part in file["seconds"].values()))


def fit(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fit the seconds of every part, and the bytes, to the runs of one worker.

    The model is C + J j + I i + U i n with j chunks, and i instances of n unknowns, where
    `solving` has neither C nor J, `chunk` no C, `Snakemake` neither I nor U, and the others no J.
    The coefficients are non-negative and minimise the sum of the squares of relative errors
    (Lawson and Hanson, Solving least squares problems, 1974, chapter 23).

    Args:
        rows: As of `measure_run`.

    Returns:
        A row for each part, with the coefficients `constant`, `a_job`, `an_instance` and
        `an_unknown`, the number of `runs`, and the goodness of the fit: `error`, the root mean
        square of the relative errors, and `r2`, the share of the variance that is explained.
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
        names = ("constant", "a_job", "an_instance", "an_unknown")
        fitted.append(
            {
                "table": "fit",
                "part": part,
                "runs": len(alone),
                **dict(zip(names, coefficients.tolist(), strict=True)),
                "error": float(np.sqrt(np.mean((found * weights - 1) ** 2))),
                "r2": 1 - float(np.sum((found - target) ** 2)) / variance if variance else 1.0,
            }
        )
    return fitted


def _terms(part: str, case: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return what the coefficients constant, a_job, an_instance, an_unknown are multiplied by."""
    chunked = part in ("chunk", "Snakemake")
    instances = 0 if part == "Snakemake" else case["instances"]
    constant = part not in ("solving", "chunk")
    return np.array(
        [constant, case["chunks"] * chunked, instances, instances * case["unknowns"]], float
    )


def predict(fitted: Sequence[Mapping[str, Any]], case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the seconds that each part of a run takes on many cores, the longest first.

    Chunks are solved on all cores at once, in as many rounds as it takes. Every other stage is
    one job on one core, after the one before, and Snakemake starts one job after another. The
    comparison runs beside the stages after the sort and does not count. File systems
    are taken to be as fast as the one that the runs were measured on.

    Args:
        fitted: As of `fit`.
        case: `instances`, `unknowns`, `chunks` and `cores`.

    Returns:
        A row for each part, with `seconds`, and `share` of all; for `bytes` the number of bytes.
    """
    names = ("constant", "a_job", "an_instance", "an_unknown")
    rows = []
    for row in fitted:
        part = row["part"]
        amount = float(_terms(part, case) @ np.array([row[name] for name in names]))
        if part in ("solving", "chunk"):
            amount *= -(-case["chunks"] // case["cores"]) / case["chunks"]
        if part == "bytes":
            rows.append({"table": "model", **case, "part": part, "bytes": amount})
        elif part != "compare":
            rows.append({"table": "model", **case, "part": part, "seconds": amount})
    whole = sum(row.get("seconds", 0.0) for row in rows)
    for row in rows:
        if "seconds" in row:
            row["share"] = row["seconds"] / whole
    return sorted(rows, key=lambda row: -row.get("seconds", -1.0))


def judge(rows: Sequence[Mapping[str, Any]], instances: int, points: int) -> list[dict[str, Any]]:
    """Compare the runs of one and two workers with the goals, by their medians.

    Returns:
        A row a goal: `text`, `figure`, `limit` and `met`; the share of overhead is also given in
        seconds an instance.
    """
    same = [r for r in rows if r["instances"] == instances and r["unknowns"] == points**2]
    one = [r for r in same if r["workers"] == 1 and r["chunks"] == 1]
    two = [r for r in same if r["workers"] == 2]
    speedup, whole = (
        median(r[key] for r in one) / median(r[key] for r in two) for key in ("phase", "seconds")
    )
    share = median(1 - r["seconds_solving"] / r["seconds"] for r in one)
    goals = [
        ("one worker's seconds of solving chunks to two workers', at least", speedup, SPEEDUP),
        ("one worker's seconds of the whole run to two workers', at least", whole, SPEEDUP),
        ("share of all that is not assembly or solver, at most", share, SHARE),
    ]
    return [
        {
            "table": "goal",
            "text": text,
            "figure": figure,
            "limit": limit,
            "met": figure <= limit if limit == SHARE else figure >= limit,
        }
        for text, figure, limit in goals
    ]


def run(
    *,
    instances: int = INSTANCES,
    points: int = POINTS,
    repeats: int = 2,
    runs: Sequence[tuple[int, int, int]] = RUNS,
    solver: Mapping[str, Any] | None = None,
    root: Path | None = None,
) -> list[dict[str, Any]]:
    """Measure, judge, fit and predict.

    Args:
        instances: Instances of the runs with one and two workers.
        points: Grid points a side of these.
        repeats: How often each is made, in turn.
        runs: Instances, points a side and chunks of further runs, for the model.
        solver: Section `solver` of the configuration; the defaults if not given.
        root: The clone of the repository; the one the package is in by default.

    Returns:
        Rows as of `measure_run`, `judge`, `fit` and `predict`.

    Raises:
        KrylosetError: There is no clone, or a run failed.
    """
    root = Path(__file__).parents[3] if root is None else root
    if not (root / "workflow/Snakefile").is_file():
        raise KrylosetError(
            f"{root} has no workflow/Snakefile: run this from a clone with the package installed "
            "in place (`make` does so)"
        )
    # Sorted as a million would be, so that the seconds of sorting grow alike.
    settings = {"sort": "hilbert"} | ({"solver": dict(solver)} if solver else {})
    cases = [(instances, points, workers, workers) for _ in range(repeats) for workers in (1, 2)]
    cases += [(count, side, 1, chunks) for count, side, chunks in runs]
    rows = []
    for case in track(cases, "running the workflow"):
        rows.append(measure_run(root, *case, settings))
    fitted = fit(rows)
    return [*rows, *judge(rows, instances, points), *fitted, *predict(fitted, PREDICTED)]


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `run` as Markdown tables."""
    by = {table: [r for r in rows if r["table"] == table] for table in ("run", "goal", "fit")}
    lines = [
        f"Seconds, {os.cpu_count()} cores.",
        "",
        f"| instances | n | workers | chunks | all | phase | {' | '.join(PARTS)} |",
        f"|{' ---: |' * (6 + len(PARTS))}",
    ]
    for row in by["run"]:
        parts = (row.get(f"seconds_{part}") for part in PARTS)
        cells = " | ".join("" if value is None else f"{value:.2f}" for value in parts)
        lines.append(
            f"| {row['instances']:,} | {row['unknowns']:,} | {row['workers']} | {row['chunks']} | "
            f"{row['seconds']:.1f} | {row['phase']:.1f} | {cells} |"
        )
    lines += ["", "| goal | measured | limit | |", "| --- | ---: | ---: | --- |"]
    for row in by["goal"]:
        verdict = "met" if row["met"] else "missed"
        lines.append(f"| {row['text']} | {row['figure']:.3f} | {row['limit']:g} | {verdict} |")
    lines += [
        "",
        "| part | s | s a chunk | ms an instance | and µs for 1,000 unknowns | error | R² |",
        f"| --- |{' ---: |' * 6}",
    ]
    for row in by["fit"]:
        if row["part"] != "bytes":
            lines.append(
                f"| {row['part']} | {row['constant']:.2f} | {row['a_job']:.3f} | "
                f"{1e3 * row['an_instance']:.3f} | {1e9 * row['an_unknown']:.1f} | "
                f"{row['error']:.0%} | {row['r2']:.3f} |"
            )
    model = [row for row in rows if row["table"] == "model"]
    timed = [row for row in model if "seconds" in row]
    (stored,) = (row["bytes"] for row in model if "bytes" in row)
    case = model[0]
    lines += [
        "",
        f"{case['instances']:,} instances of {case['unknowns']:,} unknowns, {case['chunks']:,} "
        f"chunks, {case['cores']:,} cores: {sum(row['seconds'] for row in timed):,.0f} s, "
        f"{stored / 1e12:.2f} TB of files. The bottleneck is `{timed[0]['part']}`.",
        "",
        "| part | s | share |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {row['part']} | {row['seconds']:,.1f} | {row['share']:.1%} |" for row in timed]
    return "\n".join(lines)
