# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How much memory does GCRO-DR take, and does it grow from system to system?"""

from pathlib import Path

from mpi4py import MPI

from kryloset.bench.goals import Goal, process_memory
from kryloset.bench.sequences import DRAWN, Operator, make_sequence
from kryloset.bench.tables import Row
from kryloset.krylov import SequenceSolver
from kryloset.progress import track

SMALL, SYSTEMS = 10, (1_000, 10_000)
"""Points a side of many small systems, and the numbers of them after which memory is looked at."""

LARGE, TOLERANCE = 316, 1e-4
"""Points a side of the systems in which vectors are counted, and a tolerance soon reached."""

GROWTH = 1.0
"""MiB between the two looks that count as no growth: less than 120 bytes a system."""

VECTORS = 40 + 2 * 20 + 10
"""Goal for GCRO-DR(m, k): m + 2k + 10."""


def measure_growth(size: int = SMALL, marks: tuple[int, int] = SYSTEMS) -> Row | None:
    """Solve many small systems, and look at the memory in use after each number of `marks`.

    There is no row where the operating system does not tell.
    """
    if process_memory("VmRSS") is None:
        return None
    operator = Operator(make_sequence("darcy", size, DRAWN, drawn=DRAWN), MPI.COMM_SELF)
    solver = SequenceSolver("gcrodr", "ilu", 1e-8, restart=40, recycle=20)
    state = solver.init()
    resident = []
    for turn in track(range(1, marks[1] + 1), "watching the memory"):
        _, state = solver.solve(*operator.load(turn % DRAWN), state)
        if turn in marks:
            resident.append((process_memory("VmRSS") or 0.0) / 2**20)
    return {
        "table": "growth",
        "unknowns": size**2,
        "systems": list(marks),
        "failures": state.failures,
        "resident_mib": resident,
        "growth_mib": resident[-1] - resident[0],
    }


def measure_vectors(size: int = LARGE) -> Row | None:
    """Count the vectors that GCRO-DR(40,20) without preconditioner takes at its peak.

    The state that goes in and the one that comes out are both counted, and the solution.

    Returns:
        The peak of resident memory through a few systems, less that before the first, in
        vectors; None where the operating system does not tell.
    """
    solver = SequenceSolver("gcrodr", "none", TOLERANCE, restart=40, recycle=20)
    # Solvers load libraries when they first need them, which takes memory too.
    _solve(solver, Operator(make_sequence("darcy", SMALL, 3, drawn=3), MPI.COMM_SELF))
    operator = Operator(make_sequence("darcy", size, 3, drawn=3), MPI.COMM_SELF)
    before = process_memory("VmRSS")
    try:
        # Sets the peak back to what is in use.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    _solve(solver, operator)
    peak = process_memory("VmHWM")
    if before is None or peak is None:
        return None
    vectors = (peak - before) / (8 * size**2)
    return {"table": "vectors", "unknowns": size**2, "vectors": vectors}


def _solve(solver: SequenceSolver, operator: Operator) -> None:
    """Solve three systems, the state handed on."""
    state = solver.init()
    for system in range(3):
        _, state = solver.solve(*operator.load(system), state)


def judge(row: Row) -> Goal:
    """Compare what was measured with its goal."""
    if row["table"] == "vectors":
        where = f"darcy, n = {row['unknowns']:,}, none"
        return Goal("vectors in GCRO-DR(40,20)", where, row["vectors"], VECTORS)
    first, last = row["systems"]
    text = f"MiB that memory grows from system {first:,} to {last:,}"
    figure = None if row["failures"] else row["growth_mib"]
    return Goal(text, f"darcy, n = {row['unknowns']:,}, ilu", figure, GROWTH)
