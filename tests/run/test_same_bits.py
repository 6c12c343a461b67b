# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A fixed method, and a replay, give the same bits in every process.

As a program: `test_same_bits.py '{"method": ...}' folder` solves a chunk of 12 instances.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import h5py
import pytest

from kryloset.config import DatasetConfig
from kryloset.krylov import Recording, SequenceSolver
from kryloset.run import solve, sort


def solve_chunk(solver, folder):
    """Return a digest of what is stored of a field."""
    config = DatasetConfig(
        count=12, mesh={"points": 33}, solver=solver, splits={"train": 0.5, "test": 0.5}
    )
    order = folder / "order.h5"
    sort.run(config, "set", output=order, chunks=1)
    output = folder / "chunk.h5"
    solve.run(config, "set", order=order, chunk="1-of-1", output=output, comm=MPI.COMM_SELF)
    with h5py.File(output) as file:
        return hashlib.sha256(file["fields/u"][()].tobytes()).hexdigest()


def in_processes(count, solver, folder):
    """Return the digests of several processes, one after another."""
    found = []
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        run = subprocess.run(
            [sys.executable, __file__, json.dumps(solver), place],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found.append(run.stdout.split()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gmres", "gcrodr", "bicgstab", "direct"])
def test_a_fixed_method_gives_the_same_bits_in_every_process(method, tmp_path):
    digests = in_processes(3, {"method": method}, tmp_path)
    assert len(set(digests)) == 1


@pytest.mark.slow
def test_a_replay_gives_the_same_bits_in_every_process(tmp_path):
    choices = tmp_path / "choices.json"
    recording = Recording((SequenceSolver("gmres"),), (0,) * 12)
    choices.write_text(json.dumps({"1-of-1": json.loads(recording.to_json())}))
    digests = in_processes(3, {"method": "auto", "policy": f"replay {choices}"}, tmp_path)
    assert len(set(digests)) == 1


def test_products_of_vectors_do_not_depend_on_addresses():
    """PETSc reads these when a vector is made."""
    options = PETSc.Options()
    for name in ("vec_mdot_use_gemv", "vec_maxpy_use_gemv"):
        assert not options.getBool(name, True)


if __name__ == "__main__":
    print(solve_chunk(json.loads(sys.argv[1]), Path(sys.argv[2])))
