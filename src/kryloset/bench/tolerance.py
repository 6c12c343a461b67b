# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How small must a residual be, if its error is to be small beside the discretisation's?

A residual bounds no error by itself, since ||x - x*|| / ||x*|| may be as large as the condition
number times ||b - A x|| / ||b||. So both errors are measured, on every family:

- the discretisation's, e_h, as the difference between the solution u_h on the family's grid and
  that of the same instance on a grid of half the width, at the points of the first. For elements
  of order p it is (1 - 2^-p) e_h in the limit (L. F. Richardson, Phil. Trans. A 210, 1911). Where
  the order is less than the elements', as at the end of a slot, and in time, whose steps are the
  same on both grids, there is more: then what comes out is less than the error, on the strict side;
- the algebraic one, as the difference between u_h solved by factors, to rounding, and u_h
  solved until the true relative residual is within a tolerance.

Both relative to the solution, in the L2 norm of the grid, of one field over all times.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Literal

from mpi4py import MPI

import numpy as np

from kryloset.bench.goals import check_names
from kryloset.bench.instances import Sequential
from kryloset.bench.tables import Row, number, table
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.fem.accuracy import choose_strict, relative_errors
from kryloset.krylov import SequenceSolver, solve_or_escalate
from kryloset.problems import Family, OperatorTraits, load_family
from kryloset.problems.base import Array, Instance
from kryloset.progress import track
from kryloset.sampling import generator

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
"""Of the solves that are compared with those by factors, loosest first."""

USUAL = 1e-8
"""The default, to whose iterations others are relative."""

EXACT = 1e-11
"""What solves by factors are asked for, and Newton's method with them; most reach rounding."""

BESIDE = 0.01
"""Ratio of the algebraic error to the discretisation's at which it is small."""

TARGET = 1e-5
"""Algebraic error that a training set may have. Operators learn to 1e-2 or 1e-3 in this norm, so
labels that are a hundred times better do not limit them."""

FACTORS = "factors"
"""The method of a family whose systems none of the iterative ones solves."""


@dataclass(frozen=True)
class Case:
    """A family on a grid.

    Attributes:
        points: Points a side.
        degree: Of the elements.
        order: p, that of the error in the L2 norm for smooth solutions.
        parameters: The family's settings, but for its defaults.
        halvings: How often its mesh width is halved at most.
    """

    points: int
    degree: Literal[1, 2] = 1
    order: int = 2
    parameters: Mapping[str, Any] = field(default_factory=dict)
    halvings: int = 2

    def load(self, name: str, halvings: int = 0) -> Family:
        """Make the family, its mesh width halved so often; its instances stay the same."""
        points = (self.points - 1) * 2**halvings + 1
        mesh = MeshConfig(points=points, degree=self.degree)
        # Saddle points are solved by factors alone, which all others may be.
        settings = {"family": name, "parameters": dict(self.parameters), "mesh": mesh}
        singular = name == "neumann_poisson"
        solver = {"method": "gcrodr" if singular else "direct"}
        return load_family(DatasetConfig.model_validate(settings | {"solver": solver}))


CASES: Mapping[str, Case] = {
    "darcy": Case(33),
    "poisson": Case(33),
    "neumann_poisson": Case(33),
    "elasticity": Case(33),
    "incompressible_elasticity": Case(17, 2, order=3),
    "maxwell": Case(33, order=1),
    "thermal": Case(33),
    "advection_diffusion": Case(33),
    "helmholtz": Case(65, halvings=1),
    # With four wavelengths GCRO-DR takes thousands of iterations.
    "helmholtz_absorbing": Case(33, parameters={"wavelengths": 2.0}, halvings=1),
    "heat": Case(33, parameters={"steps": 20}),
    "reaction_diffusion": Case(33),
    "navier_stokes": Case(
        17,
        2,
        order=3,
        # Steps that the finer grid allows.
        parameters={"reynolds": 100.0, "steps": 120, "final_time": 1.0},
        halvings=0,
    ),
    "kuramoto_sivashinsky": Case(65, parameters={"steps": 100, "final_time": 10.0}, halvings=0),
}
"""Every family of the package, with fewer points and time steps than its defaults."""


def choose_solvers(operator: OperatorTraits) -> dict[str, SequenceSolver]:
    """Return iterative solvers by name; none for a saddle point, which is left to factors."""
    if operator.saddle_point:
        return {}
    solvers = {"GCRO-DR + ILU": SequenceSolver()}
    if operator.symmetric and operator.definite:
        solvers["CG + ICC"] = SequenceSolver("cg", "icc")
    elif not operator.symmetric:
        solvers["BiCGStab(2) + ILU"] = SequenceSolver("bicgstab", "ilu")
    return solvers


def measure(
    name: str,
    case: Case,
    instances: int,
    halvings: int = 0,
    tolerances: Sequence[float] = TOLERANCES,
) -> list[Row]:
    """Measure both errors of one family.

    Args:
        name: Of the family.
        case: Its grid.
        instances: How many, the first that are drawn.
        halvings: How often the mesh width of the case is halved.
        tolerances: To stop at.

    Returns:
        A row a method and tolerance: `family`, `points` (a side), `unknowns` of a system,
        `method` (`factors` for a family whose systems no iterative method here solves), `field`,
        `discretisation_error` and `algebraic_error` (medians over the instances), `tolerance`,
        `ratio` (the largest of any instance, algebraic over discretisation), `iterations` (mean of
        an instance, all its systems) and `escalations`. The field is that whose ratio is largest.
    """

    def solve(solver: SequenceSolver) -> Sequential:
        return Sequential(solver, solve_or_escalate)

    family, half = case.load(name, halvings), case.load(name, halvings + 1)
    coarse, fine = family.discretise(MPI.COMM_SELF), half.discretise(MPI.COMM_SELF)
    traits = family.operator
    exact = choose_strict(traits, EXACT)
    drawn = [family.draw(generator(0, i)) for i in range(instances)]
    references = [coarse.solve(instance, solve(exact)) for instance in drawn]
    beside = [
        _errors(family, _restrict(half, fine.solve(half.draw(generator(0, i)), solve(exact))), u)
        for i, u in enumerate(references)
    ]
    richardson = 1 - 2.0**-case.order
    rows = []
    for label, solver in (choose_solvers(traits) or {FACTORS: exact}).items():
        for tolerance in tolerances:
            solves = solve(SequenceSolver(solver.method, solver.preconditioner, tolerance))
            left = [
                _errors(family, coarse.solve(instance, solves), u)
                for instance, u in zip(drawn, references, strict=True)
            ]
            account = solves.account
            ratios = {
                key: max(a[key] / b[key] for a, b in zip(left, beside, strict=True)) * richardson
                for key in left[0]
            }
            worst = max(ratios, key=lambda key: ratios[key])
            rows.append(
                {
                    "family": name,
                    "points": family.mesh.points,
                    "unknowns": account.unknowns,
                    "method": label,
                    "field": worst,
                    "discretisation_error": median(e[worst] for e in beside) / richardson,
                    "tolerance": tolerance,
                    "algebraic_error": median(e[worst] for e in left),
                    "ratio": ratios[worst],
                    "iterations": account.iterations / instances,
                    "escalations": account.escalations,
                }
            )
    return rows


def _restrict(half: Family, solution: Instance) -> dict[str, Array]:
    """Return the fields of a grid at every other point, along its axes alone."""
    times = () if half.times is None else (slice(None),)
    every = tuple(slice(None, None, 2) for _ in half.coordinates)
    return {v.name: np.asarray(solution[v.name])[(*times, *every)] for v in half.fields}


def _errors(family: Family, found: Instance, reference: Instance) -> dict[str, float]:
    """Return the relative error of each field."""
    return relative_errors({v.name: reference[v.name] for v in family.fields}, found)


def run(*, family: Sequence[str], instances: int, halvings: int) -> Iterator[list[Row]]:
    """Measure several families; yield the rows of `measure` in one list.

    Raises:
        KrylosetError: There is no such family.
    """
    check_names("--family", family, tuple(CASES))
    yield [
        row
        for name in track(family or tuple(CASES), "measuring families")
        for times in range(min(halvings, CASES[name].halvings) + 1)
        for row in measure(name, CASES[name], instances, times)
    ]


def loosest(
    rows: Sequence[Mapping[str, Any]], *, beside: float = BESIDE, target: float = TARGET
) -> tuple[float | None, float | None]:
    """Return the loosest tolerances that are strict enough for all rows.

    Args:
        rows: As of `run`.
        beside: Largest `ratio`.
        target: Largest `algebraic_error`.

    Returns:
        That for the ratio and that for the error; stricter ones are good enough too. None where
        the strictest is not.
    """

    def find(key: str, limit: float) -> float | None:
        found = None
        for tolerance in sorted({row["tolerance"] for row in rows}):
            if any(row[key] > limit for row in rows if row["tolerance"] == tolerance):
                break
            found = tolerance
        return found

    return find("ratio", beside), find("algebraic_error", target)


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return two tables: a line for each family, grid and method; what follows by grid."""
    return f"{describe_errors(rows)}\n\n{describe_grids(rows)}"


def describe_errors(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with the errors of each family, grid and method, and what follows."""
    tolerances = sorted({row["tolerance"] for row in rows}, reverse=True)
    lines = []
    for (family, points, method), group in _groups(rows).items():
        last = group[min(group)]
        errors = [f"{group[t]['algebraic_error']:.0e}" for t in tolerances]
        ends = [number(t, ".0e") for t in loosest(list(group.values()))]
        error = f"{last['discretisation_error']:.0e}"
        unknowns = f"{last['unknowns']:,}"
        start = [family, str(points), unknowns, method, last["field"], error]
        lines.append([*start, *errors, *ends])
    header = ["family", "points", "n", "method", "field", "discretisation"]
    return table([*header, *(f"{t:.0e}" for t in tolerances), "beside", "target"], lines)


def describe_grids(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with the largest errors on each grid; iterations are relative to `USUAL`."""
    lines = []
    for points in sorted({row["points"] for row in rows}):
        groups = [group for key, group in _groups(rows).items() if key[1] == points]
        for tolerance in sorted({row["tolerance"] for row in rows}, reverse=True):
            here = [group[tolerance] for group in groups]
            shares = [
                group[tolerance]["iterations"] / group[USUAL]["iterations"]
                for group in groups
                if group[tolerance]["method"] != FACTORS and USUAL in group
            ]
            largest = [
                f"{max(row[key] for row in here):.1e}" for key in ("ratio", "algebraic_error")
            ]
            share = number(fmean(shares) if shares else None, ".2f")
            lines.append([str(points), f"{tolerance:.0e}", *largest, share])
    header = ["points", "tolerance", "largest ratio", "largest algebraic error"]
    return table([*header, f"iterations / {USUAL:.0e}"], lines)


def _groups(
    rows: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, int, str], dict[float, Mapping[str, Any]]]:
    """Return the rows of each family, grid and method by tolerance."""
    groups: dict[tuple[str, int, str], dict[float, Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["family"], row["points"], row["method"])
        groups.setdefault(key, {})[row["tolerance"]] = row
    return groups
