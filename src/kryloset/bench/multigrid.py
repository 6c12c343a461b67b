# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How does geometric multigrid compare with factors, incomplete factors and algebraic multigrid?

Every system of some instances of a family is solved by all methods in turn. Seconds are the
processor's, set-ups included. They are medians, in which the first system, for which memory,
orderings and lattices are made, counts little.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

from kryloset.bench.instances import Case, race_in_family
from kryloset.bench.peers import Configure, HandWritten
from kryloset.bench.tables import Row, table
from kryloset.krylov import SequenceSolver
from kryloset.krylov.preconditioners.multigrid import set_multigrid
from kryloset.problems import Family
from kryloset.run.comparison import Method

LARGEST_FACTORED = {2: 60_000, 3: 10_000}
"""Unknowns by space dimension up to which factors are measured too."""

CONTRAST = {"permeability": "high_contrast"}
CASES = (
    *(Case("darcy", "darcy", points) for points in (64, 100, 127, 200, 400)),
    Case("darcy, quadratic", "darcy", 65, degree=2),
    Case("darcy, contrast 1e4", "darcy", 64, parameters=CONTRAST),
    Case("darcy, contrast 1e4", "darcy", 100, parameters=CONTRAST),
    *(Case("darcy, cube", "darcy", points, 3, parameters={"modes": 8}) for points in (17, 25, 33)),
    Case("heat, 5 steps", "heat", 64, parameters={"steps": 5, "final_time": 0.005}),
    Case("reaction_diffusion", "reaction_diffusion", 64),
    Case("elasticity", "elasticity", 64),
    Case("elasticity, cube", "elasticity", 17, 3),
)
QUICK_CASES = (CASES[0], CASES[1], CASES[6], CASES[8], CASES[12])


def choose_methods(factors: bool, tolerance: float) -> list[Method]:
    """Return what is compared, factors too or not."""

    def sequence(preconditioner: Any, **given: Any) -> SequenceSolver:
        return SequenceSolver(given.pop("method", "cg"), preconditioner, tolerance, **given)

    def plain(configure: Configure) -> HandWritten:
        return HandWritten("cg", configure, tolerance, max_iterations=1000)

    solvers: dict[str, Any] = {
        "multigrid": sequence("multigrid"),
        "multigrid, reused": sequence("multigrid", refresh="rental"),
        "multigrid V(2,2)": plain(_set_two_sweeps),
        "multigrid, Chebyshev(2)": plain(_set_chebyshev),
        "icc": sequence("icc"),
        "gamg": sequence("gamg"),
        # GAMG keeps its first interpolations unless it is told otherwise.
        "gamg, interpolation kept": plain(lambda pc, operator: pc.setType(PETSc.PC.Type.GAMG)),
        "gamg, reused": sequence("gamg", refresh="rental"),
    }
    if factors:
        solvers["cholesky, reused"] = sequence("cholesky", refresh="rental")
        solvers["direct"] = sequence("cholesky", method="direct")
    return [Method(name, name, solver) for name, solver in solvers.items()]


def _set_two_sweeps(pc: PETSc.PC, operator: PETSc.Mat) -> None:
    set_multigrid(pc, operator)
    for smoother in _smoothers(pc):
        smoother.setTolerances(max_it=2)


def _set_chebyshev(pc: PETSc.PC, operator: PETSc.Mat) -> None:
    """Polynomials of degree 2 in the matrix scaled by its diagonal, its eigenvalues estimated."""
    set_multigrid(pc, operator)
    for smoother in _smoothers(pc):
        smoother.setType(PETSc.KSP.Type.CHEBYSHEV)
        smoother.setTolerances(max_it=2)
        smoother.getPC().setType(PETSc.PC.Type.JACOBI)


def _smoothers(pc: PETSc.PC) -> list[PETSc.KSP]:
    levels = range(1, pc.getMGLevels())
    return [s for n in levels for s in (pc.getMGSmootherDown(n), pc.getMGSmootherUp(n))]


def measure(case: Case, count: int, tolerance: float) -> list[Row]:
    """Return a row for each method."""

    def choose(family: Family, operator: PETSc.Mat) -> list[Method]:
        largest = LARGEST_FACTORED[family.dimension]
        return choose_methods(operator.getSize()[0] <= largest, tolerance)

    solve = race_in_family(case, choose, count, tolerance)
    times = [median(one.values("seconds_processor")) for one in solve.contestants]
    return [
        {
            "family": case.label,
            "points": case.points,
            "unknowns": solve.unknowns,
            "systems": solve.systems,
            "method": contestant.method.name,
            "ms": 1e3 * seconds,
            "to_fastest": seconds / min(times),
            "iterations": median(contestant.values("iterations")),
            "true_residual": max(contestant.values("true_residual")),
        }
        for contestant, seconds in zip(solve.contestants, times, strict=True)
    ]


def run(*, count: int, tolerance: float, quick: bool = False) -> Iterator[list[Row]]:
    """Measure all cases, or some if quick; yield the rows of `measure` in one list."""
    cases = QUICK_CASES if quick else CASES
    yield [row for case in cases for row in measure(case, count, tolerance)]


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a line for each case: milliseconds and, in brackets, iterations."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cases: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        best = "**" if row["to_fastest"] == 1 else ""
        cell = f"{best}{row['ms']:.1f}{best} ({row['iterations']:.0f})"
        cases.setdefault((row["family"], row["unknowns"]), {})[row["method"]] = cell
    lines = [
        [family, f"{unknowns:,}", *(cells.get(method, "") for method in methods)]
        for (family, unknowns), cells in cases.items()
    ]
    return table(["family", "n", *methods], lines)
