# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What do systems with one pattern take, solved 16, 8 or 4 at once, and what one after another?

The systems are those of the reference sequence `darcy`. All methods take turns, 16 systems each:
ensembles, CG with a factor of each system, and loops by hand. Seconds are the processor's. The
first turn of each, which analyses the pattern, is told by itself. Residuals are computed by SciPy.
The rate of a factor counts the operations that a factor of one instance needs, without those on
zeros that supernodes add. `docs/explanation/ensembles.md` says what an ensemble is.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from kryloset.bench.goals import Goal, timed
from kryloset.bench.peers import choose_peers
from kryloset.bench.sequences import Operator, make_sequence
from kryloset.bench.sequences import Sequence as Systems
from kryloset.bench.tables import Row, grouped, number, table
from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver, Solver
from kryloset.krylov.ensemble.factor import EnsembleFactor
from kryloset.krylov.ensemble.matrix import ensemble_of, make_ensemble
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.names import LANES, Lanes
from kryloset.krylov.native.kernels import load_kernels
from kryloset.problems import OperatorTraits
from kryloset.progress import track
from kryloset.run.comparison import in_turn

TURN = max(LANES)
"""Systems that a method solves in its turn."""

RATES = {64: 40.0, 32: 20.0}
"""Goals for factors in single precision, 10^9 operations a second, by the bytes of a register."""

REPEATS = 5
"""How often a factor is made for its rate."""


class Way:
    """A solver on its way through the systems, some at a time.

    Attributes:
        label: What people call it.
        lanes: How many systems it solves at once.
        seconds: An instance, for each turn.
        residuals: Of all systems.
        iterations: An instance, of each system or ensemble.
    """

    def __init__(self, label: str, solver: Solver[Any], systems: Systems, lanes: int = 1) -> None:
        """Make a matrix for so many lanes."""
        self.label, self.lanes, self._solver, self._systems = label, lanes, solver, systems
        self._single = Operator(systems, MPI.COMM_SELF)
        self._state = solver.init()
        self.seconds: list[float] = []
        self.residuals: list[float] = []
        self.iterations: list[float] = []
        self.note = ""
        if lanes > 1:
            self.mat = make_ensemble(Pattern.of(self._single.mat), self._single.mat, lanes)
            self._rhs = PETSc.Vec().createSeq(len(systems.rhs) * lanes)
            self._rhs.setArray(np.repeat(systems.rhs, lanes))

    def take(self, numbers: Sequence[int]) -> None:
        """Solve systems in one turn."""
        spent = 0.0
        for first in range(0, len(numbers), self.lanes):
            chosen = numbers[first : first + self.lanes]
            operator, rhs = self.load(chosen)
            began = time.process_time()
            try:
                result, self._state = self._solver.solve(operator, rhs, self._state)
            except KrylosetError as error:
                self.note = str(error)
                return
            spent += time.process_time() - began
            self.iterations.append(result.iterations / self.lanes)
            b, solutions = self._systems.rhs, result.solution.getArray().reshape(-1, self.lanes)
            for lane, system in enumerate(chosen):
                r = b - self._systems.matrices[system] @ solutions[:, lane]
                self.residuals.append(float(np.linalg.norm(r) / np.linalg.norm(b)))
        self.seconds.append(spent / len(numbers))

    def load(self, numbers: Sequence[int]) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return A and b of one system, or of an ensemble."""
        if self.lanes == 1:
            return self._single.load(numbers[0])
        ensemble = ensemble_of(self.mat)
        assert ensemble is not None
        for lane, system in enumerate(numbers):
            ensemble.entries[:, lane] = self._systems.matrices[system].data
        self.mat.assemble()
        return self.mat, self._rhs

    def to_row(self) -> Row:
        """Return milliseconds an instance and the rest."""
        done = len(self.seconds) > 1
        return {
            "method": self.label,
            "lanes": self.lanes,
            "first_ms": 1e3 * self.seconds[0] if done else None,
            "ms": 1e3 * median(self.seconds[1:]) if done else None,
            "iterations": fmean(self.iterations) if done else None,
            "true_residual": max(self.residuals, default=None),
            "note": self.note,
        }

    def rate(self, *, double: bool) -> Row:
        """Return milliseconds an instance, rate and memory of the factors in a precision."""
        ensemble = ensemble_of(self.load(range(self.lanes))[0])
        assert ensemble is not None
        factor = EnsembleFactor.analyse(ensemble.pattern, self.lanes, symmetric=True, double=double)
        factor.set_up(ensemble.entries)
        seconds = median(timed(lambda: factor.set_up(ensemble.entries))[1] for _ in range(REPEATS))
        name = "double" if double else "single"
        return {
            f"factor_ms_{name}": 1e3 * seconds / self.lanes,
            f"gflops_{name}": factor.flops / seconds / 1e9,
            f"mb_{name}": factor.bytes / 1e6,
        }


def measure(size: int, count: int, lanes: Sequence[Lanes], tolerance: float) -> list[Row]:
    """Return a row a method for the systems of a size."""
    systems = make_sequence("darcy", size, count, drawn=count)
    ways = []
    for width in lanes:
        solver = SequenceSolver("cg", "cholesky", tolerance, lanes=width)
        label = f"CG + Cholesky, {width} lane{'s' * (width > 1)}"
        ways.append(Way(label, solver, systems, width))
    peers = choose_peers(OperatorTraits(symmetric=True, definite=True), tolerance)
    ways += [Way(peer.label, peer, systems) for name, peer in peers.items() if name != "gmres"]
    title = f"measuring ensembles, n = {size**2:,}"
    for turn in track(range(count // TURN), title):
        for way in in_turn(ways, turn):
            if not way.note:
                way.take(range(turn * TURN, (turn + 1) * TURN))
    kernels = load_kernels()
    register = kernels.kryloset_register() if kernels is not None else None
    about = {"unknowns": size**2, "systems": count, "register": register}
    return [
        about
        | way.to_row()
        | (way.rate(double=False) | way.rate(double=True) if way.lanes > 1 else {})
        for way in ways
    ]


def run(
    *, size: Sequence[int], count: int, lanes: Sequence[Lanes], tolerance: float
) -> Iterator[list[Row]]:
    """Measure several sizes, and yield the rows of each.

    Raises:
        KrylosetError: A number of lanes is not known, or there are too few systems.
    """
    if not set(lanes) <= set(LANES) or count < 2 * TURN:
        raise KrylosetError(
            f"--lanes must be among {', '.join(map(str, LANES))}, and --count at least {2 * TURN}: "
            f"got {', '.join(map(str, lanes))} and {count}"
        )
    for points in size:
        yield measure(points, count, lanes, tolerance)


def conclude(rows: Sequence[Row]) -> str:
    """Return milliseconds an instance as a table with a line for each size."""
    cases = grouped(rows, "unknowns")
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for (unknowns,), case in cases.items():
        found = {row["method"]: row["ms"] for row in case}
        lines.append([f"{unknowns:,}", *(number(found.get(name), ".2f") for name in names)])
    return table(["n", *names], lines)


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare the rates of factors with the goals, where the processor has such registers."""
    goals = []
    for row in rows:
        if row["lanes"] == TURN and row["register"] in RATES:
            case, limit = f"n = {row['unknowns']:,}, {TURN} lanes", RATES[row["register"]]
            text = "GFlop/s of factors in single precision"
            goals.append(Goal(text, case, row["gflops_single"], limit, at_least=True))
    return goals
