# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The numbers of the ways: levels of fill, the relaxation factor of SOR, m and k.

Every system of some instances of a family is solved by the ways of `choose_ways` and by those
with other numbers, all in turn; the one that begins moves on by one each system. Seconds are the
processor's, set-ups included; medians, in which the first system counts little. A way that leaves
a system unsolved is not used again.
"""

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from mpi4py import MPI
from petsc4py import PETSc

from kryloset.config import DatasetConfig
from kryloset.krylov import SequenceSolver, SolverState, Structure
from kryloset.krylov.automatic.selection import choose_ways, has_sparse_factors
from kryloset.krylov.preconditioners.multigrid import has_interpolations
from kryloset.krylov.preconditioners.set_up import Preconditioner
from kryloset.krylov.solver import Method
from kryloset.problems import load_family
from kryloset.progress import track
from kryloset.run.solver import declared_structure
from kryloset.sampling import generator

MAX_ITERATIONS = 1_000

OMEGAS = (1.0, 1.2, 1.5, 1.7)
"""Relaxation factors of SSOR."""

FILLS = {"icc": (0, 1, 2, 3, 4), "ilu": (0, 1, 2, 3, 4)}
"""Levels."""

SPACES = {"gcrodr": ((20, 10), (40, 20), (80, 20)), "rcg": ((40, 20), (80, 20))}
"""m and k."""


class Case(NamedTuple):
    """Instances of a family."""

    label: str
    family: str
    points: int
    dimension: int | None = None
    parameters: tuple[tuple[str, Any], ...] = ()


CASES = (
    Case("darcy", "darcy", 64),
    Case("darcy, cube", "darcy", 17, 3, (("modes", 8),)),
    Case("darcy, cube", "darcy", 25, 3, (("modes", 8),)),
    Case("elasticity", "elasticity", 64),
    Case("elasticity, cube", "elasticity", 13, 3),
    Case("reaction_diffusion", "reaction_diffusion", 33),
    Case("reaction_diffusion", "reaction_diffusion", 64),
    Case("thermal, slab", "thermal", 64, None, (("conductivity", "lognormal"),)),
    Case("maxwell", "maxwell", 33),
    Case("maxwell, cube", "maxwell", 9, 3),
    Case("helmholtz_absorbing", "helmholtz_absorbing", 49),
    Case("advection_diffusion", "advection_diffusion", 64),
    Case("advection_diffusion", "advection_diffusion", 127),
)
QUICK = (CASES[1], CASES[5], CASES[11])


class Way(NamedTuple):
    """A way and what is varied of it.

    Attributes:
        kind: "way" for those of `choose_ways`, else "fill", "omega" or "m, k".
        name: Without the number.
        number: As people read it, empty for a way.
    """

    kind: str
    name: str
    number: str = ""


def make_ways(
    declared: Structure, operator: PETSc.Mat, tolerance: float
) -> dict[Way, SequenceSolver]:
    """Return what to compare for such matrices."""
    ways = choose_ways(
        declared,
        factors=has_sparse_factors(operator),
        multigrid=has_interpolations(operator),
        tolerance=tolerance,
        max_iterations=MAX_ITERATIONS,
    )
    # Those with incomplete factors or SOR are among those with numbers.
    found = {
        Way("way", way.label): way for way in ways if way.preconditioner not in (*FILLS, "sor")
    }
    numbers: dict[str, Any] = {"tolerance": tolerance, "max_iterations": MAX_ITERATIONS}
    methods: tuple[Method, ...] = ("cg",) if declared.definite else ("bicgstab", "gmres")
    recycling: Method = "rcg" if declared.definite else "gcrodr"
    factor: Preconditioner = "icc" if declared.definite else "ilu"
    for method in methods:
        for fill in FILLS[factor]:
            solver = SequenceSolver(method, factor, fill=fill, **numbers)
            found[Way("fill", f"{method} + {factor}", str(fill))] = solver
    for restart, recycle in SPACES[recycling]:
        solver = SequenceSolver(recycling, factor, restart=restart, recycle=recycle, **numbers)
        found[Way("m, k", f"{recycling} + {factor}", f"{restart}, {recycle}")] = solver
    for omega in OMEGAS if declared.definite else ():
        solver = SequenceSolver("cg", "sor", omega=omega, **numbers)
        found[Way("omega", "cg + sor", str(omega))] = solver
    return found


@dataclass
class _SolveByAll:
    """Solves each system by all ways, and returns the solution of one.

    Attributes:
        declared: Structure of the matrices.
        tolerance: On the true relative residual.
        ways: Made for the first system.
        states: Of the ways.
        seconds: Of each system, by way.
        iterations: Likewise.
        unsolved: Ways that did not solve a system.
    """

    declared: Structure
    tolerance: float
    ways: dict[Way, SequenceSolver] = field(default_factory=dict)
    states: dict[Way, SolverState] = field(default_factory=dict)
    seconds: dict[Way, list[float]] = field(default_factory=dict)
    iterations: dict[Way, list[int]] = field(default_factory=dict)
    unsolved: set[Way] = field(default_factory=set)
    systems: int = 0
    unknowns: int = 0

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        if not self.ways:
            self.unknowns = operator.getSize()[0]
            self.ways = make_ways(self.declared, operator, self.tolerance)
        left = [way for way in self.ways if way not in self.unsolved]
        shift = self.systems % len(left)
        self.systems += 1
        kept = None
        for way in (*left[shift:], *left[:shift]):
            start = time.process_time()
            state = self.states.get(way) or self.ways[way].init()
            result, self.states[way] = self.ways[way].solve(operator, rhs, state)
            self.seconds.setdefault(way, []).append(time.process_time() - start)
            self.iterations.setdefault(way, []).append(result.iterations)
            if not result.converged:
                self.unsolved.add(way)
            elif way == left[0] or kept is None:
                kept = result.solution
        return kept


def measure(case: Case, count: int, tolerance: float) -> list[dict[str, Any]]:
    """Return a row for each way.

    Args:
        case: Of which family the instances are.
        count: Instances.
        tolerance: On the true relative residual.
    """
    mesh = {"points": case.points, "dimension": case.dimension}
    dataset = DatasetConfig(family=case.family, mesh=mesh, parameters=dict(case.parameters))
    family = load_family(dataset)
    discretisation = family.discretise(MPI.COMM_SELF)
    solve = _SolveByAll(declared_structure(family), tolerance)
    for number in track(range(count), f"measuring {case.label}, {case.points} points"):
        discretisation.solve(family.draw(generator(0, number)), solve)
    times = {way: median(solve.seconds[way]) for way in solve.ways if way not in solve.unsolved}
    return [
        {
            "family": case.label,
            "points": case.points,
            "unknowns": solve.unknowns,
            "systems": solve.systems,
            "varied": way.kind,
            "way": way.name,
            "number": way.number,
            "ms": 1e3 * times[way] if way in times else None,
            "to_fastest": times[way] / min(times.values()) if way in times else None,
            "iterations": median(solve.iterations[way]) if way in times else None,
        }
        for way in solve.ways
    ]


def describe(rows: list[dict[str, Any]]) -> str:
    """Return the tables as Markdown, one for each number, a line for each case and way.

    Cells are milliseconds and iterations, the last one those of the quickest of all.
    """
    cases: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["family"], row["unknowns"]), []).append(row)
    lines = []
    for kind in ("fill", "omega", "m, k"):
        numbers = sorted({row["number"] for row in rows if row["varied"] == kind})
        if not numbers:
            continue
        lines += ["", f"| family | n | way | {' | '.join(numbers)} | best of all |"]
        lines.append("| --- " * (len(numbers) + 4) + "|")
        for (family, unknowns), found in cases.items():
            solved = [row for row in found if row["ms"] is not None]
            best = min(solved, key=lambda row: row["ms"])
            number = f"({best['number']})" if best["number"] else ""
            fastest = f"{best['way']}{number}: {_cell(best)}"
            varied = [row for row in found if row["varied"] == kind]
            for way in dict.fromkeys(row["way"] for row in varied):
                cells = {row["number"]: _cell(row) for row in varied if row["way"] == way}
                shown = " | ".join(cells.get(number, "") for number in numbers)
                lines.append(f"| {family} | {unknowns:,} | {way} | {shown} | {fastest} |")
    return "\n".join(lines[1:])


def _cell(row: dict[str, Any]) -> str:
    return "unsolved" if row["ms"] is None else f"{row['ms']:.1f} ({row['iterations']:.0f})"
