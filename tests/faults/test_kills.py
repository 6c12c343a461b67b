# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""After any kill, a second `make run` makes the same dataset, bit for bit."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from slow_dataset import Interrupted

pytestmark = pytest.mark.slow

#: What is merged without Snakemake, and its configuration.
CHUNK = ("results/slow/chunks/1-of-1.h5", "results/slow/config/merge.yaml")


def goes_on(interrupted: Interrupted, undisturbed: bytes, *targets: str) -> str:
    """Run again: the chunk must resume, and the dataset must equal that of an undisturbed run."""
    assert not interrupted.dataset.exists()
    run = interrupted.finish(interrupted.start(*targets, seconds_late=0.0))
    assert run.code == 0, run.output
    resumed = re.search(r"resumes at instance \d+ \(position (\d+)\)", interrupted.log.read_text())
    assert resumed is not None
    assert 1 <= int(resumed[1]) < 16  # by the clock: on a busy machine it is the first
    made = interrupted.merge() if targets else interrupted.dataset.read_bytes()
    assert made == undisturbed
    return run.output


def test_a_killed_solver_is_resumed(interrupted: Interrupted, undisturbed: bytes):
    run = interrupted.start()
    interrupted.wait_until_solving(run).kill()
    assert interrupted.finish(run).code == 1

    assert "or killed" not in goes_on(interrupted, undisturbed, *CHUNK)


def test_a_killed_solver_of_groups_is_resumed_at_a_group(tmp_path: Path):
    run = Interrupted(tmp_path / "killed")
    run.folder.mkdir()
    run.lay_out(method="cg", preconditioner="cholesky", lanes=4)
    whole = run.copy(tmp_path / "whole")
    assert whole.finish().code == 0
    started = run.start()
    run.wait_until_solving(started).kill()
    assert run.finish(started).code == 1

    goes_on(run, whole.dataset.read_bytes(), *CHUNK)
    assert re.search(r"\(position (4|8|12)\)", run.log.read_text())


def test_a_run_resumes_after_everything_is_killed(interrupted: Interrupted, undisturbed: bytes):
    run = interrupted.start()
    interrupted.wait_until_solving(run)
    for process in (run, *run.children(recursive=True)):
        process.kill()
    run.wait()

    assert "The previous run was interrupted or killed" in goes_on(interrupted, undisturbed)


def test_a_run_ends_the_job_of_a_killed_snakemake_and_resumes(
    interrupted: Interrupted, undisturbed: bytes
):
    run = interrupted.start()
    solver = interrupted.wait_until_solving(run)
    (snakemake,) = run.children()
    snakemake.kill()
    run.wait()
    assert solver.is_running()

    output = goes_on(interrupted, undisturbed, *CHUNK)
    assert re.search(rf"Stopping jobs that a killed run left behind: .*\b{solver.pid}\b", output)
    assert not solver.is_running()


def test_a_run_resumes_after_all_but_the_job_is_killed(
    interrupted: Interrupted, undisturbed: bytes
):
    run = interrupted.start()
    solver = interrupted.wait_until_solving(run)
    (snakemake,) = run.children()
    run.kill()
    snakemake.kill()
    run.wait()
    assert solver.is_running()

    assert str(solver.pid) in goes_on(interrupted, undisturbed, *CHUNK)


@pytest.mark.parametrize("all_", [False, True])
def test_a_run_resumes_after_a_plain_snakemake_is_killed(
    interrupted: Interrupted, undisturbed: bytes, all_: bool
):
    run = interrupted.start(plain=True)
    solver = interrupted.wait_until_solving(run)
    # Snakemake comes first, so that it sees no job end and does not end by itself.
    for process in (run, *(run.children(recursive=True) if all_ else ())):
        process.kill()
    run.wait()

    output = goes_on(interrupted, undisturbed, *CHUNK)
    assert "A Snakemake was killed in this folder" in output
    assert all_ or re.search(rf"Stopping jobs that it left behind: .*\b{solver.pid}\b", output)
    assert not solver.is_running()


def test_a_run_resumes_after_a_keyboard_interrupt(interrupted: Interrupted, undisturbed: bytes):
    run = interrupted.start()
    interrupted.wait_until_solving(run)
    os.killpg(run.pid, signal.SIGINT)
    stopped = interrupted.finish(run)
    assert stopped.code == 128 + signal.SIGINT
    assert "Interrupted: run again to continue" in stopped.output
    assert "rror in rule" not in stopped.output

    goes_on(interrupted, undisturbed, *CHUNK)


def test_a_run_resumes_after_sigterm_to_all_processes(interrupted: Interrupted, undisturbed: bytes):
    """Slurm sends SIGTERM at a job's time limit; Snakemake may then wait for itself."""
    run = interrupted.start()
    interrupted.wait_until_solving(run)
    for process in (*run.children(recursive=True), run):
        process.terminate()
    assert interrupted.finish(run).code != 0

    goes_on(interrupted, undisturbed)


@pytest.mark.parametrize("plain", [False, True])
def test_a_second_run_waits_for_the_first(
    interrupted: Interrupted, undisturbed: bytes, plain: bool
):
    first = interrupted.start(plain=plain)
    interrupted.wait_until_solving(first)
    second = interrupted.finish()

    told = (
        "Snakemake is running in this folder"
        if plain
        else f"run is active in this folder (process {first.pid})"
    )
    assert f"Another {told}" in second.output
    assert interrupted.finish(first).code == 0
    assert second.code == 0
    assert "Nothing to be done" in second.output
    assert interrupted.dataset.read_bytes() == undisturbed
    assert not psutil.pid_exists(first.pid)
