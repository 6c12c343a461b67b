# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
r"""How small a residual has to be: the error it leaves beside that of the discretisation.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Literal

from mpi4py import MPI

import numpy as np

from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import KrylosetError
from kryloset.fem.accuracy import choose_strict, relative_errors
from kryloset.krylov import SequenceSolver, solve_or_escalate
from kryloset.problems import Family, OperatorTraits, load_family
from kryloset.problems.base import Array, Instance
from kryloset.progress import track
from kryloset.sampling import generator

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
"""What stopped solves are asked for, loosest first."""

EXACT = 1e-11
"""What those by factors are asked for, Newton's method with them; most reach rounding."""

BESIDE = 0.01
"""Algebraic error over that of the discretisation that is small beside it."""

TARGET = 1e-5
"""Algebraic error that a training set may have: operators learn to 1e-2 or 1e-3 in this norm, and
labels a hundred times better than the best are not what limits them."""

FACTORS = "factors"
"""The method of a family whose systems none of the iterative ones solves."""

INSTANCES, QUICK_INSTANCES = 2, 1

HALVINGS = 2
"""Of the mesh widths of `CASES`: grids of 33, 65 and 129 points a side, mostly."""


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


@dataclass
class Solves:
    """A `Solve` that climbs where its solver fails, and counts.

    Attributes:
        solver: The solver.
        iterations: Of all systems so far.
        unknowns: Of the last.
        escalations: Rungs climbed.
    """

    solver: SequenceSolver
    iterations: int = 0
    unknowns: int = 0
    escalations: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing recycled."""
        self._state = self.solver.init()

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""
        return self.solver.tolerance

    def __call__(self, operator: Any, rhs: Any) -> Any:
        """Return x."""
        state = self._state.for_operator(operator)
        result, self._state, attempts = solve_or_escalate(self.solver, operator, rhs, state)
        self.iterations += result.iterations
        self.unknowns = operator.getSize()[0]
        self.escalations += len(attempts)
        return result.solution


def choose_ways(operator: OperatorTraits) -> dict[str, SequenceSolver]:
    """Return iterative ways by name; of a saddle point, which is left to factors, none."""
    if operator.saddle_point:
        return {}
    ways = {"GCRO-DR + ILU": SequenceSolver()}
    if operator.symmetric and operator.definite:
        ways["CG + ICC"] = SequenceSolver("cg", "icc")
    elif not operator.symmetric:
        ways["BiCGStab(2) + ILU"] = SequenceSolver("bicgstab", "ilu")
    return ways


def measure(
    name: str,
    case: Case,
    instances: int,
    halvings: int = 0,
    tolerances: Sequence[float] = TOLERANCES,
) -> list[dict[str, Any]]:
    """Measure both errors of one family.

    Args:
        name: Of the family.
        case: Its grid.
        instances: How many, the first that are drawn.
        halvings: How often the mesh width of the case is halved.
        tolerances: To stop at.

    Returns:
        A row a way and tolerance: `family`, `points` (a side), `unknowns` of a system,
        `method` (`factors` for a family whose systems no iterative way here solves), `field`,
        `discretisation_error` and `algebraic_error` (medians over the instances), `tolerance`,
        `ratio` (the largest of any instance, algebraic over discretisation), `iterations` (mean of
        an instance, all its systems) and `escalations`. The field is that whose ratio is largest.
    """
    family, half = case.load(name, halvings), case.load(name, halvings + 1)
    coarse, fine = family.discretise(MPI.COMM_SELF), half.discretise(MPI.COMM_SELF)
    traits = family.operator
    exact = choose_strict(traits, EXACT)
    drawn = [family.draw(generator(0, i)) for i in range(instances)]
    references = [coarse.solve(instance, Solves(exact)) for instance in drawn]
    beside = [
        _errors(family, _restrict(half, fine.solve(half.draw(generator(0, i)), Solves(exact))), u)
        for i, u in enumerate(references)
    ]
    richardson = 1 - 2.0**-case.order
    ways = choose_ways(traits) or {FACTORS: exact}
    rows = []
    for label, way in ways.items():
        for tolerance in tolerances:
            solver = SequenceSolver(way.method, way.preconditioner, tolerance)
            solves = Solves(solver)
            left = [
                _errors(family, coarse.solve(instance, solves), u)
                for instance, u in zip(drawn, references, strict=True)
            ]
            ratios = {
                key: max(a[key] / b[key] for a, b in zip(left, beside, strict=True)) * richardson
                for key in left[0]
            }
            worst = max(ratios, key=lambda key: ratios[key])
            rows.append(
                {
                    "family": name,
                    "points": family.mesh.points,
                    "unknowns": solves.unknowns,
                    "method": label,
                    "field": worst,
                    "discretisation_error": median(e[worst] for e in beside) / richardson,
                    "tolerance": tolerance,
                    "algebraic_error": median(e[worst] for e in left),
                    "ratio": ratios[worst],
                    "iterations": solves.iterations / instances,
                    "escalations": solves.escalations,
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


def run(
    families: Sequence[str] = tuple(CASES),
    *,
    instances: int = INSTANCES,
    halvings: int = HALVINGS,
    tolerances: Sequence[float] = TOLERANCES,
) -> list[dict[str, Any]]:
    """Measure several families; rows as of `measure`.

    Args:
        families: Names in `CASES`.
        instances: Of each.
        halvings: How often mesh widths are halved, at most; all grids from the coarsest on count.
        tolerances: To stop at.

    Raises:
        KrylosetError: There is no such family.
    """
    for name in families:
        if name not in CASES:
            raise KrylosetError(f"--family {name} is not one of {', '.join(CASES)}")
    return [
        row
        for name in track(families, "measuring families")
        for times in range(min(halvings, CASES[name].halvings) + 1)
        for row in measure(name, CASES[name], instances, times, tolerances)
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


def describe(rows: Sequence[Mapping[str, Any]], default: float) -> str:
    """Return two tables as Markdown: a line a family, grid and method; what follows by grid.

    Args:
        rows: As of `run`.
        default: The tolerance that iterations are relative to.
    """
    tolerances = sorted({row["tolerance"] for row in rows}, reverse=True)
    shown = " | ".join(f"{t:.0e}" for t in tolerances)
    lines = [
        f"| family | points | n | method | field | discretisation | {shown} | beside | target |",
        f"| --- | ---: | ---: | --- | --- | ---: |{' ---: |' * (len(tolerances) + 2)}",
    ]
    groups: dict[tuple[Any, ...], dict[float, Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["family"], row["points"], row["method"])
        groups.setdefault(key, {})[row["tolerance"]] = row
    for (family, points, method), group in groups.items():
        last = group[min(group)]
        errors = " | ".join(f"{group[t]['algebraic_error']:.0e}" for t in tolerances)
        ends = " | ".join(_power(t) for t in loosest(list(group.values())))
        lines.append(
            f"| {family} | {points} | {last['unknowns']:,} | {method} | {last['field']} | "
            f"{last['discretisation_error']:.0e} | {errors} | {ends} |"
        )
    lines += [
        "",
        "| points | tolerance | largest ratio | largest algebraic error | "
        f"iterations / {default:.0e} |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for points in sorted({row["points"] for row in rows}):
        for tolerance in tolerances:
            here = [group[tolerance] for key, group in groups.items() if key[1] == points]
            shares = [
                group[tolerance]["iterations"] / group[default]["iterations"]
                for key, group in groups.items()
                if key[1] == points and key[2] != FACTORS and default in group
            ]
            share = f"{fmean(shares):.2f}" if shares else "–"
            lines.append(
                f"| {points} | {tolerance:.0e} | {max(row['ratio'] for row in here):.1e} | "
                f"{max(row['algebraic_error'] for row in here):.1e} | {share} |"
            )
    return "\n".join(lines)


def _power(tolerance: float | None) -> str:
    return "none" if tolerance is None else f"{tolerance:.0e}"
