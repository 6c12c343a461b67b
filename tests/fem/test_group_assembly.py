# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly of a group: each lane is what DOLFINx assembles for its values alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import basix.ufl
import dolfinx.fem.petsc
import numpy as np
import pytest
import scipy.sparse
import ufl
from dolfinx import fem, mesh

from kryloset.config import load_dataset
from kryloset.errors import ConfigError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.domain import make_domain
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.group import GroupMatrix, GroupValues, GroupVector
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.problems import load_family
from kryloset.problems.finite_element import EvolutionFamily, NonlinearFamily, Step
from kryloset.sampling import generator

#: Relative to the largest number of a matrix or a vector. Sums are in another order, with fused
#: products where the processor has them.
ROUNDING = 1e-13


CONFIGS = sorted((Path(__file__).parents[2] / "config/families").glob("*.yaml"))


def interval() -> mesh.Mesh:
    return mesh.create_unit_interval(MPI.COMM_SELF, 7)


def square() -> mesh.Mesh:
    return mesh.create_unit_square(MPI.COMM_SELF, 4, 3)


def cube() -> mesh.Mesh:
    return mesh.create_unit_cube(MPI.COMM_SELF, 2, 2, 1)


def lagrange(domain: mesh.Mesh, degree: int, *shape: int) -> fem.FunctionSpace:
    return fem.functionspace(domain, ("Lagrange", degree, shape))


def fixed_side(space: fem.FunctionSpace) -> list[fem.DirichletBC]:
    """Return the condition that the solution is prescribed where x = 0."""
    domain, facets = space.mesh, space.mesh.topology.dim - 1
    on = mesh.locate_entities_boundary(domain, facets, lambda x: np.isclose(x[0], 0))
    dofs = fem.locate_dofs_topological(space, facets, on)
    return [fem.dirichletbc(fem.Function(space), dofs)]


def draw(changing: Sequence[Any], lanes: int) -> GroupValues:
    """Return other values for each lane, over two decades."""
    generator, values = np.random.default_rng(1), GroupValues(changing, lanes)
    for coefficient in changing:
        numbers = values[coefficient]
        numbers[:] = np.exp(generator.normal(size=numbers.shape))
    return values


def assert_matrices(
    form: ufl.Form, changing: Sequence[Any], conditions: Sequence[fem.DirichletBC], lanes: int
) -> None:
    """Compare pattern, entries and lifted values of each lane with DOLFINx's."""
    compiled = fem.form(form)
    expected = dolfinx.fem.petsc.assemble_matrix(compiled, bcs=conditions)
    expected.assemble()
    values, pattern = draw(changing, lanes), Pattern.of(expected)
    group = GroupMatrix(form, values, conditions, pattern)
    entries = np.full((pattern.size, lanes), np.nan)
    group.update(entries)
    prescribed, b = np.zeros((pattern.rows, lanes)), np.zeros((pattern.rows, lanes))
    held = np.concatenate([np.empty(0, int), *(c.dof_indices()[0] for c in conditions)])
    prescribed[held] = np.random.default_rng(2).normal(size=(len(held), lanes))
    group.lift(prescribed, b)
    for lane in range(lanes):
        values.give(lane)
        expected.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(expected, compiled, bcs=conditions)
        expected.assemble()
        assert_close(entries[:, lane], expected.getValuesCSR()[2])
        free = dolfinx.fem.petsc.assemble_matrix(compiled)
        free.assemble()
        product = free @ PETSc.Vec().createWithArray(prescribed[:, lane].copy())
        lifted = -product.array
        lifted[held] = b[held, lane]
        assert_close(b[:, lane], lifted)


def assert_vectors(form: ufl.Form, changing: Sequence[Any], lanes: int) -> None:
    """Compare each lane with DOLFINx's vector."""
    values = draw(changing, lanes)
    compiled = fem.form(form)
    size = dolfinx.fem.assemble_vector(compiled).array.size
    b = np.full((size, lanes), np.nan)
    GroupVector(form, values).update(b)
    for lane in range(lanes):
        values.give(lane)
        assert_close(b[:, lane], dolfinx.fem.assemble_vector(compiled).array)


def assert_close(found: Any, expected: Any) -> None:
    assert abs(found - expected).max() <= ROUNDING * abs(expected).max()


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_diffusion_with_a_source_on_cells(lanes):
    domain = square()
    space = lagrange(domain, 1)
    k, f = fem.Function(space), fem.Function(space)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    a = k * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
    assert_matrices(a, [k, f], fixed_side(space), lanes)
    assert_vectors(f * v * ufl.dx, [k, f], lanes)


@pytest.mark.parametrize(("make_mesh", "points"), [(square, 5), (cube, 7)])
def test_couplings_across_right_angles_are_left_out(make_mesh, points):
    # Gradients of a barycentric coordinate are orthogonal to the opposite side, so that entries are
    # zero for sides opposite of a right angle: Ciarlet 1978, section 2.2.
    domain = make_mesh()
    space = lagrange(domain, 1)
    k = fem.Function(space)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    form, conditions = k * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, fixed_side(space)
    expected = dolfinx.fem.petsc.assemble_matrix(fem.form(form), bcs=conditions)
    expected.assemble()
    values = draw([k], 4)
    group = GroupMatrix(form, values, conditions, Pattern.of(expected))
    before = values[k].copy()
    group.leave_out_zeros()
    np.testing.assert_array_equal(values[k], before)
    assert np.diff(group.pattern.offsets).max() <= points
    held = conditions[0].dof_indices()[0]
    assert (np.diff(group.pattern.offsets)[held] == 1).all()
    entries = np.full((group.pattern.size, 4), np.nan)
    group.update(entries)
    pattern = (group.pattern.columns, group.pattern.offsets)
    for lane in range(4):
        values.give(lane)
        expected.zeroEntries()
        dolfinx.fem.petsc.assemble_matrix(expected, fem.form(form), bcs=conditions)
        expected.assemble()
        offsets, columns, numbers = expected.getValuesCSR()
        whole = scipy.sparse.csr_array((numbers, columns, offsets), expected.getSize())
        found = scipy.sparse.csr_array((entries[:, lane], *pattern), expected.getSize())
        assert_close(found.toarray(), whole.toarray())


@pytest.mark.parametrize(
    ("make_mesh", "lanes"), [(interval, 16), (square, 1), (square, 4), (square, 16), (cube, 8)]
)
def test_every_kind_of_integral_choices_functions_and_numbers(make_mesh, lanes, caplog):
    domain = make_mesh()
    space, n = lagrange(domain, 2), ufl.FacetNormal(domain)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k = fem.Function(lagrange(domain, 1))
    c = fem.Constant(domain, np.ones(3))
    fixed = fem.Function(fem.functionspace(domain, ("DG", 0)))
    fixed.x.array[:] = np.random.default_rng(0).uniform(1, 2, fixed.x.array.size)
    either = ufl.Or(ufl.And(ufl.lt(k, 1), ufl.ge(c[0], 1)), ufl.Not(ufl.le(c[1], 1)))
    choice = ufl.conditional(either, 1.0, k**2) + ufl.conditional(ufl.gt(k, c[2]), 2.0, 3.0)
    curved = ufl.sqrt(k) + ufl.exp(-k) + abs(k - c[0]) + ufl.ln(k) ** 2 + ufl.sin(k * c[1]) ** 2
    bounded = ufl.max_value(k, c[2]) + ufl.min_value(fixed, c[0]) + k**1.5 + ufl.atan2(k, c[1])
    a = (
        choice * curved * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx(degree=2)
        + bounded * u * v * ufl.ds(degree=2)
        + ufl.avg(k) * ufl.jump(ufl.grad(u), n) * ufl.jump(ufl.grad(v), n) * ufl.dS(degree=2)
    )
    assert_matrices(a, [k, c], fixed_side(space), lanes)
    assert_vectors(ufl.action(a, fixed_function(space)), [k, c], lanes)
    # Kernels with lanes have done it, and not DOLFINx.
    assert not caplog.records


def fixed_function(space: fem.FunctionSpace) -> fem.Function:
    found = fem.Function(space)
    found.x.array[:] = np.random.default_rng(3).normal(size=found.x.array.size)
    return found


def test_what_has_no_lanes_is_assembled_one_after_another(caplog):
    domain = square()
    space = lagrange(domain, 1)
    k = fem.Function(space)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    dx, points = ufl.dx(domain), ufl.Measure("vertex", domain)
    with caplog.at_level("WARNING"):
        assert_matrices(k * u * v * dx + k * u * v * points, [k], fixed_side(space), 4)
        assert_vectors(k * v * points, [k], 4)
    assert "integral of type vertex" in caplog.records[0].message
    assert len(caplog.records) == 2


def test_without_a_compiler_lanes_are_assembled_one_after_another(monkeypatch, tmp_path, caplog):
    domain = square()
    space = lagrange(domain, 1)
    k, v = fem.Function(space), ufl.TestFunction(space)
    form = fem.form(k * v * ufl.dx)
    assert form.rank == 1
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with caplog.at_level("WARNING"):
        assert_vectors(k * v * ufl.dx, [k], 4)
    assert "no-such-compiler" in caplog.records[0].message


def coarse_family(path: Path) -> Any:
    """Return the family of a small dataset on the coarsest mesh that its settings allow."""
    config = load_dataset(path, path.stem)
    for points in (5, 9, 17):
        grid = config.mesh.model_copy(update={"points": points, "grids": ()})
        try:
            return load_family(config.model_copy(update={"mesh": grid}))
        except ConfigError:
            continue
    return load_family(config)


def family_forms(
    path: Path,
) -> tuple[ufl.Form, ufl.Form, list[Any], Sequence[fem.DirichletBC]]:
    """Return the bilinear and the linear form of a family, what changes, and conditions."""
    family = coarse_family(path)
    instance = family.draw(generator(0, 0))
    if "corners" in instance:
        family = family.on_own_mesh(instance)
    elements = FiniteElements(family, make_domain(family, MPI.COMM_SELF))
    space, changing, more = elements.space, elements.changing, []
    if isinstance(family, EvolutionFamily):
        states = tuple(fem.Function(space) for _ in range(family.levels))
        number = fem.Constant(space.mesh, 0.0)
        changing, more = [*changing, *states, number], [Step(states, number, number)]
    if isinstance(family, NonlinearFamily):
        more = [fem.Function(space)]
        changing = [*changing, *more]
    weak = family.weak_form(space, elements.parameters, *more)
    conditions = BoundaryValues(space, weak.boundary).conditions
    if isinstance(family, NonlinearFamily):
        jacobian = ufl.derivative(weak.F, more[0], ufl.TrialFunction(space))
        return jacobian, weak.F, changing, conditions
    return weak.a, weak.L, changing, conditions


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_forms_of_every_family(path):
    matrix, vector, changing, conditions = family_forms(path)
    # Each family with one of the widths, since a form is compiled for each.
    lanes = (4, 8, 16)[CONFIGS.index(path) % 3]
    assert_matrices(matrix, changing, conditions, lanes)
    assert_vectors(vector, changing, lanes)


@pytest.mark.parametrize("degree", [1, 2])
def test_basis_functions_are_turned_on_cells_and_on_both_sides_of_a_facet(degree):
    domain = cube()
    space = fem.functionspace(domain, ("N1curl", degree))
    flux = fem.Function(fem.functionspace(domain, ("RT", degree)))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    a = ufl.dot(flux, flux) * ufl.inner(ufl.curl(u), ufl.curl(v)) * ufl.dx(degree=2)
    if degree == 1:
        along = ufl.inner(ufl.avg(flux), ufl.jump(u)) * ufl.inner(ufl.avg(flux), ufl.jump(v))
        a += along * ufl.dS(degree=1)
    assert_matrices(a, [flux], fixed_side(space), 8)
    assert_vectors(ufl.inner(flux, v) * ufl.dx(degree=2), [flux], 8)


def test_parts_of_the_domain_and_mixed_spaces_of_vectors_and_scalars():
    domain = square()
    velocity = basix.ufl.element("Lagrange", "triangle", 2, shape=(2,))
    pressure = basix.ufl.element("Lagrange", "triangle", 1)
    space = fem.functionspace(domain, basix.ufl.mixed_element([velocity, pressure]))
    (u, p), (v, q) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
    wind, nu = fem.Function(lagrange(domain, 1, 2)), fem.Constant(domain, [1.0, 2.0])
    left = mesh.locate_entities(domain, 2, lambda x: x[0] <= 0.5)
    tags = mesh.meshtags(domain, 2, left, np.full(len(left), 7, np.int32))
    dx = ufl.Measure("dx", domain, subdomain_data=tags)
    a = nu[0] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx - p * ufl.div(v) * ufl.dx
    a += ufl.inner(ufl.dot(wind, ufl.grad(u)), v) * dx(7) - q * ufl.div(u) * ufl.dx
    assert_matrices(a, [wind, nu], [], 4)
    assert_vectors(ufl.inner(wind * nu[1], v) * dx(7), [wind, nu], 4)
