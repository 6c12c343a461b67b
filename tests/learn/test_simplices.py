# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Weights, gradients, neighbours and the boundary of meshes of simplices are exact."""

import numpy as np
import pytest

pytest.importorskip("torch")

from box_meshes import box_mesh

EVERY = [(d, degree) for d in (1, 2, 3) for degree in (1, 2)]


@pytest.mark.parametrize(("dimension", "degree"), EVERY)
def test_weights_integrate_affine_functions_exactly(dimension, degree):
    mesh = box_mesh(dimension, degree)
    sides = np.arange(1.0, 1 + dimension)
    assert mesh.weights.min() > 0
    assert mesh.weights.sum() == pytest.approx(sides.prod(), rel=1e-12)
    np.testing.assert_allclose(mesh.weights @ mesh.points, sides.prod() * sides / 2, rtol=1e-12)


@pytest.mark.parametrize(("dimension", "degree"), EVERY)
def test_gradients_of_affine_functions_are_exact(dimension, degree):
    mesh = box_mesh(dimension, degree)
    slope = np.arange(2.0, 2 + dimension)
    values = mesh.points @ slope + 5
    found = np.einsum("ncd,nc->nd", mesh.gradients, values[mesh.corners])
    np.testing.assert_allclose(found, np.tile(slope, (len(found), 1)), rtol=1e-10)


@pytest.mark.parametrize(("dimension", "degree"), EVERY)
def test_the_boundary_are_the_nodes_on_the_sides_of_the_box(dimension, degree):
    mesh = box_mesh(dimension, degree)
    sides = np.arange(1.0, 1 + dimension)
    expected = (np.isclose(mesh.points, 0) | np.isclose(mesh.points, sides)).any(axis=1)
    np.testing.assert_array_equal(mesh.boundary, expected)


@pytest.mark.parametrize(("dimension", "degree"), [(2, 1), (2, 2), (3, 1)])
def test_a_periodic_axis_has_no_boundary_and_every_node_as_many_neighbours(dimension, degree):
    mesh = box_mesh(dimension, degree, periodic=True)
    sides = np.arange(1.0, 1 + dimension)
    rest = mesh.points[:, 1:]
    np.testing.assert_array_equal(
        mesh.boundary, (np.isclose(rest, 0) | np.isclose(rest, sides[1:])).any(axis=1)
    )
    assert mesh.weights.sum() == pytest.approx(sides.prod(), rel=1e-12)
    first = np.isclose(mesh.points[:, 0], 0)
    degrees = np.bincount(mesh.edges[0])
    turned = np.isclose(mesh.points[:, 0], 1 / 3)
    np.testing.assert_array_equal(degrees[first], degrees[turned])


def test_neighbours_share_a_cell():
    mesh = box_mesh(2, cubes=2)
    pairs = set(map(tuple, mesh.edges.T.tolist()))
    expected = {(a, b) for cell in mesh.cells.tolist() for a in cell for b in cell if a != b}
    assert pairs == expected and len(pairs) == mesh.edges.shape[1]


def test_nodes_on_facets_and_in_cells():
    mesh = box_mesh(2, degree=2, cubes=1)
    (corner,) = np.flatnonzero(np.isclose(mesh.points[mesh.cells[0, :3]], [1, 0]).all(axis=1))
    marked = mesh.on_facets(np.array([[0, corner]]))
    # The diagonal from (0, 0) to (1, 2), which is opposite.
    np.testing.assert_array_equal(np.sort(mesh.points[marked, 0]), [0, 0.5, 1])
    np.testing.assert_allclose(mesh.points[marked, 1], 2 * mesh.points[marked, 0])
    assert mesh.in_cells(np.array([0])).sum() == 6


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("dimension", "degree"), EVERY)
def test_polynomials_of_the_degree_are_evaluated_exactly(dimension, degree, periodic):
    mesh = box_mesh(dimension, degree, periodic=periodic)
    sides = np.arange(1.0, 1 + dimension)
    points = np.random.default_rng(0).random((20, dimension)) * sides

    def polynomial(x):
        # On a periodic axis only constants continue.
        along = x[:, 1:] if periodic else x
        total = along.sum(axis=1)
        return np.stack([total**degree, 1 - total], axis=1)

    found = mesh.evaluate(points)(polynomial(mesh.points))
    np.testing.assert_allclose(found, polynomial(points), rtol=1e-10, atol=1e-12)


def test_a_function_is_continued_beyond_the_mesh():
    mesh = box_mesh(2)
    outside = np.array([[-0.01, 1], [1.01, 2.01]])
    np.testing.assert_allclose(mesh.evaluate(outside)(mesh.points), outside, rtol=1e-10)
