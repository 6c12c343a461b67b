# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Assembly of a group: each lane is what DOLFINx assembles for its values alone."""

from collections.abc import Sequence
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import dolfinx.fem.petsc
import numpy as np
import pytest
import ufl
from dolfinx import fem, mesh

from kryloset.fem.group import GroupMatrix, GroupValues, GroupVector
from kryloset.krylov.ensemble.pattern import Pattern

#: Relative to the largest number of a matrix or a vector. Sums are in another order, with fused
#: products where the processor has them.
ROUNDING = 1e-13


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


@pytest.mark.parametrize("make_mesh", [interval, square, cube])
def test_every_kind_of_integral_choices_functions_and_numbers(make_mesh):
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
    bounded = ufl.max_value(k, c[2]) + ufl.min_value(fixed, c[0]) + k**1.5
    a = (
        choice * curved * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx(degree=2)
        + bounded * u * v * ufl.ds(degree=2)
        + ufl.avg(k) * ufl.jump(ufl.grad(u), n) * ufl.jump(ufl.grad(v), n) * ufl.dS(degree=2)
    )
    assert_matrices(a, [k, c], fixed_side(space), 8)
    assert_vectors(ufl.action(a, fixed_function(space)), [k, c], 4)


def fixed_function(space: fem.FunctionSpace) -> fem.Function:
    found = fem.Function(space)
    found.x.array[:] = np.random.default_rng(3).normal(size=found.x.array.size)
    return found
