# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs of a dataset that can be solved slowly enough to interrupt them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from kryloset.config import load_dataset
from merging import merge_verified
from running import ROOT, Run

#: Darcy flow, each instance as late as the environment says.
SLOW = """
import os
import time

from kryloset.problems.darcy import Darcy


class Slow(Darcy):
    def discretise(self, comm):
        discretisation = super().discretise(comm)
        solve = discretisation.solve

        def slowly(instances, solver):
            time.sleep(len(instances) * float(os.environ.get("SECONDS_LATE", "0")))
            return solve(instances, solver)

        discretisation.solve = slowly
        return discretisation
"""

CONFIG = {
    "family": "slow.py:Slow",
    "count": 16,
    "chunks": 1,
    "mesh": {"points": 33},
    "solver": {"method": "gcrodr", "restart": 10, "recycle": 4},
}


class Interrupted:
    """A folder in which `make run` is, or could be, active.

    Attributes:
        folder: The working folder.
        chunk: The one chunk file.
        dataset: The dataset file.
        log: The log of solving.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the paths, and run nothing yet."""
        self.folder = folder
        self.chunk = folder / "results/slow/chunks/1-of-1.h5"
        self.dataset = folder / "results/slow/dataset.h5"
        self.log = folder / "logs/slow/solve_chunk/1-of-1.log"

    def lay_out(self, **solver: Any) -> None:
        """Prepare the folder for a first run, with another solver if there is one."""
        for name in ("Snakefile", "workflow", "profiles", "envs"):
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / "config").mkdir()
        config = CONFIG | {"solver": solver} if solver else CONFIG
        text = yaml.safe_dump({"datasets": {"slow": config}})
        (self.folder / "config/config.yaml").write_text(text)
        (self.folder / "slow.py").write_text(SLOW)

    def copy(self, folder: Path) -> "Interrupted":
        """Copy everything, including Snakemake's records, to an empty folder."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Interrupted(folder)

    def start(self, *targets: str, plain: bool = False, seconds_late: float = 0.2) -> psutil.Popen:
        """Start what `make run` starts, or a plain Snakemake, in a process group of its own."""
        made = targets or ("results/slow/dataset.h5",)
        snakemake = [Path(sys.executable).parent / "snakemake", "--cores", "1", *made]
        return psutil.Popen(
            snakemake if plain else [sys.executable, "workflow/scripts/run.py", *snakemake],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"SECONDS_LATE": str(seconds_late)},
            start_new_session=True,
            # A shell lets background jobs ignore the interrupt, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def finish(self, process: psutil.Popen | None = None) -> Run:
        """Wait for a run to end, by default a new one that is not slow."""
        process = process or self.start(seconds_late=0.0)
        output, _ = process.communicate(timeout=300)
        return Run(process.returncode, output)

    def merge(self) -> bytes:
        """Verify the chunk and merge it without Snakemake; return the bytes of the dataset."""
        results = self.dataset.parent
        with contextlib.chdir(self.folder):  # where the family is
            config = load_dataset(results / "config/merge.yaml", "slow")
            order, chunks = results / "order.h5", [self.chunk]
            merge_verified(config, "slow", order=order, chunks=chunks, output=self.dataset)
        return self.dataset.read_bytes()

    def wait_until_solving(self, process: psutil.Popen) -> psutil.Process:
        """Return the solving process, once it has solved a few instances."""
        deadline = time.monotonic() + 120
        while not list(self.chunk.parent.glob("*.working/state-*-0.npz")):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (solver,) = (
            child
            for child in process.children(recursive=True)
            if "solve" in child.cmdline() and "kryloset" in child.cmdline()[1]
        )
        return solver
