# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How much memory GCRO-DR takes, and that it does not grow from system to system.

Each test is a process of its own, which has no memory left over from other tests.
"""

import subprocess
import sys
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest

from kryloset.bench.goals import process_memory
from kryloset.bench.sequences import Operator, make_sequence
from kryloset.krylov import SequenceSolver

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def make_operator(size, count):
    """Return the matrix of a sequence of so many systems."""
    return Operator(make_sequence("darcy", size, count, drawn=count), MPI.COMM_SELF)


def solve(preconditioner, tolerance, operator, numbers, marks=()):
    """Solve systems, recycling; return the resident memory in bytes after some of them."""
    solver = SequenceSolver("gcrodr", preconditioner, tolerance, restart=40, recycle=20)
    state, resident = solver.init(), []
    for turn, number in enumerate(numbers, start=1):
        result, state = solver.solve(*operator.load(number), state)
        assert result.converged
        if turn in marks:
            resident.append(process_memory("VmRSS"))
    return resident


def measure_growth(first, last):
    """Print the bytes by which memory grows between two of many small systems."""
    numbers = (turn % 40 for turn in range(last))
    before, after = solve("ilu", 1e-8, make_operator(10, 40), numbers, (first, last))
    print(after - before)


def measure_vectors(size):
    """Print how many vectors the peak is above the memory before, where Linux resets peaks."""
    # Solvers load libraries when they first need them, which takes memory too.
    solve("none", 1e-4, make_operator(10, 3), range(3))
    operator = make_operator(size, 3)
    before = process_memory("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print(0.0)
        return
    solve("none", 1e-4, operator, range(3))
    vector = size**2 * np.dtype(PETSc.ScalarType).itemsize
    print((process_memory("VmHWM") - before) / vector)


def measure(*arguments):
    """Return what a process prints that calls one of the functions above."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@pytest.mark.parametrize(
    ("first", "last", "limit"),
    [(30, 150, 2**20), pytest.param(1_000, 4_000, 3_000 * 120, marks=pytest.mark.slow)],
)
def test_memory_does_not_grow_through_many_systems(first, last, limit):
    """After a thousand systems by less than 120 bytes a system."""
    assert measure("measure_growth", first, last) < limit


@pytest.mark.skipif(
    PETSc.ScalarType is not np.float64, reason="complex numbers go through BLAS, with copies"
)
def test_vectors_are_at_most_m_plus_2k_plus_10():
    """The state that goes in and the one that comes out are both counted, and the solution."""
    assert measure("measure_vectors", 200) <= 40 + 2 * 20 + 10


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(int, sys.argv[2:]))
