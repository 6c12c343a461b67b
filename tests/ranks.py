# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Programs on several MPI processes, which are started once for all tests.

As a program, on each process: runs the programs that the first process reads, until there are no
more.
"""

import atexit
import gc
import json
import runpy
import subprocess
import sys
import time
import traceback
from functools import cache
from pathlib import Path
from threading import Timer

DONE = "the program has ended\n"


def run_on_ranks(ranks: int, program: Path, *arguments: object, seconds: float = 120.0) -> None:
    """Run a Python program on MPI processes, on one process in this one.

    Raises:
        RuntimeError: It has failed, with what it printed, or has taken too long.
    """
    words = [str(word) for word in (program, *arguments)]
    if ranks == 1:
        run(words)
        return
    processes = _processes(ranks)
    assert processes.stdin is not None and processes.stdout is not None
    timer = Timer(seconds, processes.kill)
    timer.start()
    processes.stdin.write(json.dumps(words) + "\n")
    processes.stdin.flush()
    said = []
    while (line := processes.stdout.readline()) not in (DONE, ""):
        said.append(line)
    timer.cancel()
    if line == "":
        _processes.cache_clear()
        raise RuntimeError(f"{program.name} on {ranks} processes: {''.join(said)}")


@cache
def _processes(ranks: int) -> subprocess.Popen[str]:
    """Start the processes; they end with this one, which closes their input."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    processes = subprocess.Popen(
        [mpiexec, "-n", str(ranks), sys.executable, __file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    atexit.register(processes.communicate)
    return processes


def run(words: list[str]) -> None:
    """Run a program with its arguments as Python does."""
    arguments, path = sys.argv, sys.path.copy()
    sys.argv = words
    sys.path[:0] = [str(Path(words[0]).parent), str(Path(__file__).parent)]
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        sys.argv, sys.path[:] = arguments, path


def serve() -> None:
    """Run what the first process reads on all processes."""
    from mpi4py import MPI
    from petsc4py import PETSc

    comm = MPI.COMM_WORLD
    while words := json.loads(_receive(comm)):
        try:
            run(words)
        except BaseException:
            traceback.print_exc()
            comm.Abort(1)
        gc.collect()
        PETSc.garbage_cleanup(comm)
        comm.Barrier()
        if comm.rank == 0:
            print(DONE, end="", flush=True)


def _receive(comm) -> str:
    """Return the next line of the first process; a process that waits for MPI would be busy."""
    line = sys.stdin.readline() or "[]" if comm.rank == 0 else ""
    arrived = comm.Ibarrier()
    while not arrived.Test():
        time.sleep(0.002)
    return comm.bcast(line)


if __name__ == "__main__":
    serve()
