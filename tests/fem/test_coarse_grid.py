# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances on a coarse grid: the same functions, solved as the family solves them."""

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest

from directly import solve_directly
from kryloset.config import DatasetConfig
from kryloset.errors import ConfigError
from kryloset.fem.coarse_grid import CoarseGrid, Restriction, make_coarse, scale_points
from kryloset.problems import Family, load_family
from kryloset.sampling import generator


def make(name: str, **mesh: Any) -> Family:
    method = "direct" if mesh.get("degree") == 2 else "gcrodr"
    return load_family(
        DatasetConfig.model_validate({"family": name, "mesh": mesh, "solver": {"method": method}})
    )


@pytest.mark.parametrize(
    "name", ["poisson", "neumann_poisson", "elasticity", "maxwell", "reaction_diffusion"]
)
def test_on_nested_grids_it_equals_the_instance_drawn_there(name: str) -> None:
    family = make(name, points=65)
    grid = CoarseGrid(family)
    coarse = make(name, points=grid.points)
    instance = coarse.draw(generator(0, 3))
    restricted = grid.restrict(family.draw(generator(0, 3)))
    for key, values in instance.items():
        np.testing.assert_allclose(restricted[key], values, rtol=1e-9, atol=1e-9)
    expected = coarse.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]
    for field, variable in zip(
        grid.solve(family.draw(generator(0, 3))), coarse.fields, strict=True
    ):
        np.testing.assert_allclose(field, expected[variable.name], rtol=1e-6, atol=1e-7)


def test_outside_of_the_domain_solutions_are_zero() -> None:
    family = make("thermal", points=65)
    grid = CoarseGrid(family)
    (field,) = grid.solve(family.draw(generator(0, 3)))
    assert np.isfinite(field).all()
    middle = grid.points // 2
    assert field[middle, middle] == 0 != field[0, 0]


def test_linear_parameters_are_the_same_on_grids_that_are_not_nested() -> None:
    family = make("maxwell", points=30)
    grid = CoarseGrid(family)
    assert (grid.points, 29 % 8) == (9, 5)
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    restricted = grid.restrict({v.name: 1 + x + 2 * y for v in family.parameters})
    line = np.linspace(0, 1, 9)
    for values in restricted.values():
        np.testing.assert_allclose(values, 1 + line[:, None] + 2 * line)


@pytest.mark.parametrize(
    ("name", "mesh", "message"),
    [
        ("helmholtz", {"points": 64}, "mesh.points 33 moves resonances.*take other features"),
        ("darcy", {"points": 33}, "no coarse grid.*points 25"),
        ("heat", {"points": 33}, "100 systems an instance.*take cosines"),
    ],
)
def test_families_without_a_coarse_grid_are_refused(
    name: str, mesh: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        CoarseGrid(make(name, **mesh))


def test_instances_with_meshes_of_their_own_are_refused() -> None:
    family = load_family(DatasetConfig(family="thermal", parameters={"outline": "drawn"}))
    with pytest.raises(ConfigError, match=r"a mesh of its own.*take parameters"):
        CoarseGrid(family)


def test_a_half_of_a_periodic_grid_is_nested_in_it() -> None:
    family = make("maxwell", points=[32, 33], periodic=["x"])
    assert scale_points(family, 0.5) == (16, 17)
    coarse = make_coarse(family, scale_points(family, 0.5))
    instance = family.draw(generator(0, 0))
    for name, values in Restriction(family, coarse)(instance).items():
        np.testing.assert_allclose(values, instance[name][::2, ::2], atol=1e-14)


def test_interpolation_along_a_long_axis_takes_little_memory() -> None:
    """Two numbers a point, and not a matrix of all points."""
    family = make("kuramoto_sivashinsky", points=65_537)
    restrict = Restriction(family, make_coarse(family, 2_049))
    x = np.linspace(0.0, 1.0, 65_537)
    np.testing.assert_allclose(restrict({"u0": 2 * x})["u0"], 2 * x[::32], atol=1e-12)
