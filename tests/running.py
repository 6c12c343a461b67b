# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Run Snakemake and its jobs in separate processes, without importing everything each time."""

import atexit
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: A dataset that is made in seconds.
TINY = {
    "count": 8,
    "chunks": 2,
    "mesh": {"points": 9},
    "parameters": {"modes": 8},
    "solver": {"method": "gcrodr", "restart": 10, "recycle": 4},
    "splits": {"train": 0.5, "valid": 0.25, "test": 0.25},
    "comparison": {"instances": 2},
}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["kryloset.problems", "kryloset.provenance", "snakemake.cli"])


@dataclass(frozen=True)
class Run:
    """Exit status and output of a run of Snakemake."""

    code: int | None
    output: str

    def jobs(self) -> dict[str, int]:
        """Return the number of jobs by rule, from the table that Snakemake prints."""
        found, inside = {}, False
        for line in self.output.splitlines():
            words = line.split()
            if line.startswith("job  "):
                inside = True
            elif inside and words and words[0] == "total":
                break
            elif inside and len(words) == 2 and words[1].isdigit():
                found[words[0]] = int(words[1])
        return found


@cache
def kryloset() -> str:
    """Start the server of warm.py; return the body of a shell function `kryloset` that uses it."""
    folder = tempfile.TemporaryDirectory(prefix="kryloset-")
    command = [sys.executable, ROOT / "tests/warm.py", f"{folder.name}/socket"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    words = [command[0], "-E", "-S", "-s", *command[1:]]  # without what it needs no imports for
    return f'() {{ {shlex.join(map(str, words))} "$@"; }}'


def snakemake(*arguments: str | Path, cwd: Path, source: Path | None = None) -> Run:
    """Run `snakemake` in a folder, as on the command line.

    Args:
        arguments: Of the command.
        cwd: The folder.
        source: Where the package lies that plans the jobs, if not here; jobs would not run by it.
    """
    log = cwd / "snakemake-output.txt"
    work = ([str(a) for a in arguments], cwd, log, kryloset(), source)
    process = _context.Process(target=_main, args=work)
    process.start()
    process.join()
    output = log.read_text()
    log.unlink()
    return Run(process.exitcode, output)


def _main(arguments: list[str], cwd: Path, log: Path, function: str, source: Path | None) -> None:
    from snakemake.cli import main

    if source is not None:
        sys.path.insert(0, str(source))
        for name in [name for name in sys.modules if name.partition(".")[0] == "kryloset"]:
            del sys.modules[name]
    os.chdir(cwd)
    os.environ["BASH_FUNC_kryloset%%"] = function  # noqa: SIM112  (so bash spells it)
    with log.open("w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        main(arguments)
