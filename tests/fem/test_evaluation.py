# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Evaluation at any point is exact for functions of the element."""

from pathlib import Path

from mpi4py import MPI

import basix.ufl
import numpy as np
import pytest
from basix import LagrangeVariant
from dolfinx import fem, mesh

from kryloset.errors import DataError
from kryloset.fem.evaluation import Evaluation
from kryloset.fem.unknowns import Unknowns
from kryloset.problems.checks.coverage import POINT_ROUNDING
from ranks import run_on_ranks

COMM = MPI.COMM_SELF


def slanted_mesh(d: int, cells: int = 3) -> mesh.Mesh:
    """Return a mesh of the unit interval, square or cube, mapped by `slant`."""
    if d == 1:
        domain = mesh.create_unit_interval(COMM, cells)
    elif d == 2:
        domain = mesh.create_unit_square(COMM, cells, cells)
    else:
        domain = mesh.create_unit_cube(COMM, cells, cells, cells)
    domain.geometry.x[:, :d] = slant(domain.geometry.x[:, :d])
    return domain


def slant(x: np.ndarray) -> np.ndarray:
    d = x.shape[1]
    return x @ (np.eye(d) + 0.3 * np.tri(d, k=-1) - 0.2 * np.tri(d, k=-1).T) + 0.1


def random_points(d: int, count: int = 200) -> np.ndarray:
    return slant(np.random.default_rng(d).uniform(size=(count, d)))


def gather(function: fem.Function) -> tuple[Unknowns, np.ndarray]:
    unknowns = Unknowns(function.function_space)
    values = unknowns.gather(function.x.array)
    assert values is not None
    return unknowns, values


def polynomial(d: int, degree: int, seed: int):
    """Return a polynomial with random coefficients; x is (d, points)."""
    a, b = np.random.default_rng(seed).standard_normal((2, d))
    return lambda x: (0.5 + a @ x[:d]) ** degree - (b @ x[:d]) ** degree + 2


@pytest.mark.parametrize(
    "element", [("Lagrange", 1), ("Lagrange", 2), ("Lagrange", 3), ("DG", 0), ("DG", 1), ("DG", 2)]
)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_polynomials_are_reproduced(d: int, element: tuple):
    function = fem.Function(fem.functionspace(slanted_mesh(d), element))
    exact = polynomial(d, element[1], seed=5)
    function.interpolate(exact)
    unknowns, values = gather(function)
    points = random_points(d)
    evaluation = Evaluation(unknowns, points)
    assert evaluation.inside.all()
    np.testing.assert_allclose(evaluation(values), exact(points.T), atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_polynomials_with_values_in_vectors_are_reproduced(d: int, degree: int):
    function = fem.Function(fem.functionspace(slanted_mesh(d), ("Lagrange", degree, (2,))))
    parts = [polynomial(d, degree, seed) for seed in (6, 7)]
    function.interpolate(lambda x: np.stack([part(x) for part in parts]))
    unknowns, values = gather(function)
    points = random_points(d)
    expected = np.stack([part(points.T) for part in parts], axis=1)
    np.testing.assert_allclose(Evaluation(unknowns, points)(values), expected, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_nedelec_functions_reproduce_rotations(d: int):
    function = fem.Function(fem.functionspace(slanted_mesh(d), ("N1curl", 1)))
    random = np.random.default_rng(8)
    a, b = random.standard_normal(d), random.standard_normal((d, d))
    rotation = b - b.T
    function.interpolate(lambda x: a[:, None] + rotation @ x[:d])
    unknowns, values = gather(function)
    points = random_points(d)
    expected = a + points @ rotation.T
    np.testing.assert_allclose(Evaluation(unknowns, points)(values), expected, atol=1e-12)


@pytest.mark.parametrize("element", [("Lagrange", 3), ("DG", 1), ("N1curl", 1)])
@pytest.mark.parametrize("d", [2, 3])
def test_evaluation_agrees_with_dolfinx(d: int, element: tuple):
    domain = slanted_mesh(d)
    function = fem.Function(fem.functionspace(domain, element))
    array = function.x.array
    array[:] = np.random.default_rng(9).standard_normal(array.size)
    cells = np.arange(domain.topology.index_map(d).size_local, dtype=np.int32)
    points = mesh.compute_midpoints(domain, d, cells)
    expected = function.eval(points, cells)
    unknowns, values = gather(function)
    found = Evaluation(unknowns, points[:, :d])(values)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-12)


@pytest.mark.parametrize(("d", "cells", "degree"), [(1, 5, 1), (2, 4, 1), (2, 3, 2), (3, 2, 2)])
def test_nodes_give_the_identity(d: int, cells: int, degree: int):
    unknowns = Unknowns(fem.functionspace(slanted_mesh(d, cells), ("Lagrange", degree)))
    at_nodes = Evaluation(unknowns, unknowns.points)
    identity = np.eye(len(unknowns.points))
    np.testing.assert_allclose(at_nodes(identity).reshape(identity.shape), identity, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_basis_functions_sum_to_one(degree: int):
    element = basix.ufl.element(
        "Lagrange", "triangle", degree, lagrange_variant=LagrangeVariant.equispaced
    )
    unknowns = Unknowns(fem.functionspace(slanted_mesh(2), element))
    ones = Evaluation(unknowns, random_points(2))(np.ones(unknowns.shape))
    np.testing.assert_allclose(ones, 1, rtol=1e-13)


def boundary_points(d: int, outwards: float) -> np.ndarray:
    """Return points that far from the facets of the slanted box, in its own coordinates."""
    points = []
    for axis in range(d):
        for side, step in ((0.0, -outwards), (1.0, outwards)):
            x = np.random.default_rng(axis).uniform(size=(50, d))
            x[:, axis] = side + step
            points.append(slant(x))
    return np.concatenate(points)


@pytest.mark.parametrize("element", [("Lagrange", 2), ("DG", 0), ("N1curl", 1)])
@pytest.mark.parametrize("d", [2, 3])
def test_points_on_the_boundary_are_inside_and_points_beyond_are_not(d: int, element: tuple):
    unknowns = Unknowns(fem.functionspace(slanted_mesh(d), element))
    ones = np.ones(unknowns.shape)
    for outwards, expected in (
        (0.0, True),
        (POINT_ROUNDING / 10, True),
        (1e-5, False),
        (0.5, False),
    ):
        evaluation = Evaluation(unknowns, boundary_points(d, outwards))
        assert (evaluation.inside == expected).all(), outwards
        if not expected:
            assert np.isnan(evaluation(ones)).all()


def test_corners_are_inside_and_a_grid_may_lie_outside():
    unknowns = Unknowns(fem.functionspace(slanted_mesh(3), ("Lagrange", 1)))
    corners = slant(np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T)
    assert Evaluation(unknowns, corners).inside.all()
    far = Evaluation(unknowns, corners + 10)
    assert not far.inside.any()
    np.testing.assert_array_equal(far(np.ones(unknowns.shape)), np.full(8, np.nan))
    assert Evaluation(unknowns, np.zeros((0, 3)))(np.ones(unknowns.shape)).shape == (0,)


def test_a_hole_is_outside():
    domain = mesh.create_unit_square(COMM, 4, 4)
    midpoints = mesh.compute_midpoints(domain, 2, np.arange(32, dtype=np.int32))
    kept = np.flatnonzero(np.abs(midpoints[:, :2] - 0.5).max(axis=1) > 0.25).astype(np.int32)
    ring = mesh.create_submesh(domain, 2, kept)[0]
    unknowns = Unknowns(fem.functionspace(ring, ("Lagrange", 1)))
    points = np.random.default_rng(10).uniform(size=(300, 2))
    expected = np.abs(points - 0.5).max(axis=1) > 0.25
    evaluation = Evaluation(unknowns, points)
    np.testing.assert_array_equal(evaluation.inside, expected)
    ones = np.where(expected, 1.0, np.nan)
    np.testing.assert_allclose(evaluation(np.ones(unknowns.shape)), ones, rtol=1e-13)


def test_where_cells_meet_the_first_one_is_evaluated():
    domain = mesh.create_unit_interval(COMM, 4)
    unknowns = Unknowns(fem.functionspace(domain, ("DG", 0)))
    found = Evaluation(unknowns, np.linspace(0, 1, 5)[:, None])(np.arange(4.0))
    np.testing.assert_allclose(found, [0, 0, 1, 2, 3])


def test_cells_that_touch_a_point_come_before_those_that_nearly_do():
    domain = mesh.create_unit_interval(COMM, 4)
    unknowns = Unknowns(fem.functionspace(domain, ("DG", 0)))
    beside = np.array([0.25, 0.5, 0.75])[:, None] + POINT_ROUNDING / 10
    np.testing.assert_allclose(Evaluation(unknowns, beside)(np.arange(4.0)), [1, 2, 3])


def test_the_boundary_of_a_mesh_in_single_precision_is_inside():
    domain = mesh.create_unit_square(COMM, 7, 7)
    domain.geometry.x[:, :2] = slant(domain.geometry.x[:, :2]).astype(np.float32)
    function = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))
    exact = polynomial(2, 1, seed=3)
    function.interpolate(exact)
    unknowns, values = gather(function)
    points = boundary_points(2, 0.0)
    evaluation = Evaluation(unknowns, points)
    assert evaluation.inside.all()
    np.testing.assert_allclose(evaluation(values), exact(points.T), atol=1e-12)


def test_a_part_of_a_mixed_space_is_evaluated():
    velocity = basix.ufl.element("Lagrange", "triangle", 2, shape=(2,))
    pressure = basix.ufl.element("Lagrange", "triangle", 1)
    space = fem.functionspace(slanted_mesh(2), basix.ufl.mixed_element([velocity, pressure]))
    mixed = fem.Function(space)
    mixed.sub(0).interpolate(lambda x: (x[0] ** 2, x[0] * x[1]))
    points = random_points(2)
    unknowns = Unknowns(*space.sub(0).collapse())
    x, y = points.T
    found = Evaluation(unknowns, points)(unknowns.gather(mixed.x.array))
    np.testing.assert_allclose(found, np.stack([x**2, x * y], axis=1), atol=1e-13)


def test_points_of_another_dimension_are_refused():
    unknowns = Unknowns(fem.functionspace(slanted_mesh(2), ("Lagrange", 1)))
    with pytest.raises(ValueError, match=r"shape \(5, 3\), expected \(points, 2\)"):
        Evaluation(unknowns, np.zeros((5, 3)))


def test_cells_other_than_simplices_are_refused():
    domain = mesh.create_unit_square(COMM, 2, 2, mesh.CellType.quadrilateral)
    unknowns = Unknowns(fem.functionspace(domain, ("Lagrange", 1)))
    with pytest.raises(ValueError, match="expected straight simplices"):
        Evaluation(unknowns, np.zeros((1, 2)))


@pytest.mark.mpi
def test_one_rank_and_two_agree(tmp_path: Path):
    for ranks in (1, 2):
        run_on_ranks(ranks, Path(__file__).with_name("evaluation_two_ranks.py"), tmp_path)
    one, two = (np.load(tmp_path / f"ranks-{n}.npz") for n in (1, 2))
    assert sorted(one) == sorted(two)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-12, err_msg=name)


def test_another_number_of_unknowns_is_refused():
    function = fem.Function(fem.functionspace(slanted_mesh(2), ("Lagrange", 1)))
    unknowns, values = gather(function)
    evaluation = Evaluation(unknowns, random_points(2))
    with pytest.raises(DataError, match="a function has 17 unknowns, and its mesh has 16"):
        evaluation(np.append(values, 0.0))
