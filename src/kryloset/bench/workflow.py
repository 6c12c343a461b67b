# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that benches time as a whole, above all `snakemake` from the clone in a fresh folder."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kryloset.errors import KrylosetError

NAME = "darcy"
"""Of the dataset that is made."""

PARTS: Mapping[str, str] = {
    "sort_instances": "sort",
    "solve_chunk": "solve",
    "verify_chunk": "verify",
    "merge_chunks": "merge",
    "compare_solvers": "compare",
    "report_dataset": "report",
}
"""What the jobs of a rule are called in tables."""


@dataclass(frozen=True)
class Usage:
    """What a command used, together with all processes that it started.

    Attributes:
        seconds: By the clock.
        processor: Seconds of the processor.
        megabytes: The most memory that one of its processes had.
    """

    seconds: float
    processor: float
    megabytes: float


@dataclass(frozen=True)
class Job:
    """What Snakemake's benchmark file has of a job.

    Attributes:
        part: What it did, one of `PARTS`.
        seconds: From its start to its end.
        ended: When that was, in seconds since 1970.
        megabytes: The most memory that it and its children were seen with, when Snakemake looked;
            None if it was too short to be seen.
    """

    part: str
    seconds: float
    ended: float
    megabytes: float | None


def find_clone(root: Path | None = None) -> Path:
    """Return the clone whose workflow is run, by default the one that this file is in.

    Raises:
        KrylosetError: There is no clone.
    """
    root = Path(__file__).parents[3] if root is None else root
    if not (root / "workflow/Snakefile").is_file():
        raise KrylosetError(
            f"{root} has no workflow/Snakefile: run this from a clone with the package installed "
            "in place (`make` does so)"
        )
    return root


def run_command(command: Sequence[str], folder: Path) -> Usage:
    """Run a command in a folder.

    Raises:
        KrylosetError: It failed; the message ends with what it and its jobs said.
    """
    said, began = folder / "said.txt", time.perf_counter()
    # As with `make`: without compiled modules kept, each process would compile them again.
    kept = ["env", "-u", "PYTHONDONTWRITEBYTECODE", *command]
    with said.open("w") as output:
        process = subprocess.Popen(kept, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, process.returncode, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if process.returncode:
        logs = "".join(path.read_text() for path in sorted(folder.glob("logs/**/*.log")))
        text = said.read_text()[-2000:] + logs[-2000:]
        raise KrylosetError(f"`{' '.join(command)}` failed:\n{text}")
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def run_workflow(
    root: Path, folder: Path, dataset: Mapping[str, Any], cores: int, *options: str
) -> Usage:
    """Run Snakemake with the clone's Snakefile in a folder, for one dataset called `NAME`.

    Args:
        root: The clone.
        folder: Where to; results of an earlier run are kept.
        dataset: The dataset's configuration, as below `datasets.<name>`.
        cores: For jobs.
        options: Further options of Snakemake's.

    Raises:
        KrylosetError: The run failed.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump({"datasets": {NAME: dict(dataset)}}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--configfile", "config.yaml", "--cores", str(cores), *options]
    return run_command(command, folder)


def read_jobs(folder: Path) -> list[Job]:
    """Return the jobs of `PARTS` that a run in a folder made."""
    jobs = []
    for file in sorted((folder / "benchmarks" / NAME).rglob("*.tsv")):
        part = PARTS.get(file.stem, PARTS.get(file.parent.name))
        if part is None:
            continue
        lines = (line.split("\t") for line in file.read_text().splitlines()[:2])
        found, megabytes = dict(zip(*lines, strict=True)), None
        with suppress(ValueError):
            megabytes = float(found["max_rss"])
        # The file is written when the job ends.
        jobs.append(Job(part, float(found["s"]), file.stat().st_mtime, megabytes))
    return jobs
