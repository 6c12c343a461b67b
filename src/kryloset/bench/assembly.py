# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How much quicker is assembly of a group than DOLFINx's, and is it the same?

All fill storage that is reused, for the same new coefficients, and take turns at beginning. Times
are medians of one run, of the processor's time, and for one instance: on a shared machine a long
call is interrupted and a short one is not. DOLFINx's include setting the storage to zero, since it
adds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

from mpi4py import MPI

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem, mesh

from kryloset.bench.goals import Goal, check_names, timed
from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.fem.group import GroupMatrix, GroupValues, GroupVector
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import zeros
from kryloset.progress import track
from kryloset.run.comparison import in_turn

RATIO = 20.0
"""How many times faster than `assemble_matrix` sixteen lanes are to be, for P1 Darcy at n = 1e4."""

DIFFERENCE = 1e-13
"""How much entries may differ, relative to the largest one."""

LANES = 16, 1


@dataclass(frozen=True)
class Case:
    """What is assembled.

    Attributes:
        kind: `darcy`, -div(k grad u) = f; `elasticity`, with k times fixed Lame parameters
            (Young's modulus is k, Poisson's ratio 1/4); or `wind`, diffusion and the wind with the
            stream function k, stabilised as in the family advection_diffusion. k and f are P1.
        dimension: 2 or 3.
        degree: Degree of the Lagrange elements of u, 1 or 2.
    """

    kind: str
    dimension: int
    degree: int


DARCY = (Case("darcy", 2, 1), Case("darcy", 2, 2), Case("darcy", 3, 1))
CASES = (*DARCY, Case("elasticity", 2, 1), Case("wind", 2, 1))


def measure_case(case: Case, *, size: int, repeats: int) -> Row:
    """Compare all ways on a unit square or cube. Serial.

    The row has figures for `matrix` and `vector`. Their `difference` is the largest of all,
    relative to the largest entry.
    """
    k, f, a, b, bcs = _make_forms(case, size)
    compiled = fem.form(a), fem.form(b)  # Not to count compilers.
    mat = dolfinx.fem.petsc.assemble_matrix(compiled[0], bcs=bcs)
    mat.assemble()
    vec, pattern = fem.assemble_vector(compiled[1]).array, Pattern.of(mat)

    def assemble_matrix() -> None:
        mat.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(mat, compiled[0], bcs=bcs)
        mat.assemble()

    def assemble_vector() -> None:
        vec[:] = 0
        fem.assemble_vector(vec, compiled[1])

    calls: dict[tuple[str, int], Callable[[], Any]] = {}
    calls["matrix", 0], calls["vector", 0] = assemble_matrix, assemble_vector
    storage: dict[tuple[str, int], Any] = {}
    setups: dict[str, float] = {}
    values = {lanes: GroupValues([k, f], lanes) for lanes in LANES}
    for lanes, group in values.items():
        makers: dict[str, Callable[[], Any]] = {
            "matrix": partial(GroupMatrix, a, group, bcs, pattern),
            "vector": partial(GroupVector, b, group),
        }
        for name, make in makers.items():
            make()  # Which compiles.
            made, setups[name] = timed(make)
            size = pattern.size if name == "matrix" else pattern.rows
            storage[name, lanes] = zeros(size, lanes)
            calls[name, lanes] = partial(made.update, storage[name, lanes])

    seconds: dict[tuple[str, int], list[float]] = {}
    differences: dict[str, list[float]] = {"matrix": [], "vector": []}
    generator = np.random.default_rng(1)
    for turn in track(range(repeats + 1), f"measuring {_name(vars(case))}"):
        group = values[LANES[0]]
        group[k][:] = np.exp(generator.standard_normal(group[k].shape))
        group[f][:] = generator.standard_normal(group[f].shape)
        group.give(turn % LANES[0])
        for key, assemble in in_turn([*calls.items()], turn):
            taken = timed(assemble)[1]
            # The first time memory is not yet there.
            if turn:
                seconds.setdefault(key, []).append(taken / max(key[1], 1))
        expected = {"matrix": mat.getValuesCSR()[2], "vector": vec}
        for (name, lanes), found in storage.items():
            difference = abs(found[:, turn % lanes] - expected[name]).max()
            differences[name].append(float(difference / abs(expected[name]).max()))

    row: Row = {**asdict(case), "unknowns": pattern.rows, "repeats": repeats}
    for name, worst in differences.items():
        own, *ms = (1e3 * median(seconds[name, lanes]) for lanes in (0, *LANES))
        row[name] = {
            "ms_dolfinx": own,
            **dict(zip(("ms_sixteen", "ms_one"), ms, strict=True)),
            "ratio": own / ms[0],
            "difference": max(worst),
            "seconds_setup": setups[name],
        }
    return row


def _make_forms(case: Case, size: int) -> tuple[Any, ...]:
    """Return k, f, a, L and the conditions u = 0 on the whole boundary."""
    nodes = round(size ** (2 / case.dimension))
    cells = max((nodes - 1) // case.degree, 1)
    make_mesh = mesh.create_unit_square if case.dimension == 2 else mesh.create_unit_cube
    domain = make_mesh(MPI.COMM_SELF, *(cells,) * case.dimension)
    shape = (case.dimension,) if case.kind == "elasticity" else ()
    space = fem.functionspace(domain, ("Lagrange", case.degree, shape))
    k = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))
    f = fem.Function(fem.functionspace(domain, ("Lagrange", 1, shape)))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    if case.kind == "elasticity":
        # Both Lame parameters are 2/5 of Young's modulus at a Poisson's ratio of 1/4.
        strain = ufl.sym(ufl.grad(u))
        stress = 0.4 * k * (2 * strain + ufl.tr(strain) * ufl.Identity(case.dimension))
        a = ufl.inner(stress, ufl.sym(ufl.grad(v))) * ufl.dx
    elif case.kind == "wind":
        wind, eps = ufl.as_vector([k.dx(1), -k.dx(0)]), 1e-2
        dx = ufl.dx(metadata={"quadrature_degree": 2 * case.degree})
        tau = 1 / ufl.max_value(2 * cells * ufl.sqrt(ufl.dot(wind, wind)), 12 * eps * cells**2)
        along = v + tau * ufl.dot(wind, ufl.grad(v))
        a = eps * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx
        a += ufl.dot(wind, ufl.grad(u)) * along * dx
    else:
        a = k * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
    sides = slice(case.dimension)
    dofs = fem.locate_dofs_geometrical(space, lambda x: (abs(x - 0.5)[sides] > 0.499999).any(0))
    bcs = [fem.dirichletbc(fem.Function(space), dofs)]
    return k, f, a, ufl.inner(f, v) * ufl.dx, bcs


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare what was measured with the goals; the ratio's is for P1 Darcy with n = 1e4."""
    goals = []
    for row in rows:
        where = f"{_name(row)}, n = {row['unknowns']:,}"
        if where == "P1 darcy in 2-D, n = 10,000":
            ratio = row["matrix"]["ratio"]
            goals.append(Goal("assemble_matrix / group", where, ratio, RATIO, at_least=True))
        for part in ("matrix", "vector"):
            difference = row[part]["difference"]
            goals.append(Goal(f"difference of the {part}", where, difference, DIFFERENCE))
    return goals


def run(
    *, size: int, degree: int | None, dimension: int | None, repeats: int
) -> Iterator[list[Row]]:
    """Measure all cases; yield their rows in one list.

    Where a degree or a dimension is given, both kinds are measured with it. `size` is that of the
    square; a cube has about as many nodes in all.

    Raises:
        KrylosetError: A number is out of range.
    """
    check_names("--degree", [str(degree)], ("1", "2", "None"))
    check_names("--dimension", [str(dimension)], ("2", "3", "None"))
    cases: tuple[Case, ...] = CASES
    if degree is not None or dimension is not None:
        cases = tuple(Case(kind, dimension or 2, degree or 1) for kind in ("darcy", "elasticity"))
    yield [measure_case(case, size=size, repeats=repeats) for case in cases]


def describe(rows: Sequence[Row]) -> str:
    """Return a table with a line for the matrix and one for the vector of each case."""
    parts = [
        {**row, **row[part], "part": f"{_name(row)}, {part}"}
        for row in rows
        for part in ("matrix", "vector")
    ]
    return tabulate(parts, COLUMNS["assembly"])


def _name(row: Row) -> str:
    return f"P{row['degree']} {row['kind']} in {row['dimension']}-D"
