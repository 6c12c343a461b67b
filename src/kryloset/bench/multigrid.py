# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Geometric multigrid beside factors, incomplete factors and algebraic multigrid.

Every system of some instances of a family is solved by all in turn; the one that begins moves
on by one each system. Seconds are the processor's, set-ups included; medians, in which the
first system, for which memory, orderings and lattices are made, counts little.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from mpi4py import MPI
from petsc4py import PETSc

from kryloset.config import DatasetConfig
from kryloset.krylov import SequenceSolver
from kryloset.krylov.preconditioners.multigrid import set_multigrid
from kryloset.problems import load_family
from kryloset.progress import track
from kryloset.sampling import generator

SMALL_FACTORS = {2: 60_000, 3: 10_000}
"""Unknowns by space dimension up to which factors are measured too."""


class Case(NamedTuple):
    """Instances of a family."""

    label: str
    family: str
    points: int
    dimension: int = 2
    degree: int = 1
    parameters: tuple[tuple[str, Any], ...] = ()


HIGH = (("permeability", "high_contrast"),)
CASES = (
    *(Case("darcy", "darcy", points) for points in (64, 100, 127, 200, 400)),
    Case("darcy, quadratic", "darcy", 65, degree=2),
    Case("darcy, contrast 1e4", "darcy", 64, parameters=HIGH),
    Case("darcy, contrast 1e4", "darcy", 100, parameters=HIGH),
    *(
        Case("darcy, cube", "darcy", points, 3, parameters=(("modes", 8),))
        for points in (17, 25, 33)
    ),
    Case("heat, 5 steps", "heat", 64, parameters=(("steps", 5), ("final_time", 0.005))),
    Case("reaction_diffusion", "reaction_diffusion", 64),
    Case("elasticity", "elasticity", 64),
    Case("elasticity, cube", "elasticity", 17, 3),
)
QUICK = (CASES[0], CASES[1], CASES[6], CASES[8], CASES[12])


@dataclass
class _Plain:
    """PETSc's CG with a preconditioner that PETSc itself keeps up to date."""

    configure: Callable[[PETSc.PC, PETSc.Mat], None]
    tolerance: float
    ksp: PETSc.KSP | None = None

    def solve(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> tuple[int, PETSc.Vec]:
        if self.ksp is None:
            self.ksp = PETSc.KSP().create(operator.comm)
            self.ksp.setOperators(operator)
            self.ksp.setType(PETSc.KSP.Type.CG)
            self.ksp.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
            self.ksp.setTolerances(rtol=0.999 * self.tolerance, max_it=1000)
            self.configure(self.ksp.getPC(), operator)
        solution = rhs.duplicate()
        self.ksp.solve(rhs, solution)
        return self.ksp.getIterationNumber(), solution


@dataclass
class _Sequence:
    """A `SequenceSolver` with its state."""

    solver: SequenceSolver
    state: Any = None

    def solve(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> tuple[int, PETSc.Vec]:
        result, self.state = self.solver.solve(operator, rhs, self.state or self.solver.init())
        return result.iterations, result.solution


@dataclass
class _SolveByAll:
    """Solves each system by all methods, and returns the solution of the first.

    Attributes:
        tolerance: On the true relative residual.
        methods: By name.
        seconds: Of each system, by method; likewise the next two.
    """

    tolerance: float
    methods: dict[str, _Plain | _Sequence]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    iterations: dict[str, list[int]] = field(default_factory=dict)
    residuals: dict[str, list[float]] = field(default_factory=dict)
    systems: int = 0

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        names, kept = list(self.methods), None
        shift = self.systems % len(names)
        self.systems += 1
        residual, norm = rhs.duplicate(), rhs.norm()
        for name in (*names[shift:], *names[:shift]):
            start = time.process_time()
            iterations, solution = self.methods[name].solve(operator, rhs)
            self.seconds.setdefault(name, []).append(time.process_time() - start)
            self.iterations.setdefault(name, []).append(iterations)
            operator.mult(solution, residual)
            residual.aypx(-1.0, rhs)
            self.residuals.setdefault(name, []).append(residual.norm() / norm)
            kept = solution if name == names[0] else kept
        return kept


def measure(case: Case, count: int, tolerance: float) -> list[dict[str, Any]]:
    """Return a row for each method.

    Args:
        case: Of which family the instances are.
        count: Instances.
        tolerance: On the true relative residual.
    """
    mesh = {"points": case.points, "dimension": case.dimension, "degree": case.degree}
    dataset = DatasetConfig(family=case.family, mesh=mesh, parameters=dict(case.parameters))
    family = load_family(dataset)
    discretisation = family.discretise(MPI.COMM_SELF)
    components = sum(case.dimension if f.rank else 1 for f in family.fields)
    unknowns = case.points**case.dimension * components
    solve = _SolveByAll(tolerance, _methods(unknowns <= SMALL_FACTORS[case.dimension], tolerance))
    for number in track(range(count), f"measuring {case.label}, n = {unknowns:,}"):
        discretisation.solve(family.draw(generator(0, number)), solve)
    times = {name: median(seconds) for name, seconds in solve.seconds.items()}
    return [
        {
            "family": case.label,
            "points": case.points,
            "unknowns": unknowns,
            "systems": solve.systems,
            "method": name,
            "ms": 1e3 * times[name],
            "to_fastest": times[name] / min(times.values()),
            "iterations": median(solve.iterations[name]),
            "true_residual": max(solve.residuals[name]),
        }
        for name in solve.methods
    ]


def _methods(factors: bool, tolerance: float) -> dict[str, _Plain | _Sequence]:
    def sequence(preconditioner: Any, **given: Any) -> _Sequence:
        method = given.pop("method", "cg")
        return _Sequence(SequenceSolver(method, preconditioner, tolerance=tolerance, **given))

    methods: dict[str, _Plain | _Sequence] = {
        "multigrid": sequence("multigrid"),
        "multigrid, reused": sequence("multigrid", refresh="rental"),
        "multigrid V(2,2)": _Plain(_set_two_sweeps, tolerance),
        "multigrid, Chebyshev(2)": _Plain(_set_chebyshev, tolerance),
        "icc": sequence("icc"),
        "gamg": sequence("gamg"),
        "gamg, interpolation kept": _Plain(_set_gamg, tolerance),
        "gamg, reused": sequence("gamg", refresh="rental"),
    }
    if factors:
        methods["cholesky, reused"] = sequence("cholesky", refresh="rental")
        methods["direct"] = sequence("cholesky", method="direct")
    return methods


def _set_gamg(pc: PETSc.PC, operator: PETSc.Mat) -> None:
    """GAMG keeps its first interpolations unless it is told otherwise."""
    pc.setType(PETSc.PC.Type.GAMG)


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
    numbers = range(1, pc.getMGLevels())
    return [s for n in numbers for s in (pc.getMGSmootherDown(n), pc.getMGSmootherUp(n))]


def describe(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown: a line for each case, milliseconds and iterations."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cases: dict[tuple[str, int], dict[str, str]] = {}
    for row in rows:
        best = "**" if row["to_fastest"] == 1 else ""
        cell = f"{best}{row['ms']:.1f}{best} ({row['iterations']:.0f})"
        cases.setdefault((row["family"], row["unknowns"]), {})[row["method"]] = cell
    lines = [f"| family | n | {' | '.join(methods)} |", "| --- " * (len(methods) + 2) + "|"]
    for (family, unknowns), cells in cases.items():
        found = " | ".join(cells.get(method, "") for method in methods)
        lines.append(f"| {family} | {unknowns:,} | {found} |")
    return "\n".join(lines)
