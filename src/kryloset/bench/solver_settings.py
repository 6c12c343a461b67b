# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which levels of fill, relaxation factors and sizes of recycled subspaces are the quickest?

Every system of some instances of a family is solved by the strategies of automatic selection and by
the same methods with other settings, all in turn. Seconds are the processor's, set-ups included.
They are medians, in which the first system counts little. A solver that leaves a system unsolved
takes no further part.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

from kryloset.bench.instances import Case, race_in_family
from kryloset.bench.tables import Row, table
from kryloset.krylov import SequenceSolver, Structure
from kryloset.krylov.automatic.strategies import choose_strategies, has_sparse_factors
from kryloset.krylov.names import Method as MethodName
from kryloset.krylov.names import Preconditioner
from kryloset.krylov.preconditioners.multigrid import has_interpolations
from kryloset.problems import Family
from kryloset.run.comparison import Method
from kryloset.run.solver import declared_structure

MAX_ITERATIONS = 1_000

RELAXATION_FACTORS = (1.0, 1.2, 1.5, 1.7)
"""Of SSOR."""

LEVELS = (0, 1, 2, 3, 4)
"""Of fill of the incomplete factors."""

SUBSPACES = {"gcrodr": ((20, 10), (40, 20), (80, 20)), "rcg": ((40, 20), (80, 20))}
"""Directions of a cycle, and of these directions that are recycled."""

CASES = (
    Case("darcy", "darcy", 64),
    Case("darcy, cube", "darcy", 17, 3, parameters={"modes": 8}),
    Case("darcy, cube", "darcy", 25, 3, parameters={"modes": 8}),
    Case("elasticity", "elasticity", 64),
    Case("elasticity, cube", "elasticity", 13, 3),
    Case("reaction_diffusion", "reaction_diffusion", 33),
    Case("reaction_diffusion", "reaction_diffusion", 64),
    Case("thermal, slab", "thermal", 64, parameters={"conductivity": "lognormal"}),
    Case("maxwell", "maxwell", 33),
    Case("maxwell, cube", "maxwell", 9, 3),
    Case("helmholtz_absorbing", "helmholtz_absorbing", 49),
    Case("advection_diffusion", "advection_diffusion", 64),
    Case("advection_diffusion", "advection_diffusion", 127),
)
QUICK_CASES = (CASES[1], CASES[5], CASES[11])


class Variant(NamedTuple):
    """A solver, and what is varied of it.

    Attributes:
        varied: "nothing" for a strategy of automatic selection, else "fill", "omega" or "m, k".
        name: Without the setting.
        setting: As people read it; empty for a strategy.
    """

    varied: str
    name: str
    setting: str = ""


def choose_variants(
    declared: Structure, operator: PETSc.Mat, tolerance: float
) -> dict[Variant, SequenceSolver]:
    """Return what to compare for such matrices."""
    strategies = choose_strategies(
        declared,
        factors=has_sparse_factors(operator),
        multigrid=has_interpolations(operator),
        tolerance=tolerance,
        max_iterations=MAX_ITERATIONS,
    )
    # Those with incomplete factors or SOR are among those with settings.
    found = {
        Variant("nothing", one.label): one
        for one in strategies
        if one.preconditioner not in ("icc", "ilu", "sor")
    }
    given: dict[str, Any] = {"tolerance": tolerance, "max_iterations": MAX_ITERATIONS}
    methods: tuple[MethodName, ...] = ("cg",) if declared.definite else ("bicgstab", "gmres")
    recycling: MethodName = "rcg" if declared.definite else "gcrodr"
    factor: Preconditioner = "icc" if declared.definite else "ilu"
    for method in methods:
        for fill in LEVELS:
            solver = SequenceSolver(method, factor, fill=fill, **given)
            found[Variant("fill", f"{method} + {factor}", str(fill))] = solver
    for restart, recycle in SUBSPACES[recycling]:
        solver = SequenceSolver(recycling, factor, restart=restart, recycle=recycle, **given)
        found[Variant("m, k", f"{recycling} + {factor}", f"{restart}, {recycle}")] = solver
    for omega in RELAXATION_FACTORS if declared.definite else ():
        solver = SequenceSolver("cg", "sor", omega=omega, **given)
        found[Variant("omega", "cg + sor", str(omega))] = solver
    return found


def measure(case: Case, count: int, tolerance: float) -> list[Row]:
    """Return a row for each variant."""
    variants: list[Variant] = []

    def choose(family: Family, operator: PETSc.Mat) -> list[Method]:
        found = choose_variants(declared_structure(family), operator, tolerance)
        variants.extend(found)
        return [Method(variant.name, variant.name, solver) for variant, solver in found.items()]

    solve = race_in_family(case, choose, count, tolerance)
    times = [
        median(one.values("seconds_processor")) if one.running else None
        for one in solve.contestants
    ]
    fastest = min(seconds for seconds in times if seconds is not None)
    return [
        {
            "family": case.label,
            "points": case.points,
            "unknowns": solve.unknowns,
            "systems": solve.systems,
            "varied": variant.varied,
            "solver": variant.name,
            "setting": variant.setting,
            "ms": None if seconds is None else 1e3 * seconds,
            "to_fastest": None if seconds is None else seconds / fastest,
            "iterations": None if seconds is None else median(one.values("iterations")),
        }
        for variant, one, seconds in zip(variants, solve.contestants, times, strict=True)
    ]


def run(*, count: int, tolerance: float, quick: bool = False) -> Iterator[list[Row]]:
    """Measure all cases, or some if quick; yield the rows of `measure` in one list."""
    cases = QUICK_CASES if quick else CASES
    yield [row for case in cases for row in measure(case, count, tolerance)]


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table for each varied setting, with a line for each case and solver.

    Cells are milliseconds and, in brackets, iterations; the last one is that of the quickest of
    all.
    """
    tables = (describe_fill(rows), describe_omega(rows), describe_subspace(rows))
    return "\n\n".join(text for text in tables if text)


def describe_setting(rows: Sequence[Mapping[str, Any]], varied: str) -> str:
    """Return the table of one varied setting, nothing where it was not varied."""
    if not any(row["varied"] == varied for row in rows):
        return ""
    cases: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["family"], row["unknowns"]), []).append(row)
    settings = sorted({row["setting"] for row in rows if row["varied"] == varied})
    lines = []
    for (family, unknowns), found in cases.items():
        solved = [row for row in found if row["ms"] is not None]
        best = min(solved, key=lambda row: row["to_fastest"])
        setting = f"({best['setting']})" if best["setting"] else ""
        here = [row for row in found if row["varied"] == varied]
        for solver in dict.fromkeys(row["solver"] for row in here):
            cells = {row["setting"]: _cell(row) for row in here if row["solver"] == solver}
            shown = [cells.get(setting, "") for setting in settings]
            fastest = f"{best['solver']}{setting}: {_cell(best)}"
            lines.append([family, f"{unknowns:,}", solver, *shown, fastest])
    return table(["family", "n", "solver", *settings, "best of all"], lines)


describe_fill = partial(describe_setting, varied="fill")
describe_omega = partial(describe_setting, varied="omega")
describe_subspace = partial(describe_setting, varied="m, k")


def _cell(row: Mapping[str, Any]) -> str:
    return "unsolved" if row["ms"] is None else f"{row['ms']:.1f} ({row['iterations']:.0f})"
