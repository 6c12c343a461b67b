# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How much quicker is assembly by a sparse map than DOLFINx's, and is it the same?

Both fill storage that is reused, for the same new coefficients, and take turns at beginning.
Times are medians of one run, of the processor's time: on a shared machine a long call is
interrupted and a short one is not, so that a clock on the wall would flatter the map. DOLFINx's
include setting the storage to zero, since it adds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem, mesh

from kryloset.bench.goals import Goal, check_names, timed
from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.fem.affine import AffineMatrix, AffineVector
from kryloset.progress import track
from kryloset.run.comparison import in_turn

RATIO = 8.0
"""How many times faster than `assemble_matrix` the map shall be, for P1 Darcy at n = 1e4."""

DIFFERENCE = 1e-12
"""How much entries may differ, relative to the largest one."""


@dataclass(frozen=True)
class Case:
    """What is assembled.

    Attributes:
        kind: `darcy`, -div(k grad u) = f; or `elasticity`, with k times fixed Lame
            parameters (Young's modulus is k, Poisson's ratio 1/4). k and f are P1.
        dimension: 2 or 3.
        degree: Degree of the Lagrange elements of u, 1 or 2.
    """

    kind: str
    dimension: int
    degree: int


CASES = (Case("darcy", 2, 1), Case("darcy", 2, 2), Case("darcy", 3, 1), Case("elasticity", 2, 1))


def measure_case(case: Case, *, size: int, repeats: int) -> Row:
    """Compare both on a unit square or cube. Serial.

    The row has figures for `matrix` and `vector`. Their `difference` is the largest of all,
    relative to the largest entry.
    """
    space, k, f, a, b, bcs = _make_forms(case, size)
    compiled = fem.form(a), fem.form(b)  # Not to count compilers.
    matrix, matrix_seconds = timed(lambda: AffineMatrix(a, [k], bcs))
    vector, vector_seconds = timed(lambda: AffineVector(b, [f], space, bcs))
    mat, vec = dolfinx.fem.petsc.create_matrix(compiled[0]), vector.vector.duplicate()

    def assemble_matrix() -> None:
        mat.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(mat, compiled[0], bcs=bcs)
        mat.assemble()

    def assemble_vector() -> None:
        with vec.localForm() as local:
            local.set(0)
        dolfinx.fem.petsc.assemble_vector(vec, compiled[1])
        vec.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        dolfinx.fem.petsc.set_bc(vec, bcs)

    calls: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], float]]] = {
        "matrix": (
            assemble_matrix,
            matrix.update,
            lambda: _difference(matrix.matrix.getValuesCSR()[2], mat.getValuesCSR()[2]),
        ),
        "vector": (
            assemble_vector,
            vector.update,
            lambda: _difference(vector.vector.array_r, vec.array_r),
        ),
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    differences: dict[str, list[float]] = {name: [] for name in calls}
    generator = np.random.default_rng(1)
    for turn in track(range(repeats + 1), f"measuring {_name(vars(case))}"):
        k.x.array[:] = np.exp(generator.standard_normal(k.x.array.size))
        f.x.array[:] = generator.standard_normal(f.x.array.size)
        for name, (by_dolfinx, by_map, differ) in calls.items():
            for method, assemble in in_turn([("dolfinx", by_dolfinx), ("map", by_map)], turn):
                taken = timed(assemble)[1]
                # The first time memory is not yet there.
                if turn:
                    seconds.setdefault((name, method), []).append(taken)
            differences[name].append(differ())

    def summarise(name: str, setup: float, map_bytes: int) -> Row:
        ms = {method: 1e3 * median(seconds[name, method]) for method in ("dolfinx", "map")}
        return {
            "ms_dolfinx": ms["dolfinx"],
            "ms_map": ms["map"],
            "ratio": ms["dolfinx"] / ms["map"],
            "difference": max(differences[name]),
            "seconds_setup": setup,
            "map_mb": map_bytes / 1e6,
        }

    return {
        **asdict(case),
        "unknowns": int(mat.size[0]),
        "repeats": repeats,
        "matrix": summarise("matrix", matrix_seconds, matrix.map_bytes),
        "vector": summarise("vector", vector_seconds, vector.map_bytes),
    }


def _make_forms(case: Case, size: int) -> tuple[Any, ...]:
    """Return space, k, f, a, L and the conditions u = 0 on the whole boundary."""
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
    else:
        a = k * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
    facets = case.dimension - 1
    domain.topology.create_connectivity(facets, case.dimension)
    boundary = mesh.exterior_facet_indices(domain.topology)
    dofs = fem.locate_dofs_topological(space, facets, boundary)
    bcs = [fem.dirichletbc(fem.Function(space), dofs)]
    return space, k, f, a, ufl.inner(f, v) * ufl.dx, bcs


def _difference(entries: Any, expected: Any) -> float:
    return float(abs(entries - expected).max() / abs(expected).max())


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare what was measured with the goals; the ratio's is for P1 Darcy with n = 1e4."""
    goals = []
    for row in rows:
        where = f"{_name(row)}, n = {row['unknowns']:,}"
        if where == "P1 darcy in 2-D, n = 10,000":
            ratio = row["matrix"]["ratio"]
            goals.append(Goal("assemble_matrix / map", where, ratio, RATIO, at_least=True))
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
