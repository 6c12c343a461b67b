# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench whole`: the script by hand, and what is made of the runs."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from mpi4py import MPI

import h5py
import numpy as np
import pytest

from kryloset.bench import by_hand, whole
from kryloset.bench.workflow import PARTS, Job, read_jobs, run_command
from kryloset.config import DatasetConfig
from kryloset.errors import KrylosetError
from kryloset.problems import load_family


def test_the_script_solves_the_equation_of_the_family(tmp_path: Path) -> None:
    file, points = tmp_path / "made.h5", 34
    command = [sys.executable, by_hand.__file__, "--count", "3", "--points", str(points)]
    subprocess.run([*command, "--output", file], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["made.h5"]
    config = DatasetConfig.model_validate({"family": "darcy", "mesh": {"points": points}})
    discretisation = load_family(config).discretise(MPI.COMM_SELF)
    with h5py.File(file) as made:
        k, u = made["k"][:], made["u"][:]
    for permeability, head in zip(k, u, strict=True):
        assert np.std(np.log(permeability)) == pytest.approx(1)
        given = {"k": permeability, "f": np.ones_like(permeability)}
        assert discretisation.residual(given, {"u": head}) < 1e-12
    assert not np.array_equal(u[0], u[2])


def make_rows(instances: int, points: int, **seconds: list[float]) -> list[dict[str, Any]]:
    """Return the runs of a set, and their medians."""
    rows = [
        {"table": "run", "instances": instances, "points": points, "way": way.replace("_", " ")}
        | {"seconds": one, "processor": 2 * one, "megabytes": 100 * one}
        for way, measured in seconds.items()
        for one in measured
    ]
    return [*rows, whole.compare(rows)]


def test_ratios_are_those_of_medians_and_are_judged_by_their_set() -> None:
    runs = {"dry_run": [1.0, 9.0, 2.0], "script": [3.0, 4.0, 90.0], "workflow": [6.0, 6.0, 1.0]}
    rows = make_rows(1000, 64, **runs)
    assert rows[-1]["ratio_seconds"] == rows[-1]["ratio_processor"] == 1.5
    goal, memory = whole.judge(rows)
    assert goal.met and goal.limit == 1.5
    assert memory.met and memory.figure == 600
    assert not whole.judge(make_rows(10_000, 64, **runs))[0].met
    goal, _ = whole.judge(make_rows(64, 64, **runs))
    assert goal.met and goal.figure == 3.0
    assert "| 1,000 |" in whole.describe(rows).replace("|     ", "| ")


def test_stages_are_sums_over_jobs_and_means_over_runs() -> None:
    seen = [("solve", 3.0, 590.0), ("solve", 1.0, None), ("sort", 1.0, 601.0), ("solve", 2.0, 1.0)]
    jobs = [Job(part, seconds, 0.0, memory) for part, seconds, memory in seen]
    solve, sort = whole.stages(jobs, 2, {"instances": 20_000, "points": 64})
    assert (solve["jobs"], solve["seconds"], solve["megabytes"]) == (1.5, 3.0, 590.0)
    assert (sort["jobs"], sort["seconds"], sort["megabytes"]) == (0.5, 0.5, 601.0)


def test_jobs_are_told_by_their_rules(tmp_path: Path) -> None:
    heading = "s\th:m:s\tmax_rss"
    for name, row in {
        "sort_instances": "1.5\t0:00:01\t64.25",
        "solve_chunk/1-of-2": "2.5\t0:00:02\tNA",
        "resolve_config/sort": "0.1\t0:00:00\t-",
    }.items():
        file = tmp_path / f"benchmarks/darcy/{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{heading}\n{row}\n")
    jobs = {job.part: (job.seconds, job.megabytes) for job in read_jobs(tmp_path)}
    assert jobs == {"sort": (1.5, 64.25), "solve": (2.5, None)}


def test_a_command_is_measured_with_what_it_starts(tmp_path: Path) -> None:
    inner = "x = bytearray(2**28); sum(range(10**7))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    used = run_command([sys.executable, "-c", code], tmp_path)
    # Linux counts the memory of the process that begins a command, here that of other tests, too.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    assert 2**28 / 1e6 < used.megabytes < max(500, own + 1)
    assert used.processor > 0.05
    with pytest.raises(KrylosetError, match=r"failed:\n.*no such thing"):
        run_command([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path)


@pytest.mark.parametrize("text", ["1000", "1000x64", "a:b", "1:2:3"])
def test_a_set_that_is_not_two_numbers_is_refused(text: str) -> None:
    with pytest.raises(KrylosetError, match=f"--set '{text}' is not understood"):
        whole.parse_set(text)


@pytest.mark.slow
def test_a_real_run_has_all_ways_and_stages() -> None:
    (rows,) = whole.run(set=["16:34"], repeats=1)
    ways = {row["way"]: row["seconds"] for row in rows if row["table"] == "run"}
    assert ways.keys() == {"dry run", "script", "workflow"} and min(ways.values()) > 0
    stages = {row["part"] for row in rows if row["table"] == "stage"}
    assert stages == set(PARTS.values())
    assert whole.describe(rows)
