# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two datasets on a real Slurm of one node, one of them solved by MPI processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
import yaml

from running import ROOT, TINY

pytestmark = pytest.mark.slow
pytest.importorskip("snakemake_executor_plugin_slurm", reason="make slurm installs it")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("starting a Slurm needs root on a Debian machine")
    if not socket.gethostbyname(socket.gethostname()).startswith("127."):
        pytest.skip("the host's name must be an address of the loopback interface")
    # Not below pytest's own folder, which others may not enter: Slurm has its own user.
    folder = Path("/var/tmp") / tmp_path_factory.mktemp("slurm").parent.name
    subprocess.run([HERE / "start-slurm.sh", folder], check=True)
    yield
    subprocess.run([HERE / "stop-slurm.sh", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def profile(folder: Path) -> Path:
    """The project's own profile, with what this site needs as its comments say."""
    tree = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.v9+.yaml").read_text())
    tree["default-resources"] = {"slurm_partition": "main", "mem_mb": 500, "runtime": 5}
    tree["slurm-init-seconds-before-status-checks"] = 2
    tree["latency-wait"] = 5
    tree["retries"] = 0
    (folder / "site").mkdir()
    (folder / "site/profile.yaml").write_text(yaml.safe_dump(tree))
    return folder / "site"


def snakemake(folder: Path, *arguments: str | Path) -> str:
    """Run Snakemake; it is interrupted, which cancels its jobs on Slurm, if it takes too long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=420)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        pytest.fail(output)
    assert process.returncode == 0, output
    return output


def test_two_datasets_solved_by_mpi_processes(slurm: None, folder: Path, profile: Path):
    tree = {"datasets": {"one": TINY, "two": TINY | {"seed": 1, "chunks": 1}}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tree))
    mpi = ("--set-resources", "solve_chunk:mpi=srun --mpi=pmi2", "solve_chunk:tasks=2")
    targets = [f"results/{name}/dataset.h5" for name in tree["datasets"]]

    # Status checks come at 2, 14, 36... seconds, so only what matters here goes to Slurm.
    snakemake(folder, "--cores", "2", *(f"results/{name}/order.h5" for name in tree["datasets"]))
    output = snakemake(folder, "--workflow-profile", profile, *mpi, "--", *targets)

    assert output.count("has been submitted with SLURM jobid") == 5

    for target in targets:
        with h5py.File(folder / target) as file:
            assert file["t0_fields/u"].shape[0] == 8
    for log in folder.glob("logs/*/solve_chunk/*.log"):
        # Two worlds of one process each would solve the same chunk one after the other.
        assert "waiting until it has finished" not in log.read_text()
