# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Matern fields on meshes have the Matern covariance, reflected at the boundary."""

from itertools import permutations, product
from math import gamma
from typing import Any

import numpy as np
import pytest
from chosen_numbers import Chosen, exact_covariance
from scipy.sparse import diags_array
from scipy.special import kv

from kryloset.sampling import MaternField, generator, p1_matrices


def interval(cells: int) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(cells)
    return np.linspace(0, 1, cells + 1)[:, None], np.stack([i, i + 1], axis=1)


def square(side: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(0, 1, side + 1)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    i = np.arange((side + 1) ** 2).reshape(side + 1, -1)
    a, b, c, d = (e.ravel() for e in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    return points, np.vstack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def matern(r: np.ndarray, nu: float, length: float) -> np.ndarray:
    scaled = np.maximum(r / length, 1e-10)
    return 2 ** (1 - nu) / gamma(nu) * scaled**nu * kv(nu, scaled)


def reflected(here: np.ndarray, points: np.ndarray, nu: float, length: float) -> np.ndarray:
    """Return Matern covariances with no slope on the faces of the unit cube, by images."""
    total = np.zeros((len(here), len(points)))
    dimension = points.shape[1]
    for signs in product((1, -1), repeat=dimension):
        for cells in product((-2, 0, 2), repeat=dimension):
            images = np.multiply(signs, points) + cells
            total += matern(np.linalg.norm(here[:, None] - images, axis=-1), nu, length)
    return total


def field_on(mesh: tuple[np.ndarray, np.ndarray], **settings: Any) -> MaternField:
    return MaternField(*p1_matrices(*mesh), dimension=mesh[0].shape[1], **settings)


@pytest.mark.parametrize("alpha", [2, 4])
def test_covariance_is_that_of_the_matrices(alpha: Any) -> None:
    mesh = square(6)
    mass, stiffness = p1_matrices(*mesh)
    field = field_on(mesh, length=0.3, deviation=1.4, alpha=alpha)
    inverse = np.linalg.inv((mass / 0.3**2 + stiffness).toarray())
    expected = inverse @ mass @ inverse
    if alpha == 4:
        expected = inverse @ mass @ expected @ mass @ inverse
    covariance = exact_covariance(field.draw, len(mesh[0]))
    np.testing.assert_allclose(covariance, field.amplitude**2 * expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("mesh", "sizes", "alpha", "length", "order"),
    [
        (interval, (50, 100, 200), 2, 0.1, 1.9),
        (interval, (50, 100, 200), 4, 0.07, 1.9),
        (square, (10, 20, 40), 2, 0.4, 1.3),
        (square, (10, 20, 40), 4, 0.2, 1.75),
    ],
    ids=["interval-2", "interval-4", "square-2", "square-4"],
)
def test_covariance_converges_to_matern(
    mesh: Any, sizes: tuple[int, ...], alpha: Any, length: float, order: float
) -> None:
    errors = []
    for size in sizes:
        points, cells = mesh(size)
        field = field_on((points, cells), length=length, deviation=0.7, alpha=alpha)
        covariance = exact_covariance(field.draw, len(points))
        # With a corner, the middle of a face, and points inside, on the whole domain.
        here = [0, size // 2, len(points) // 2, len(points) // 3]
        exact = 0.7**2 * reflected(points[here], points, alpha - points.shape[1] / 2, length)
        errors.append(np.abs(covariance[here] - exact).max() / 0.7**2)
    assert errors[-1] < 0.05
    # Order two, except for a logarithm at nu = 1, where the series hardly converges.
    assert np.log2(np.divide(errors[:-1], errors[1:])).min() > order


def test_variance_is_that_stated_inside_and_grows_at_the_boundary() -> None:
    side, deviation = 40, 1.3
    points, cells = square(side)
    field = field_on((points, cells), length=0.1, deviation=deviation, alpha=4)
    variance = exact_covariance(field.draw, len(points)).diagonal().reshape(side + 1, -1)
    relative = variance / deviation**2
    assert relative[side // 2, side // 2] == pytest.approx(1, rel=0.02)
    assert relative[0, side // 2] == pytest.approx(2, rel=0.02)
    assert relative[0, 0] == pytest.approx(4, rel=0.02)


def test_variance_inside_a_cube_is_that_stated() -> None:
    side, length = 10, 0.25
    x = np.linspace(0, 1, side + 1)
    points = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    corners = np.arange((side + 1) ** 3).reshape((side + 1,) * 3)
    cells = []
    for order in permutations(np.eye(3, dtype=int)):  # Kuhn's six tetrahedra of a cube
        path = np.vstack([np.zeros((1, 3), dtype=int), np.cumsum(order, axis=0)])
        shifted = [corners[tuple(slice(s, s + side) for s in shift)].ravel() for shift in path]
        cells.append(np.stack(shifted, axis=1))
    mesh = points, np.vstack(cells)
    field = field_on(mesh, length=length, alpha=4)
    centre = int(corners[(side // 2,) * 3])
    # A draw from one unit number is a column of the map; the map's rows give variances.
    row = np.array([field.draw(Chosen(unit))[centre] for unit in np.eye(len(points))])
    exact = reflected(points[[centre]], points[[centre]], 2.5, length).item()
    assert row @ row == pytest.approx(exact, rel=0.03)


def test_a_consistent_mass_matrix_is_lumped() -> None:
    mesh = interval(20)
    mass, stiffness = p1_matrices(*mesh)
    h = 1 / 20
    consistent = diags_array(
        [np.r_[2.0, np.full(19, 4.0), 2.0] * h / 6, np.full(20, h / 6), np.full(20, h / 6)],
        offsets=[0, 1, -1],
    )
    fields = [MaternField(m, stiffness, length=0.2, dimension=1) for m in (mass, consistent)]
    draws = [field.draw(generator(0, 0)) for field in fields]
    np.testing.assert_allclose(*draws, rtol=1e-12)


def test_instances_are_the_same_in_any_order() -> None:
    draws = [field_on(square(8), length=0.2).draw(generator(1, i)) for i in range(3)]
    field = field_on(square(8), length=0.2)
    for index in (2, 0, 1):
        assert np.array_equal(field.draw(generator(1, index)), draws[index])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 3}, "alpha 3 is not 2 or 4"),
        ({"dimension": 4}, "dimension 4 is not 1, 2 or 3"),
        ({"length": 0.0}, "length 0.0 and deviation 1.0 are not both positive"),
        ({"deviation": -1.0}, "length 0.2 and deviation -1.0 are not both positive"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaternField(*p1_matrices(*square(2)), **({"length": 0.2} | settings))


def test_a_node_without_cells_is_refused() -> None:
    points, cells = square(2)
    with pytest.raises(ValueError, match=r"lumped mass of node 9 is 0\.0, not positive"):
        field_on((np.vstack([points, [[2.0, 2.0]]]), cells), length=0.2)
