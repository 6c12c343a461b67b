# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure the figures on the pages of families: `python tests/measure_families.py SUBJECT ...`.

Prints the rows of each subject, one a line; `--write` puts them into
`docs/measurements/data/`, from where `make docs` takes them. All subjects take about a minute.
"""

import argparse
import json
import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.krylov import SequenceSolver
from kryloset.problems import load_family
from kryloset.problems.darcy import DarcySettings
from kryloset.sampling import generator
from problems.test_darcy import PUBLISHED, Manufactured, exact_head

type Row = dict[str, Any]

DATA = Path(__file__).parents[1] / "docs/measurements/data"

SOLVERS = {
    "CG + ICC": {"method": "cg", "preconditioner": "icc"},
    "recycling CG(80, 20) + ICC": {"method": "rcg", "preconditioner": "icc", "restart": 80},
    "GCRO-DR(40, 20) + ICC": {"method": "gcrodr", "preconditioner": "icc"},
    "LU": {"method": "direct", "preconditioner": "lu"},
}


class Counted:
    """A solver of the systems of a family that keeps their iterations and processor seconds."""

    tolerance = 1e-8

    def __init__(self, *, near_null_space: bool = True, **settings: Any) -> None:
        """Make the solver."""
        self.solver = SequenceSolver(tolerance=self.tolerance, **settings)
        self.state = self.solver.init()
        self.near_null_space = near_null_space
        self.iterations: list[int] = []
        self.seconds = 0.0

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x."""
        if not self.near_null_space:
            operator.setNearNullSpace(PETSc.NullSpace())
        start = time.process_time()
        result, self.state = self.solver.solve(operator, rhs, self.state.for_operator(operator))
        self.seconds += time.process_time() - start
        assert result.true_residual <= self.tolerance
        self.iterations.append(result.iterations)
        return result.solution


def family(name: str, points: int, dimension: int = 2, degree: int = 1, **parameters: Any) -> Any:
    """Return a family."""
    mesh = {"points": points, "dimension": dimension, "degree": degree}
    return load_family(DatasetConfig(family=name, mesh=mesh, parameters=parameters))


def solve(problem: Any, solver: Counted, count: int) -> list[int]:
    """Solve the first instances in turn; return the iterations of the first."""
    discretisation = problem.discretise(MPI.COMM_SELF)
    first: list[int] = []
    for number in range(count):
        discretisation.solve([problem.draw(generator(0, number))], solver)
        first = first or list(solver.iterations)
    return first


def darcy_orders() -> list[Row]:
    """Return the orders at which the L2 error falls on the last two of three meshes."""
    meshes = {
        "square, 8, 16, 32 cells a side": (2, {1: (8, 16, 32), 2: (8, 16, 32)}),
        "cube, 5, 10, 20 and 2, 4, 8 cells a side": (3, {1: (5, 10, 20), 2: (2, 4, 8)}),
    }
    rows = []
    for name, (dimension, degrees) in meshes.items():
        row: Row = {"mesh": name}
        for degree, cells in degrees.items():
            errors = []
            for n in cells:
                mesh = MeshConfig(points=n * degree + 1, degree=degree, dimension=dimension)
                problem = Manufactured(DarcySettings(), mesh)
                u = solve_instance(problem, problem.draw(generator(0, 0)))
                errors.append(l2_error(u, exact_head, u.function_space.mesh))
            row[f"degree_{degree}"] = float(observed_orders(errors)[-1])
        rows.append(row)
    return rows


def darcy_statistics() -> list[Row]:
    """Return mean and standard deviation of 1,000 instances of the published set."""
    count, points = 1000, 61
    problem = family("darcy", points, permeability="two_valued", smoothness=2, length=1 / 3)
    discretisation = problem.discretise(MPI.COMM_SELF)
    k, u = np.empty((2, count, points, points))
    for number in range(count):
        instance = problem.draw(generator(0, number))
        k[number], u[number] = (
            instance["k"],
            discretisation.solve([instance], solve_directly)[0]["u"],
        )
    cells = (points - 1) ** 2 * count
    mean = u.sum() / cells
    deviation = math.sqrt(np.square(u).sum() / cells - mean**2)
    here = {"k": (k.mean(), k.std()), "u": (mean, deviation)}
    return [
        {
            "what": f"{field}, mean ± standard deviation",
            "published": _pair(PUBLISHED[field]),
            "here": _pair(here[field]),
        }
        for field in here
    ]


def _pair(values: tuple[float, float]) -> str:
    """Return a mean and a deviation in words."""
    factor, power = (1.0, "") if values[0] > 1 else (1e3, "e-3")
    return " ± ".join(f"{factor * value:.3f}{power}" for value in values)


def elasticity_multigrid() -> list[Row]:
    """Return the CG iterations of instance 0."""
    rows = []
    for points, dimension in ((33, 2), (129, 2), (11, 3)):
        row: Row = {"grid": " x ".join([str(points)] * dimension)}
        for key, preconditioner, near in (
            ("icc", "icc", True), ("gamg", "gamg", True), ("gamg_without", "gamg", False)
        ):  # fmt: skip
            solver = Counted(method="cg", preconditioner=preconditioner, near_null_space=near)
            row[key] = solve(family("elasticity", points, dimension), solver, 1)[0]
        rows.append(row)
    return rows


def heat_solvers() -> list[Row]:
    """Return iterations a step and processor seconds of three instances of 20 steps."""
    rows = []
    for label, settings in SOLVERS.items():
        row: Row = {"solver": label}
        for key, end in (("0_001", 0.02), ("0_01", 0.2)):
            solver = Counted(**settings)
            first = solve(family("heat", 129, steps=20, final_time=end), solver, 3)
            row[f"iterations_{key}"] = None if label == "LU" else fmean(solver.iterations)
            row |= {f"seconds_{key}": round(solver.seconds, 3), f"first_{key}": first}
        rows.append(row)
    return rows


def heat_steps() -> list[Row]:
    """Return how far states of four instances are from those of 3,200 steps, in per cent."""
    exact = [_states(number, 3200, "crank_nicolson") for number in range(4)]
    rows = []
    for steps, scheme in (
        (100, "crank_nicolson"), (50, "crank_nicolson"), (100, "backward_euler")
    ):  # fmt: skip
        away = []
        for number, finer in enumerate(exact):
            fine = finer[:: 3200 // steps]
            difference = _states(number, steps, scheme) - fine
            norms = [np.linalg.norm(states[1:], axis=(1, 2)) for states in (difference, fine)]
            away.append(100 * norms[0] / norms[1])
        first, *later = np.array(away).T
        least, *largest = map(_digits, (first.min(), first.max(), np.max(later), later[-1].max()))
        row: Row = {"steps": steps, "scheme": f"`{scheme}`", "first": f"{least} to {largest[0]} %"}
        rows.append(row | {"later": f"at most {largest[1]} %", "last": f"at most {largest[2]} %"})
    return rows


def _digits(value: float) -> str:
    """Return one digit of a value below 1, and two of others."""
    return f"{value:.1g}" if value < 1 else f"{value:.2g}"


def _states(number: int, steps: int, scheme: str) -> Any:
    problem = family("heat", 64, steps=steps, scheme=scheme)
    solver = Counted(method="direct", preconditioner="cholesky")
    return problem.discretise(MPI.COMM_SELF).solve([problem.draw(generator(0, number))], solver)[0][
        "u"
    ]


def helmholtz_iterations() -> list[Row]:
    """Return the median iterations of four instances of the small set."""
    rows = []
    for label, method in (("GMRES(40) + ILU", "gmres"), ("GCRO-DR(40, 20) + ILU", "gcrodr")):
        solver = Counted(method=method, preconditioner="ilu")
        solve(family("helmholtz", 49, degree=2, wavelengths=3), solver, 4)
        rows.append({"solver": label, "iterations": median(solver.iterations)})
    return rows


def maxwell_iterations() -> list[Row]:
    """Return the CG iterations of instance 0."""
    rows = []
    for points, dimension in ((33, 2), (65, 2), (11, 3)):
        row: Row = {"grid": " x ".join([str(points)] * dimension)}
        for preconditioner in ("icc", "gamg"):
            solver = Counted(method="cg", preconditioner=preconditioner)
            row[preconditioner] = solve(family("maxwell", points, dimension), solver, 1)[0]
        rows.append(row)
    return rows


def reaction_diffusion_solvers() -> list[Row]:
    """Return iterations an instance and processor seconds of three instances."""
    rows = []
    for label, settings in SOLVERS.items():
        solver = Counted(**settings)
        first = solve(family("reaction_diffusion", 129), solver, 3)
        rows.append(
            {
                "solver": label,
                "systems": len(solver.iterations),
                "iterations": None if label == "LU" else sum(solver.iterations) / 3,
                "seconds": round(solver.seconds, 3),
                "first": first,
            }
        )
    return rows


SUBJECTS: dict[str, Callable[[], list[Row]]] = {
    measure.__name__: measure
    for measure in (
        darcy_orders,
        darcy_statistics,
        elasticity_multigrid,
        heat_solvers,
        heat_steps,
        helmholtz_iterations,
        maxwell_iterations,
        reaction_diffusion_solvers,
    )
}


def write(subject: str, rows: list[Row]) -> None:
    """Replace the rows of an earlier commit by those of this one."""
    file = DATA / f"{subject}.json"
    data = json.loads(file.read_text("utf-8")) | {"commit": _commit(), "rows": []}
    data.pop("note", None)  # It was of the earlier rows.
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    text = json.dumps(data, ensure_ascii=False, indent=1)
    file.write_text(text.replace('"rows": []', f'"rows": [\n{lines}\n ]') + "\n", "utf-8")


def _commit() -> str:
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.subjects or SUBJECTS:
        measured = SUBJECTS[name]()
        print(f"{name}:", *map(json.dumps, measured), sep="\n", flush=True)
        if arguments.write:
            write(name, measured)
