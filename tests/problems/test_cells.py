# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Coefficients that are constant in each cell of the lattice, as finite-volume sets have them."""

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import ufl

from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, FamilyError
from kryloset.fem.coarse_grid import Restriction, make_coarse
from kryloset.problems import Dirichlet, SteadyFamily, Variable, WeakForm, load_family
from kryloset.problems.checks.declarations import check_declarations
from kryloset.problems.checks.drawing import Drawing
from kryloset.report.gallery import gallery
from kryloset.report.pictures import make_pictures, plane
from kryloset.sampling import generator


class Layers(SteadyFamily):
    """-div(k grad u) = 0 through layers across x, with u = 0 and u = 1 on both ends."""

    summary = equation = "layers"
    dimensions = (2, 1, 3)
    mesh_keys = ("points", "sides", "spacing")
    parameters = (Variable("k", "conductivity", transform="log", placement="cells"),)
    fields = (Variable("u", "temperature"),)

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw a value for each layer of cells."""
        shape = [len(line) for line in self.cell_points]
        layers = random.uniform(1, 100, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        return {"k": np.broadcast_to(layers, shape)}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the form, insulated along the layers."""
        from dolfinx import fem

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        end = self.sides[0]
        ends = (
            Dirichlet(0.0, lambda x: np.isclose(x[0], 0)),
            Dirichlet(1.0, lambda x: np.isclose(x[0], end)),
        )
        return WeakForm(a, fem.Constant(space.mesh, 0.0) * v * ufl.dx, ends)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("spacing", ["equidistant", "chebyshev"])
def test_a_layered_medium_has_its_exact_solution(spacing: str, dimension: int, degree: int) -> None:
    mesh = MeshConfig(
        points=[13, 5, 3][:dimension],
        sides=[2.0, 0.5, 1.0][:dimension],
        spacing=spacing,
        degree=degree,
        dimension=dimension,
        grids=[[30, 2, 2][:dimension]],
    )
    family = Layers(Layers.Settings(), mesh)
    discretisation = family.discretise(MPI.COMM_SELF)
    instances = [family.draw(generator(0, index)) for index in range(2)]
    for instance in instances:
        (solution,) = discretisation.solve([instance], solve_directly)
        assert discretisation.residual(instance, solution) < 1e-10
        k = instance["k"].reshape(len(instance["k"]), -1)[:, 0]
        vertices = family.coordinates["x"][::degree]
        # The flux is the same in all layers, so each takes a part of u that is h / k.
        known = np.append(0, np.cumsum(np.diff(vertices) / k))
        (grid,) = mesh.grids
        resampled = discretisation.resample(grid, instance, solution)
        for x, u in (
            (family.coordinates["x"], solution["u"]),
            (family.further_grid(grid)["x"], resampled["u"]),
        ):
            exact = np.interp(x, vertices, known / known[-1])
            np.testing.assert_allclose(np.moveaxis(u, 0, -1) - exact, 0, atol=1e-12)
        inside = np.searchsorted(vertices, family.further_grid(grid)["x"]).clip(1) - 1
        along = resampled["k"].reshape(len(inside), -1)
        np.testing.assert_array_equal(along, np.broadcast_to(k[inside, None], along.shape))


def darcy(**given: Any) -> Any:
    mesh = {"points": [17, 9], "sides": [2.0, 1.0]} | given.pop("mesh", {})
    parameters = {"permeability": "two_valued", "placement": "cells", "modes": 4}
    return load_family(DatasetConfig(mesh=mesh, parameters=parameters | given))


def test_a_two_valued_medium_is_two_valued_in_the_form() -> None:
    family = darcy()
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 1))
    assert instance["k"].shape == (16, 8)
    elements = discretisation.elements
    elements.set_parameters(instance)
    k = elements.parameters["k"].x.array.real
    assert len(k) == 2 * 16 * 8 and set(k) == {3.0, 12.0}
    # Both triangles of each cell have its value.
    assert k.sum() == pytest.approx(2 * instance["k"].sum())


def test_a_medium_in_cells_is_the_field_at_their_centres() -> None:
    at_centres = darcy(permeability="lognormal").draw(generator(0, 1))["k"]
    finer = darcy(permeability="lognormal", placement="points", mesh={"points": [33, 17]})
    at_points = finer.draw(generator(0, 1))["k"]
    np.testing.assert_allclose(at_centres, at_points[1::2, 1::2], rtol=1e-10)


def test_a_coarse_grid_has_the_mean_over_its_cells() -> None:
    family = darcy()
    coarse = make_coarse(family, (9, 5))
    k = family.draw(generator(0, 0))["k"]
    found = Restriction(family, coarse)({"k": k})["k"]
    np.testing.assert_allclose(found, k.reshape(8, 2, 4, 2).mean(axis=(1, 3)))


def test_values_at_points_are_refused() -> None:
    class AtPoints(Layers):
        def draw(self, random: np.random.Generator) -> dict[str, Any]:
            return {"k": np.ones((9, 9))}

    with pytest.raises(FamilyError, match=r"'k' has the shape \(9, 9\) .* \(8, 8\)"):
        Drawing(AtPoints(Layers.Settings(), MeshConfig(points=9)))(0, 0)


def test_only_scalar_parameters_are_in_cells() -> None:
    class Field(Layers):
        fields = (Variable("u", "temperature", placement="cells"),)

    with pytest.raises(FamilyError, match="only parameters of rank 0"):
        check_declarations(Field(Layers.Settings(), MeshConfig(points=9)), "layers")


def test_cells_resolve_fewer_modes_than_points() -> None:
    with pytest.raises(ConfigError, match="take at most 8 modes"):
        darcy(modes=9, mesh={"points": 17, "degree": 2, "sides": None})


def test_cells_along_a_periodic_axis_reach_its_end() -> None:
    family = darcy(mesh={"points": [16, 9], "periodic": ["x"], "grids": [[9, 5]]})
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 1))
    assert instance["k"].shape == (16, 8)
    (solution,) = discretisation.solve([instance], solve_directly)
    assert discretisation.residual(instance, solution) < 1e-8
    assert set(np.unique(discretisation.resample((9, 5), instance, solution)["k"])) == {3.0, 12.0}
    (row,) = make_pictures(family, family.parameters[0], instance["k"][None])
    mesh = gallery([row], ["instance 1"], plane(family)).axes[0].collections[0]
    assert mesh.get_coordinates()[0, -1, 0] == 2.0 and mesh.get_array().shape == (8, 16)
