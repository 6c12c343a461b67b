# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The order of the unknowns follows their positions, on any number of processes."""

from pathlib import Path

from mpi4py import MPI

import basix.ufl
import numpy as np
import pytest
from basix import LagrangeVariant
from dolfinx import fem, mesh

from kryloset.errors import DataError, FamilyError
from kryloset.fem.unknowns import Unknowns, order_cells, sort_positions
from ranks import run_on_ranks

COMM = MPI.COMM_SELF


def unit_mesh(dimension: int, cells: int) -> mesh.Mesh:
    if dimension == 1:
        return mesh.create_unit_interval(COMM, cells)
    if dimension == 2:
        return mesh.create_unit_square(COMM, cells, cells)
    return mesh.create_unit_cube(COMM, cells, cells, cells)


def lattice(dimension: int, points: int) -> np.ndarray:
    axes = [np.linspace(0, 1, points)] * dimension
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, dimension)


def nedelec(dimension: int, cells: int) -> fem.FunctionSpace:
    return fem.functionspace(unit_mesh(dimension, cells), ("N1curl", 1))


def test_positions_sort_lexicographically_through_rounding():
    points = lattice(3, 5)
    random = np.random.default_rng(1)
    shuffled = random.permutation(len(points))
    rounding = 1e-14 * random.uniform(-1, 1, points.shape)
    order = sort_positions((points + rounding)[shuffled])
    np.testing.assert_array_equal(shuffled[order], np.arange(len(points)))


def test_an_empty_set_of_positions_is_sorted():
    assert sort_positions(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize(("dimension", "cells"), [(1, 5), (2, 4), (3, 3)])
def test_canonical_order_is_c_order_of_the_lattice(dimension: int, cells: int, degree: int):
    domain = unit_mesh(dimension, cells)
    element = basix.ufl.element(
        "Lagrange",
        domain.basix_cell(),
        degree,
        lagrange_variant=LagrangeVariant.equispaced,
    )
    unknowns = Unknowns(fem.functionspace(domain, element))
    expected = lattice(dimension, degree * cells + 1)
    assert unknowns.shape == expected.shape[:1]
    np.testing.assert_allclose(unknowns.points, expected, atol=1e-14)


@pytest.mark.parametrize(
    "family", [("Lagrange", 2), ("Lagrange", 2, (2,)), ("DG", 1), ("N1curl", 1)]
)
def test_gather_and_scatter_are_inverse(family: tuple):
    space = fem.functionspace(unit_mesh(2, 3), family)
    unknowns = Unknowns(space)
    vector = np.random.default_rng(2).standard_normal(fem.Function(space).x.array.size)
    values = unknowns.gather(vector)
    assert values is not None
    assert values.shape == unknowns.shape
    found = np.full_like(vector, np.nan)
    unknowns.scatter(values, found)
    np.testing.assert_array_equal(found, vector)
    np.testing.assert_array_equal(unknowns.gather(found), values)


def test_complex_values_and_integers_pass_unchanged():
    unknowns = Unknowns(nedelec(2, 2))
    count = len(unknowns.points)
    for values in (np.arange(count) * (1 - 2j), np.arange(count)):
        vector = np.empty(count, values.dtype)
        unknowns.scatter(values, vector)
        np.testing.assert_array_equal(unknowns.gather(vector), values)


def test_vectors_have_their_components_last():
    space = fem.functionspace(unit_mesh(2, 3), ("Lagrange", 2, (2,)))
    field = fem.Function(space)
    field.interpolate(lambda x: (x[0] + 2 * x[1], x[0] * x[1]))
    unknowns = Unknowns(space)
    x, y = unknowns.points.T
    expected = np.stack([x + 2 * y, x * y], axis=1)
    np.testing.assert_allclose(unknowns.gather(field.x.array), expected, atol=1e-14)


def test_taylor_hood_parts_are_those_of_the_mixed_vector():
    domain = unit_mesh(2, 3)
    velocity = basix.ufl.element("Lagrange", "triangle", 2, shape=(2,))
    pressure = basix.ufl.element("Lagrange", "triangle", 1)
    space = fem.functionspace(domain, basix.ufl.mixed_element([velocity, pressure]))
    mixed = fem.Function(space)
    mixed.sub(0).interpolate(lambda x: (x[0] + 2 * x[1], x[0] * x[1]))
    mixed.sub(1).interpolate(lambda x: x[0] - 3 * x[1])
    parts = [Unknowns(*space.sub(i).collapse()) for i in range(2)]
    values = [part.gather(mixed.x.array) for part in parts]
    x, y = parts[0].points.T
    np.testing.assert_allclose(values[0], np.stack([x + 2 * y, x * y], axis=1), atol=1e-14)
    x, y = parts[1].points.T
    np.testing.assert_allclose(values[1], x - 3 * y, atol=1e-14)

    found = np.full_like(mixed.x.array, np.nan)
    for part, value in zip(parts, values, strict=True):
        part.scatter(value, found)
    np.testing.assert_array_equal(found, mixed.x.array)


def test_a_component_of_a_vector_is_a_part_too():
    space = fem.functionspace(unit_mesh(2, 2), ("Lagrange", 1, (2,)))
    whole = Unknowns(space)
    vector = np.random.default_rng(3).standard_normal(2 * len(whole.points))
    values = whole.gather(vector)
    for i in range(2):
        np.testing.assert_array_equal(
            Unknowns(*space.sub(i).collapse()).gather(vector), values[:, i]
        )


@pytest.mark.parametrize("family", [("Lagrange", 1), ("Lagrange", 2), ("Lagrange", 3), ("DG", 1)])
@pytest.mark.parametrize("dimension", [2, 3])
def test_cells_list_their_nodes_in_reference_order(dimension: int, family: tuple):
    domain = unit_mesh(dimension, 2)
    space = fem.functionspace(domain, family)
    unknowns = Unknowns(space)
    cells = unknowns.cells()
    assert cells is not None
    # The corners come first; the other nodes are affine combinations of them.
    reference = space.element.basix_element.points
    corners = unknowns.points[cells[:, : dimension + 1]]
    barycentric = np.hstack((1 - reference.sum(axis=1, keepdims=True), reference))
    np.testing.assert_allclose(unknowns.points[cells], barycentric @ corners, atol=1e-14)
    volumes = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    assert np.isclose(volumes.sum(), 2 if dimension == 2 else 6)
    order = sort_positions(corners.mean(axis=1))
    np.testing.assert_array_equal(order, np.arange(len(cells)))


def test_constants_of_cells_are_in_the_order_of_the_cells():
    domain = unit_mesh(3, 2)
    unknowns = Unknowns(fem.functionspace(domain, ("DG", 0)))
    np.testing.assert_array_equal(unknowns.cells()[:, 0], np.arange(len(unknowns.points)))
    midpoints = mesh.compute_midpoints(domain, 3, order_cells(domain).astype(np.int32))
    np.testing.assert_allclose(unknowns.points, midpoints, atol=1e-14)


def test_nodes_of_jumping_functions_stay_with_their_cells():
    domain = unit_mesh(2, 3)
    space = fem.functionspace(domain, ("DG", 1))
    constants = fem.functionspace(domain, ("DG", 0))
    number = fem.Function(constants)
    Unknowns(constants).scatter(np.arange(18.0), number.x.array)
    field = fem.Function(space)
    field.interpolate(number)
    unknowns = Unknowns(space)
    values, cells = unknowns.gather(field.x.array), unknowns.cells()
    expected = np.repeat(np.arange(18.0)[:, None], 3, axis=1)
    np.testing.assert_allclose(values[cells], expected, atol=1e-13)
    # At a node, the cells follow in their order.
    same = np.all(np.abs(np.diff(unknowns.points, axis=0)) < 1e-12, axis=1)
    assert same.any()
    assert (np.diff(values)[same] > 0.5).all()


@pytest.mark.parametrize("dimension", [2, 3])
def test_tangents_are_edges_in_canonical_direction(dimension: int):
    unknowns = Unknowns(nedelec(dimension, 2))
    nodes = Unknowns(fem.functionspace(unknowns.space.mesh, ("Lagrange", 1)))
    corners = nodes.points[nodes.cells()]
    expected = set()
    for cell in np.rint(corners * 2).astype(int):
        for i in range(dimension + 1):
            for j in range(i):
                # Integer corners: sorted, they run in the direction of a positive component.
                start, end = sorted((tuple(cell[i]), tuple(cell[j])))
                expected.add((start, end))
    found = set()
    for middle, tangent in zip(unknowns.points, unknowns.tangents, strict=True):
        ends = np.rint(2 * np.array([middle - tangent / 2, middle + tangent / 2]))
        np.testing.assert_allclose(ends.mean(axis=0), 2 * middle, atol=1e-13)
        found.add(tuple(tuple(int(x) for x in end) for end in ends))
    assert len(found) == len(unknowns.points)
    assert found == expected


@pytest.mark.parametrize("dimension", [2, 3])
def test_nedelec_unknowns_are_integrals_along_the_tangents(dimension: int):
    space = nedelec(dimension, 3)
    unknowns = Unknowns(space)
    random = np.random.default_rng(4)
    a, b = random.standard_normal(dimension), random.standard_normal((dimension, dimension))
    field = fem.Function(space)
    field.interpolate(lambda x: a[:, None] + b @ x[:dimension])
    # For a linear field, the integral is its value at the midpoint times the edge.
    expected = np.sum((a + unknowns.points @ b.T) * unknowns.tangents, axis=1)
    np.testing.assert_allclose(unknowns.gather(field.x.array), expected, atol=1e-13)


@pytest.mark.parametrize(
    "element",
    [
        basix.ufl.element("RT", "triangle", 1),
        basix.ufl.element("N1curl", "triangle", 2),
        basix.ufl.element(
            "Lagrange", "triangle", 2, lagrange_variant=LagrangeVariant.legendre, discontinuous=True
        ),
        basix.ufl.quadrature_element("triangle", degree=2),
        basix.ufl.mixed_element([basix.ufl.element("Lagrange", "triangle", 1)] * 2),
    ],
)
def test_other_elements_are_refused(element: basix.ufl._ElementBase):
    with pytest.raises(FamilyError, match="no canonical order: use Lagrange elements"):
        Unknowns(fem.functionspace(unit_mesh(2, 1), element))


def test_unknowns_of_another_mesh_are_refused():
    unknowns = Unknowns(fem.functionspace(unit_mesh(2, 3), ("Lagrange", 1)))
    with pytest.raises(DataError, match=r"the shape \(17,\), and those of its mesh have \(16,\)"):
        unknowns.scatter(np.zeros(17), np.zeros(16))


@pytest.mark.mpi
def test_one_rank_and_two_agree(tmp_path: Path):
    for ranks in (1, 2):
        run_on_ranks(ranks, Path(__file__).with_name("unknowns_two_ranks.py"), tmp_path)
    one, two = (np.load(tmp_path / f"ranks-{n}.npz") for n in (1, 2))
    assert sorted(one) == sorted(two)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-14, err_msg=name)
