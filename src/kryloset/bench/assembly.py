# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly by a sparse map beside DOLFINx's, and the goals set for it.

Both fill storage that is reused, for the same new coefficients, and take turns at beginning.
Times are medians of one run, of the processor's time: on a machine that is shared, what takes
long is interrupted, and what is quick is not, so that a clock on the wall would flatter the
map. DOLFINx's include setting the storage to zero, since it adds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import thread_time
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import ufl
from dolfinx import fem, mesh

from kryloset.errors import KrylosetError
from kryloset.fem.affine import AffineMatrix, AffineVector
from kryloset.progress import track
from kryloset.provenance import versions

SIZE, REPEATS = 100, 50
QUICK_SIZE, QUICK_REPEATS = 20, 5

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


CASES = (
    Case("darcy", 2, 1),
    Case("darcy", 2, 2),
    Case("darcy", 3, 1),
    Case("elasticity", 2, 1),
)


def measure_case(case: Case, *, size: int = SIZE, repeats: int = REPEATS) -> dict[str, Any]:
    """Compare both ways of assembly on a unit square or cube. Serial.

    Args:
        case: What is assembled.
        size: Nodes a side of the square; the cube has about as many in all.
        repeats: How often both are assembled.

    Returns:
        The case, `unknowns`, `repeats`, and for `matrix` and `vector` each `ms_dolfinx`, `ms_map`,
        `ratio`, `difference` (the largest of all, relative to the largest entry),
        `seconds_setup` and `map_mb`; ready for JSON.
    """
    space, k, f, a, b, bcs = _make_forms(case, size)
    compiled = fem.form(a), fem.form(b)  # Not to count compilers.

    begin = thread_time()
    matrix = AffineMatrix(a, [k], bcs)
    matrix_seconds = thread_time() - begin
    begin = thread_time()
    vector = AffineVector(b, [f], space, bcs)
    vector_seconds = thread_time() - begin

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

    def matrices_differ() -> float:
        return _difference(matrix.matrix.getValuesCSR()[2], mat.getValuesCSR()[2])

    def vectors_differ() -> float:
        return _difference(vector.vector.array_r, vec.array_r)

    pairs: tuple[tuple[str, Callable[[], Any], Callable[[], Any], Callable[[], float]], ...] = (
        ("matrix", assemble_matrix, matrix.update, matrices_differ),
        ("vector", assemble_vector, vector.update, vectors_differ),
    )
    seconds: dict[tuple[str, str], list[float]] = {}
    differences: dict[str, list[float]] = {}
    generator = np.random.default_rng(1)
    for turn in track(range(repeats + 1), f"measuring {_name(case)}"):
        k.x.array[:] = np.exp(generator.standard_normal(k.x.array.size))
        f.x.array[:] = generator.standard_normal(f.x.array.size)
        for name, dolfinx_way, map_way, differ in pairs:
            ways = [("dolfinx", dolfinx_way), ("map", map_way)]
            for way, assemble in ways if turn % 2 else reversed(ways):
                begin = thread_time()
                assemble()
                # The first time memory is not yet there.
                if turn:
                    seconds.setdefault((name, way), []).append(thread_time() - begin)
            differences.setdefault(name, []).append(differ())

    def summarise(name: str, setup: float, map_bytes: int) -> dict[str, float]:
        ms = {way: 1e3 * median(seconds[name, way]) for way in ("dolfinx", "map")}
        return {
            "ms_dolfinx": ms["dolfinx"],
            "ms_map": ms["map"],
            "ratio": ms["dolfinx"] / ms["map"],
            "difference": max(differences[name]),
            "seconds_setup": setup,
            "map_mb": map_bytes / 1e6,
        }

    return {
        "kind": case.kind,
        "dimension": case.dimension,
        "degree": case.degree,
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


def judge(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare what was measured with the goals; the ratio's is for P1 Darcy with n = 1e4.

    Args:
        cases: As of `measure_case`.

    Returns:
        A goal each: `text`, `case`, `figure`, `limit` and `met`, ready for JSON.
    """
    goals = []
    for case in cases:
        where = f"{_name(Case(case['kind'], case['dimension'], case['degree']))}, "
        where += f"n = {case['unknowns']:,}"
        if where == "P1 darcy in 2-D, n = 10,000":
            ratio = case["matrix"]["ratio"]
            text = "assemble_matrix / map, at least"
            goals.append(_goal(text, where, ratio, RATIO, ratio >= RATIO))
        for name in ("matrix", "vector"):
            difference = case[name]["difference"]
            text = f"difference of the {name}, at most"
            goals.append(_goal(text, where, difference, DIFFERENCE, difference <= DIFFERENCE))
    return goals


def _goal(text: str, where: str, figure: float, limit: float, met: bool) -> dict[str, Any]:
    return {"text": text, "case": where, "figure": figure, "limit": limit, "met": met}


def run(
    *,
    size: int = SIZE,
    degree: int | None = None,
    dimension: int | None = None,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Measure cases and judge them.

    Args:
        size: Nodes a side of the square; a cube has about as many in all.
        degree: Of the elements, 1 or 2.
        dimension: 2 or 3. Where it or `degree` is given, both kinds are measured with it;
            otherwise the cases are `CASES`.
        repeats: How often each is assembled.

    Returns:
        `versions`, `cases` and `goals`, ready for JSON.

    Raises:
        KrylosetError: A number is out of range.
    """
    for option, value, known in (("--degree", degree, (1, 2)), ("--dimension", dimension, (2, 3))):
        if value is not None and value not in known:
            raise KrylosetError(f"{option} must be {known[0]} or {known[1]}, got {value}")
    for option, value, least in (("--size", size, 6), ("--repeats", repeats, 1)):
        if value < least:
            raise KrylosetError(f"{option} must be at least {least}, got {value}")
    cases: tuple[Case, ...] = CASES
    if degree is not None or dimension is not None:
        chosen = dimension or 2, degree or 1
        cases = tuple(Case(kind, *chosen) for kind in ("darcy", "elasticity"))
    measured = [measure_case(case, size=size, repeats=repeats) for case in cases]
    return {"versions": versions(), "cases": measured, "goals": judge(measured)}


def describe(result: Mapping[str, Any]) -> str:
    """Return the figures of `run` as a table for people, and the goals below."""
    header = f"{'assembled':<29}{'n':>9}{'DOLFINx ms':>12}{'map ms':>9}{'ratio':>7}"
    header += f"{'difference':>12}{'set-up s':>10}{'map MB':>8}"
    lines = [header]
    for case in result["cases"]:
        name = _name(Case(case["kind"], case["dimension"], case["degree"]))
        for part in ("matrix", "vector"):
            row = case[part]
            lines.append(
                f"{f'{name}, {part}':<29}{case['unknowns']:>9,}{row['ms_dolfinx']:>12.3f}"
                f"{row['ms_map']:>9.3f}{row['ratio']:>7.1f}{row['difference']:>12.1e}"
                f"{row['seconds_setup']:>10.2f}{row['map_mb']:>8.1f}"
            )
    lines.append("")
    for goal in result["goals"]:
        verdict = "met" if goal["met"] else "missed"
        lines.append(
            f"{verdict:<7}{goal['case']}: {goal['text']} {goal['limit']:g}: {goal['figure']:.3g}"
        )
    return "\n".join(lines) + "\n"


def _name(case: Case) -> str:
    return f"P{case.degree} {case.kind} in {case.dimension}-D"
