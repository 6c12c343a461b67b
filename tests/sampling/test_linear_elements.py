# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Matrices of linear elements: known stencils, and the integrals of linear functions."""

from mpi4py import MPI

import numpy as np
import pytest
import ufl
from dolfinx.fem import assemble_matrix, assemble_vector, form, functionspace
from dolfinx.mesh import create_unit_square
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay
from scipy.stats import special_ortho_group

from kryloset.sampling import p1_matrices


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_reference_cell(dimension: int) -> None:
    # Gradients of the barycentric coordinates are -1 - ... - 1 and the unit vectors.
    points = np.vstack([np.zeros(dimension), np.eye(dimension)])
    mass, stiffness = p1_matrices(points, np.arange(dimension + 1)[None])
    volume = 1 / np.prod(np.arange(1, dimension + 1))
    gradients = np.vstack([-np.ones(dimension), np.eye(dimension)])
    np.testing.assert_allclose(stiffness.toarray(), volume * gradients @ gradients.T, atol=1e-15)
    np.testing.assert_allclose(mass.toarray(), volume / (dimension + 1) * np.eye(dimension + 1))


def test_squares_cut_in_two_have_the_five_point_stencil() -> None:
    points = np.stack(np.meshgrid([0, 1, 2], [0, 1, 2], indexing="ij"), axis=-1).reshape(-1, 2)
    i = np.arange(9).reshape(3, 3)
    a, b, c, d = (e.ravel() for e in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    cells = np.vstack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    mass, stiffness = p1_matrices(points.astype(float), cells)
    stencil = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    np.testing.assert_allclose(stiffness.toarray()[4].reshape(3, 3), stencil, atol=1e-14)
    assert mass.diagonal()[4] == pytest.approx(1)


@given(st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=30)
def test_linear_functions_have_their_integrals(dimension: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * dimension), axis=-1).reshape(-1, dimension)
    points = np.vstack([corners, random.uniform(size=(12, dimension))])
    if dimension == 1:
        order = np.argsort(points[:, 0])
        cells = np.stack([order[:-1], order[1:]], axis=1)
    else:
        cells = Delaunay(points).simplices
        edges = points[cells[:, 1:]] - points[cells[:, :1]]
        # Delaunay leaves slivers of no volume on the faces of the cube.
        cells = cells[np.abs(np.linalg.det(edges)) > 1e-10]
    mass, stiffness = p1_matrices(points, cells)
    slope, offset = random.normal(size=dimension), random.normal()
    u = points @ slope + offset
    assert u @ stiffness @ u == pytest.approx(slope @ slope, rel=1e-8)
    assert mass.diagonal() @ u == pytest.approx(slope.sum() / 2 + offset, rel=1e-8, abs=1e-8)
    largest = abs(stiffness).max()
    np.testing.assert_allclose(stiffness @ np.ones(len(points)), 0, atol=1e-8 * largest)
    assert abs(stiffness - stiffness.T).max() <= 1e-12 * largest


@pytest.mark.parametrize("dimension", [1, 2])
def test_a_cell_turned_in_space_has_the_same_matrices(dimension: int) -> None:
    points = np.vstack([np.zeros(dimension), np.eye(dimension)]) * 0.7
    cells = np.arange(dimension + 1)[None]
    padded = np.pad(points, ((0, 0), (0, 3 - dimension)))
    turned = padded @ special_ortho_group.rvs(3, random_state=1).T + [1, 2, 3]
    for flat, there in zip(p1_matrices(points, cells), p1_matrices(turned, cells), strict=True):
        np.testing.assert_allclose(there.toarray(), flat.toarray(), atol=1e-14)


def test_a_cell_without_volume_is_refused() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    with pytest.raises(ValueError, match=r"cell 1 has no volume: its corners are \[0, 1, 3\]"):
        p1_matrices(points, np.array([[0, 1, 2], [0, 1, 3]]))


def test_matrices_are_those_of_dolfinx() -> None:
    # As docs/explanation/sampling.md says to make them on a mesh of DOLFINx.
    mesh = create_unit_square(MPI.COMM_SELF, 3, 4)
    space = functionspace(mesh, ("Lagrange", 1))
    mass, stiffness = p1_matrices(space.tabulate_dof_coordinates(), space.dofmap.list)
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    assembled = assemble_matrix(form(ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx)).to_dense()
    np.testing.assert_allclose(stiffness.toarray(), assembled, atol=1e-14)
    integrals = assemble_vector(form(v * ufl.dx)).array
    np.testing.assert_allclose(mass.diagonal(), integrals, atol=1e-15)
