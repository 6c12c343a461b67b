# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly by a sparse map agrees with DOLFINx's for every form that it accepts."""

import os
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import basix.ufl
import dolfinx.fem.petsc
import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh

from kryloset.fem.affine import AffineMatrix, AffineVector


def interval() -> mesh.Mesh:
    return mesh.create_unit_interval(MPI.COMM_SELF, 7)


def square() -> mesh.Mesh:
    return mesh.create_unit_square(MPI.COMM_SELF, 4, 3)


def cube() -> mesh.Mesh:
    return mesh.create_unit_cube(MPI.COMM_SELF, 2, 3, 2)


def lagrange(domain: mesh.Mesh, degree: int, *shape: int) -> fem.FunctionSpace:
    return fem.functionspace(domain, ("Lagrange", degree, shape))


def fixed_sides(space: fem.FunctionSpace) -> list[fem.DirichletBC]:
    """Return the condition u = 0 where x = 0, of all components, and where x = 1 of the last."""
    domain, facets = space.mesh, space.mesh.topology.dim - 1
    conditions = []
    for side in (0.0, 1.0):
        on = mesh.locate_entities_boundary(domain, facets, lambda x, s=side: np.isclose(x[0], s))
        last = space.num_sub_spaces - 1
        if side == 0.0 or last < 0:
            dofs = fem.locate_dofs_topological(space, facets, on)
            conditions.append(fem.dirichletbc(fem.Function(space), dofs))
        else:
            dofs = fem.locate_dofs_topological(space.sub(last), facets, on)
            conditions.append(fem.dirichletbc(0.0, dofs, space.sub(last)))
    return conditions


def draw(*coefficients: fem.Function | fem.Constant, seed: int) -> None:
    """Give coefficients other values, over three decades."""
    generator = np.random.default_rng(seed)
    for coefficient in coefficients:
        if isinstance(coefficient, fem.Function):
            coefficient.x.array[:] = np.exp(generator.normal(size=coefficient.x.array.size))
        else:
            coefficient.value = np.exp(generator.normal(size=coefficient.value.shape))


def assert_equal(
    affine: AffineMatrix, form: ufl.Form, bcs: list[fem.DirichletBC], most: float = 1e-12
) -> None:
    """Compare pattern and entries with an ordinary assembly."""
    expected = dolfinx.fem.petsc.assemble_matrix(fem.form(form), bcs=bcs)
    expected.assemble()
    (*pattern, entries), (*expected_pattern, right) = (
        mat.getValuesCSR() for mat in (affine.matrix, expected)
    )
    assert all(map(np.array_equal, pattern, expected_pattern))
    assert affine.matrix.getBlockSizes() == expected.getBlockSizes()
    assert abs(right).max() > 0
    assert abs(entries - right).max() <= most * abs(right).max()


# Matrices


@pytest.mark.parametrize("make_mesh", [interval, square, cube])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("coefficient", [("Lagrange", 1), ("Lagrange", 2), ("DG", 0)])
def test_diffusion_agrees_with_dolfinx(make_mesh, degree, coefficient):
    domain = make_mesh()
    space = lagrange(domain, degree)
    k = fem.Function(fem.functionspace(domain, coefficient))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    form, bcs = k * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, fixed_sides(space)
    affine = AffineMatrix(form, [k], bcs)
    for seed in (1, 2):
        draw(k, seed=seed)
        assert affine.update() is affine.matrix
        assert_equal(affine, form, bcs)


@pytest.mark.parametrize("make_mesh", [square, cube])
@pytest.mark.parametrize("degree", [1, 2])
def test_elasticity_with_two_moduli_and_one_fixed_component(make_mesh, degree):
    domain = make_mesh()
    dimension = domain.geometry.dim
    space, scalars = lagrange(domain, degree, dimension), lagrange(domain, 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    mu, lame = fem.Function(scalars), fem.Function(scalars)
    strain = ufl.sym(ufl.grad(u))
    stress = 2 * mu * strain + lame * ufl.tr(strain) * ufl.Identity(dimension)
    form, bcs = ufl.inner(stress, ufl.grad(v)) * ufl.dx, fixed_sides(space)
    affine = AffineMatrix(form, [mu, lame], bcs)
    draw(mu, lame, seed=3)
    affine.update()
    assert_equal(affine, form, bcs)


def test_a_form_without_symmetry_with_constant_part_facets_vectors_and_numbers():
    domain = square()
    space = lagrange(domain, 2)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    wind, h = fem.Function(lagrange(domain, 1, 2)), fem.Function(lagrange(domain, 1))
    number, kept = fem.Constant(domain, (1.0, 2.0)), fem.Function(lagrange(domain, 2))
    draw(kept, seed=4)
    form = (
        kept**2 * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        + ufl.inner(ufl.dot(wind + number, ufl.grad(u)), v) * ufl.dx
        + (1 + h) * ufl.inner(u, v) * ufl.ds
    )
    bcs = fixed_sides(space)[:1]
    affine = AffineMatrix(form, [h, number, wind], bcs)
    for seed in (5, 6):
        draw(wind, h, number, seed=seed)
        affine.update()
        assert_equal(affine, form, bcs)


def test_coefficients_on_parts_of_the_domain_and_of_the_boundary():
    domain = square()
    space = lagrange(domain, 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    left = mesh.locate_entities(domain, 2, lambda x: x[0] <= 0.5)
    cells = mesh.meshtags(domain, 2, left, np.full(len(left), 7, np.int32))
    top = mesh.locate_entities_boundary(domain, 1, lambda x: np.isclose(x[1], 1))
    facets = mesh.meshtags(domain, 1, top, np.full(len(top), 3, np.int32))
    dx, ds = ufl.dx(subdomain_data=cells), ufl.ds(subdomain_data=facets)
    k, h = fem.Function(space), fem.Function(space)
    form = k * u * v * dx(7) + u * v * ufl.dx + h * u * v * ds(3)
    affine = AffineMatrix(form, [k, h])
    draw(k, h, seed=7)
    affine.update()
    assert_equal(affine, form, [])


@pytest.mark.parametrize("make_mesh", [square, cube])
def test_elements_whose_basis_functions_have_an_orientation(make_mesh):
    domain = make_mesh()
    for degree in (1, 2):
        space = fem.functionspace(domain, ("N1curl", degree))
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        k = fem.Function(lagrange(domain, 1))
        form = k * ufl.inner(ufl.curl(u), ufl.curl(v)) * ufl.dx + ufl.inner(u, v) * ufl.dx
        affine = AffineMatrix(form, [k])
        draw(k, seed=8)
        affine.update()
        assert_equal(affine, form, [])


@pytest.mark.parametrize("make_mesh", [interval, square])
@pytest.mark.parametrize("degree", [1, 2])
def test_forms_quadratic_in_coefficients(make_mesh, degree):
    domain = make_mesh()
    space = lagrange(domain, degree)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k, h, number = fem.Function(space), fem.Function(space), fem.Constant(domain, 1.0)
    # The stiffness is much larger than the term with k^2; the mass on the boundary is not.
    inside = 1e4 * ufl.inner(ufl.grad(u), ufl.grad(v)) + (h - k**2 + number) * u * v
    form = inside * ufl.dx + (k + h**2) * u * v * ufl.ds
    bcs = fixed_sides(space)
    affine = AffineMatrix(form, [k, h, number], bcs, quadratic=True)
    for seed, scale in ((1, 1), (2, 1e3)):
        draw(k, h, number, seed=seed)
        k.x.array[:] *= scale
        affine.update()
        assert_equal(affine, form, bcs, 1e-14)


@pytest.mark.parametrize("wrong", [lambda k, h: k**3, lambda k, h: k * h, lambda k, h: 1 / k])
def test_forms_that_are_not_quadratic_are_refused(wrong):
    domain = square()
    space = lagrange(domain, 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k, h = fem.Function(space), fem.Function(space)
    with pytest.raises(ValueError, match="not quadratic"):
        AffineMatrix((1 + wrong(k, h)) * u * v * ufl.dx, [k, h], quadratic=True)


def test_mixed_elements():
    domain = square()
    cell = domain.basix_cell()
    velocity = basix.ufl.element("Lagrange", cell, 2, shape=(2,))
    pressure = basix.ufl.element("Lagrange", cell, 1)
    space = fem.functionspace(domain, basix.ufl.mixed_element([velocity, pressure]))
    (u, p), (v, q) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
    viscosity = fem.Function(lagrange(domain, 1))
    form = (
        viscosity * ufl.inner(ufl.grad(u), ufl.grad(v)) - p * ufl.div(v) - q * ufl.div(u)
    ) * ufl.dx
    part, _ = space.sub(0).collapse()
    domain.topology.create_connectivity(1, 2)
    facets = mesh.exterior_facet_indices(domain.topology)
    dofs = fem.locate_dofs_topological((space.sub(0), part), 1, facets)
    bcs = [fem.dirichletbc(fem.Function(part), dofs, space.sub(0))]
    affine = AffineMatrix(form, [viscosity], bcs)
    draw(viscosity, seed=9)
    affine.update()
    assert_equal(affine, form, bcs)


def test_the_check_restores_the_values_of_coefficients():
    space = lagrange(square(), 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k = fem.Function(space)
    draw(k, seed=10)
    values = k.x.array.copy()
    form = k * ufl.inner(u, v) * ufl.dx
    affine = AffineMatrix(form, [k])
    AffineVector(k * v * ufl.dx, [k], space)
    assert np.array_equal(k.x.array, values)
    assert_equal(affine, form, [])


def test_map_of_a_symmetric_matrix_has_each_pair_once():
    space = lagrange(square(), 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k = fem.Function(space)
    n = space.dofmap.index_map.size_local
    symmetric = AffineMatrix(k * u * v * ufl.dx, [k])
    other = AffineMatrix(k * u.dx(0) * v * ufl.dx + k * u * v * ufl.dx, [k])
    nonzeros = symmetric.matrix.getInfo()["nz_used"]
    assert other.map_bytes > symmetric.map_bytes
    assert len(symmetric._map.indptr) - 1 == (nonzeros - n) / 2 + n
    assert len(other._map.indptr) - 1 == nonzeros


# What is not affine, and what is refused


@pytest.mark.parametrize(
    "function", [lambda k: k**2, lambda k: 1 / k, ufl.exp, lambda k: k * k + k]
)
def test_a_form_that_is_not_affine_is_refused(function):
    space = lagrange(square(), 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k = fem.Function(space)
    with pytest.raises(ValueError, match="not affine"):
        AffineMatrix(function(k) * ufl.inner(u, v) * ufl.dx, [k])
    with pytest.raises(ValueError, match="not affine"):
        AffineVector(function(k) * v * ufl.dx, [k], space)


def test_a_product_of_coefficients_is_not_affine_in_both_but_in_each():
    space = lagrange(square(), 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k, m = fem.Function(space), fem.Function(space)
    draw(m, seed=11)
    form = k * m * ufl.inner(u, v) * ufl.dx
    with pytest.raises(ValueError, match="not affine"):
        AffineMatrix(form, [k, m])
    affine = AffineMatrix(form, [k])
    draw(k, seed=12)
    affine.update()
    assert_equal(affine, form, [])


def test_other_integrals_and_spaces_are_refused_by_name():
    domain = square()
    space, other = lagrange(domain, 1), lagrange(domain, 2)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    with pytest.raises(ValueError, match="interior_facet"):
        AffineMatrix(ufl.avg(u) * ufl.avg(v) * ufl.dS, [])
    with pytest.raises(ValueError, match="different spaces"):
        AffineMatrix(u * ufl.TestFunction(other) * ufl.dx, [])
    with pytest.raises(ValueError, match="subdomain"):
        AffineMatrix(u * v * ufl.dx + u * v * ufl.dx(5), [])
    flux = fem.Function(fem.functionspace(domain, ("N1curl", 1)))
    with pytest.raises(ValueError, match="orientation"):
        AffineMatrix(ufl.inner(flux, ufl.grad(u)) * v * ufl.dx, [flux])


# Storage


@pytest.mark.parametrize("preconditioner", ["lu", "ilu", "sor", "jacobi"])
def test_the_matrix_is_refilled_and_preconditioners_notice(preconditioner):
    space = lagrange(square(), 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    k = fem.Function(space)
    affine = AffineMatrix(k * ufl.inner(u, v) * ufl.dx, [k])
    handle = affine.matrix.handle

    def solver(matrix: PETSc.Mat) -> PETSc.KSP:
        ksp = PETSc.KSP().create(MPI.COMM_SELF)
        ksp.setOperators(matrix)
        ksp.setType("preonly")
        ksp.getPC().setType(preconditioner)
        return ksp

    kept = solver(affine.matrix)
    b, x, expected = affine.matrix.createVecRight(), *affine.matrix.createVecs()
    b.setArray(np.random.default_rng(17).standard_normal(b.local_size))
    for seed in (13, 14, 15):
        draw(k, seed=seed)
        state = affine.matrix.stateGet()
        affine.update()
        assert affine.matrix.stateGet() > state and affine.matrix.handle == handle
        kept.solve(b, x)
        solver(affine.matrix.duplicate(copy=True)).solve(b, expected)
        assert (x - expected).norm() <= 1e-12 * expected.norm()


def test_a_matrix_without_coefficients_is_not_refilled():
    space = lagrange(square(), 1)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    unrelated, bcs = fem.Function(space), fixed_sides(space)
    form = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
    affine = AffineMatrix(form, [unrelated], bcs)
    vector = AffineVector(v * ufl.dx, [], space, bcs)
    before = affine.matrix.stateGet(), vector.vector.stateGet()
    affine.update(), vector.update()
    assert (affine.matrix.stateGet(), vector.vector.stateGet()) == before
    assert_equal(affine, form, bcs)
    assert vector.vector.sum() > 0


# Vectors


@pytest.mark.parametrize("make_mesh", [interval, square, cube])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("components", [(), (2,)])
def test_vectors_agree_with_dolfinx(make_mesh, degree, components):
    domain = make_mesh()
    space = lagrange(domain, degree, *components)
    v = ufl.TestFunction(space)
    f, g = fem.Function(space), fem.Function(lagrange(domain, 1))
    number = fem.Constant(domain, 1.0)
    component = v[0] if components else v
    form = (ufl.inner(f, v) + number * component) * ufl.dx + (1 + g) * component * ufl.ds
    bcs = fixed_sides(space)
    affine = AffineVector(form, [f, number, g], space, bcs)
    handle = affine.vector.handle
    for seed in (15, 16):
        draw(f, g, number, seed=seed)
        assert affine.update() is affine.vector
        expected = dolfinx.fem.petsc.assemble_vector(fem.form(form))
        expected.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        dolfinx.fem.petsc.set_bc(expected, bcs)
        right = expected.array
        assert abs(affine.vector.array - right).max() <= 1e-12 * abs(right).max()
        assert affine.vector.handle == handle


@pytest.mark.mpi
def test_two_ranks_agree_with_dolfinx():
    mpiexec = Path(sys.executable).parent / "mpiexec"
    program = Path(__file__).with_name("affine_two_ranks.py")
    # The module ends all ranks where one fails.
    script = [sys.executable, "-m", "mpi4py", program]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([mpiexec, "-n", "2", *script], check=True, timeout=120, env=environment)
