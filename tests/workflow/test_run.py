# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`make run` recovers from any end of a run, and never waits for a dead or kills an active one.

Small programs replace Snakemake here; tests/faults kills the real one.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from kryloset.dataset.journal import Journal
from running import ROOT

SCRIPTS = ROOT / "workflow/scripts"
sys.path.append(str(SCRIPTS))
from finished import Finished  # noqa: E402
from solving import Solving  # noqa: E402

#: run.py with shorter waits, and more frequent progress.
RUN = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
import run
run.PATIENCE = 1.0
run.INTERVALS = {{False: 0.1}}
sys.exit(run.main([sys.executable, "-c", sys.argv[1]]))
"""
WORKS = "import time; print('works', flush=True); time.sleep(60)"
TALKS = """
import signal, time
def stop(*_): print('Error in rule', flush=True); raise SystemExit(1)
signal.signal(signal.SIGINT, stop)
print('works', flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
print('works', flush=True)
time.sleep(60)
"""
UNTIL_TOLD = """
import os, time
print('works', flush=True)
while not os.path.exists('told'): time.sleep(0.05)
"""

type Start = Callable[[str], psutil.Popen]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a run with a program in place of Snakemake."""
    started = []

    def begin(program: str) -> psutil.Popen:
        process = psutil.Popen(
            [sys.executable, "-c", RUN, program],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.is_running():
            for child in (*process.children(recursive=True), process):
                child.kill()
            process.wait()


def at_work(run: psutil.Popen) -> psutil.Process:
    """Return the program of a run, once it has printed that it works."""
    while "works" not in (line := run.stderr.readline()):
        assert line, "ended"
    (program,) = run.children()
    return program


def ended(run: psutil.Popen) -> tuple[int, str]:
    """Return the exit status and output of a run."""
    _, output = run.communicate(timeout=50)
    return run.returncode, output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_prints_one_line(start: Start, number: signal.Signals):
    run = start(TALKS)
    program = at_work(run)
    run.send_signal(number)
    status, output = ended(run)
    assert status == 128 + number
    assert output.splitlines() == ["Interrupted: run again to continue from here."]
    assert not program.is_running()
    assert ended(start("print('next')")) == (
        0,
        "The previous run was interrupted or killed; continuing from what it left.\nnext\n",
    )


def test_no_progress_is_printed_after_an_interrupt(start: Start, tmp_path: Path):
    (tmp_path / "results/one/chunks").mkdir(parents=True)
    with h5py.File(tmp_path / "results/one/order.h5", "w") as file:
        file["bounds"] = np.array([0, 4])
    with Journal(tmp_path / "results/one/chunks/1-of-1.h5.working", "work", 3):
        run = start(DEAF)
        at_work(run)
        assert run.stderr.readline().startswith("solving: 0 of 4 instances")
        run.send_signal(signal.SIGINT)
        _, _, after = ended(run)[1].partition("Interrupted: run again to continue from here.\n")
    assert after == ""


@pytest.mark.parametrize("status", [0, 1])
def test_the_status_and_output_of_snakemake_are_passed_on(start: Start, status: int):
    assert ended(start(f"print('text', flush=True); raise SystemExit({status})")) == (
        status,
        "text\n",
    )


def test_a_program_that_ignores_sigterm_is_killed(start: Start):
    run = start(DEAF)
    program = at_work(run)
    began = time.monotonic()
    run.send_signal(signal.SIGTERM)
    assert ended(run)[0] == 128 + signal.SIGTERM
    assert not program.is_running()
    assert time.monotonic() - began < 50  # of the minute that the program would go on


def test_leftover_jobs_that_ignore_sigterm_are_killed(start: Start):
    run = start(DEAF)
    program = at_work(run)
    run.kill()
    run.wait()
    status, output = ended(start("print('next')"))
    assert status == 0
    assert f"Stopping jobs that a killed run left behind: {program.pid}" in output
    assert output.endswith("next\n")


@pytest.mark.parametrize("text", [b"[" * 20_000, b"a: \xff", b"a: &a [*a, *a]"])
def test_an_unreadable_configuration_is_reported_in_one_line(
    start: Start, tmp_path: Path, text: bytes
):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_bytes(text)
    status, output = ended(start(WORKS))
    assert status == 1
    assert output.startswith(
        ("config/config.yaml cannot be read as", "config/config.yaml is not UTF-8 text")
    )
    assert len(output.splitlines()) == 1


def test_a_run_waits_for_another(start: Start, tmp_path: Path):
    first = start(UNTIL_TOLD)
    at_work(first)
    second = start("print('next')")
    assert f"run is active in this folder (process {first.pid})" in second.stderr.readline()
    (tmp_path / "told").touch()
    assert ended(second) == (0, "next\n")
    assert first.poll() == 0


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Return a lock file of Snakemake."""
    lock = tmp_path / ".snakemake/locks/0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/tiny/dataset.h5\n")
    return lock


def test_the_locks_of_a_killed_snakemake_are_removed(start: Start, locked: Path):
    (locked.parents[1] / "alive.lock").touch()
    status, output = ended(start("print('next')"))
    assert (status, output) == (
        0,
        "A Snakemake was killed in this folder; removing its locks.\nnext\n",
    )
    assert not locked.exists()


def test_the_jobs_of_a_killed_snakemake_are_ended(start: Start, locked: Path, tmp_path: Path):
    (locked.parents[1] / "alive.lock").touch()
    here, there = (
        subprocess.Popen(["sleep", "60"], env={"KRYLOSET_FOLDER": str(folder)})
        for folder in (tmp_path, tmp_path / "other")
    )
    reaper = threading.Thread(target=here.wait)
    reaper.start()
    status, output = ended(start("print('next')"))
    assert status == 0
    assert f"Stopping jobs that it left behind: {here.pid}\n" in output
    reaper.join()
    assert there.poll() is None
    there.kill()
    there.wait()


def test_a_living_snakemake_keeps_its_locks(start: Start, locked: Path):
    with (locked.parents[1] / "alive.lock").open("a+") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        run = start("print('next')")
        assert "Another Snakemake is running in this folder" in run.stderr.readline()
        second = start("print('second')")
        assert (
            f"Another run is active in this folder (process {run.pid})" in second.stderr.readline()
        )
        assert locked.exists()
        locked.unlink()
    assert ended(run) == (0, "next\n")
    assert ended(second) == (0, "second\n")


def test_locks_of_another_workflow_stay(start: Start, locked: Path):
    status, output = ended(start("print('next')"))
    assert status == 1
    assert "--unlock" in output
    assert locked.exists()


def test_progress_is_one_line_for_the_chunks_of_all_datasets(tmp_path: Path):
    solving = Solving(tmp_path)
    assert solving.line() is None
    for name, bounds in (("one", [0, 4, 10]), ("two", [0, 20]), ("done", [0, 50])):
        (tmp_path / name / "chunks").mkdir(parents=True)
        with h5py.File(tmp_path / name / "order.h5", "w") as file:
            file["bounds"] = np.array(bounds)
    with (
        Journal(tmp_path / "one/chunks/2-of-2.h5.working", "work", 3) as first,
        Journal(tmp_path / "two/chunks/1-of-1.h5.working", "work", 3) as second,
    ):
        assert solving.line() == "solving: 0 of 30 instances"
        for journal, instances in ((first, 2), (second, 1)):
            journal.append({"x": np.zeros(3)}, instances)
        line = solving.line()
        assert line is not None
        assert line.startswith("solving: 3 of 30 instances, ")
        assert line.endswith(" s left")
        (tmp_path / "one/chunks/1-of-2.h5").touch()
        assert str(solving.line()).startswith("solving: 7 of 30 instances, ")
    old = tmp_path / "one/chunks/1-of-2.h5"
    os.utime(old, (0, 0))
    assert str(solving.line()).startswith("solving: 3 of 26 instances, ")


def test_a_dataset_is_announced_once_it_is_there_and_checked(tmp_path: Path):
    folder = tmp_path / "results/set"
    folder.mkdir(parents=True)
    for name in ("check.json", "dataset.h5"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    finished = Finished(tmp_path / "results")
    assert finished.lines() == []  # of an earlier run
    (folder / "dataset.h5").touch()
    assert finished.lines() == []
    (folder / "check.json").touch()
    assert finished.lines() == [f"set: {folder}/dataset.h5 is there, and checked"]
    assert finished.lines() == []
