# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The base of all finite element families: spaces, parameters, conditions, stored arrays."""

from typing import Any

from mpi4py import MPI

import basix.ufl
import numpy as np
import pytest
import ufl
from dolfinx import fem

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError, DataError, FamilyError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.group import GroupValues
from kryloset.problems import (
    Dirichlet,
    OperatorTraits,
    SteadyFamily,
    Variable,
    WeakForm,
    degrees_of_freedom,
)


class Diffusion(SteadyFamily):
    """-div(k grad u) = f with u = g on the boundary, in one to three dimensions."""

    dimensions = (2, 1, 3)
    parameters: tuple[Variable, ...] = (Variable("k", "k"), Variable("g", "g"))
    fields: tuple[Variable, ...] = (Variable("u", "u"),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def draw(self, generator: Any) -> Any:
        """Draw nothing: the tests choose k and g."""
        raise NotImplementedError

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the form with the source of sum(sin x_i), for k = 1 + x."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        x = ufl.SpatialCoordinate(space.mesh)
        source = -ufl.div((1 + x[0]) * ufl.grad(exact(x)))
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, source * v * ufl.dx, (Dirichlet(parameters["g"]),))


def exact(x: Any) -> Any:
    return sum(ufl.sin(x[i]) for i in range(len(x)))


def instance_of(family: SteadyFamily) -> dict[str, Any]:
    x = np.meshgrid(*family.coordinates.values(), indexing="ij")
    return {"k": 1 + x[0], "g": sum(np.sin(xi) for xi in x)}


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_order_in_every_dimension_with_values_on_the_boundary(dimension: int, degree: int) -> None:
    errors = []
    for cells in (3, 6, 12) if dimension == 3 else (8, 16, 32):
        mesh = MeshConfig(points=cells * degree + 1, degree=degree, dimension=dimension)
        family = Diffusion(Section(), mesh)
        u = solve_instance(family, instance_of(family))
        errors.append(l2_error(u, exact, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


class Everything(SteadyFamily):
    """Parameters of every kind, and a mixed space one part of which is off the grid."""

    parameters: tuple[Variable, ...] = (
        Variable("s", "a field"),
        Variable("v", "a vector", rank=1),
        Variable("profile", "along y", dimensions=("y",)),
        Variable("number", "a number", dimensions=()),
        Variable("corners", "of its own", dimensions=("corner",)),
    )
    fields = (Variable("u", "u", rank=1), Variable("p", "p"))
    unknowns: tuple[Variable, ...] = (degrees_of_freedom(fields[1]),)

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw polynomials in the space of the elements."""
        x, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {
            "s": 1 + x * y,
            "v": np.stack([x**2, y - x], axis=-1),
            "profile": self.coordinates["y"] ** 2,
            "number": np.asarray(3.0),
            "corners": np.zeros(4),
        }

    def make_element(self, cell: str) -> Any:
        """Return Taylor and Hood's element."""
        velocity = basix.ufl.element("Lagrange", cell, 2, shape=(2,))
        return basix.ufl.mixed_element([velocity, basix.ufl.element("Lagrange", cell, 1)])

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return a projection: u = s v + (profile, number), p = number + x."""
        (u, p), (w, q) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
        x = ufl.SpatialCoordinate(space.mesh)
        wanted = parameters["v"] + ufl.as_vector([parameters["profile"], parameters["number"]])
        pressure = parameters["number"] + x[0]
        return WeakForm(
            (ufl.inner(u, w) + p * q) * ufl.dx,
            (ufl.inner(wanted, w) + pressure * q) * ufl.dx,
            boundary=(),
        )


@pytest.fixture(scope="module")
def everything() -> tuple[Everything, Any, Any, Any]:
    family = Everything(Section(), MeshConfig(points=9, degree=2, grids=(5, 7)))
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = family.draw(None)
    return family, discretisation, instance, discretisation.solve([instance], solve_directly)[0]


def test_parameters_of_every_kind_reach_the_form(everything: Any) -> None:
    family, _, instance, stored = everything
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    u = instance["v"] + np.stack([y**2, 3.0 + 0 * x], axis=-1)
    np.testing.assert_allclose(stored["u"], u, atol=1e-12)
    np.testing.assert_allclose(stored["p"], 3 + x, atol=1e-12)
    assert stored["p_dofs"].shape == (25,)


def test_grids_of_other_sizes_sample_the_same_functions(everything: Any) -> None:
    _, discretisation, instance, stored = everything
    found = discretisation.resample(7, instance, stored)
    x, y = np.meshgrid(*2 * [np.linspace(0, 1, 7)], indexing="ij")
    np.testing.assert_allclose(found["s"], 1 + x * y, atol=1e-12)
    np.testing.assert_allclose(found["v"], np.stack([x**2, y - x], axis=-1), atol=1e-12)
    np.testing.assert_allclose(found["u"][..., 0], x**2 + y**2, atol=1e-12)
    np.testing.assert_allclose(found["p"], 3 + x, atol=1e-12)
    assert "profile" not in found


def test_reading_is_the_inverse_of_writing(everything: Any) -> None:
    _, discretisation, _, stored = everything
    elements: FiniteElements = discretisation.elements
    function = fem.Function(elements.space)
    elements.read(stored, function.x.array)
    again = elements.write(function.x.array)
    assert all(np.array_equal(again[name], stored[name]) for name in stored)


def test_degrees_of_freedom_off_the_grid_must_be_declared() -> None:
    class Forgetful(Everything):
        unknowns = ()

    with pytest.raises(FamilyError, match="p are not at the points of the grid"):
        Forgetful(Section(), MeshConfig(points=5, degree=2)).discretise(MPI.COMM_SELF)


def test_invalid_parameters_are_named(everything: Any) -> None:
    _, discretisation, instance, _ = everything
    with pytest.raises(DataError, match=r"s has shape \(3, 3\) but the grid has \(9, 9\)"):
        discretisation.assemble({**instance, "s": np.ones((3, 3))})
    with pytest.raises(DataError, match="parameter v is not finite"):
        discretisation.assemble({**instance, "v": np.full((9, 9, 2), np.nan)})


def test_conditions_apply_to_parts_and_components(everything: Any) -> None:
    _, discretisation, _, _ = everything
    space = discretisation.elements.space
    left = lambda x: np.isclose(x[0], 0)  # noqa: E731
    corner = lambda x: np.isclose(x[0], 0) & np.isclose(x[1], 0)  # noqa: E731
    sizes = {
        Dirichlet(part=0): 2 * 32,
        Dirichlet(part=0, component=1): 32,
        Dirichlet(2.0, left, part=0): 2 * 9,
        Dirichlet(part=1): 16,
        Dirichlet(part=1, where=corner, nodal=True): 1,
    }
    for dirichlet, size in sizes.items():
        values = BoundaryValues(space, [dirichlet])
        (condition,) = values.conditions
        assert len(condition.dof_indices()[0]) == size
        assert values.homogeneous == (dirichlet.value == 0)


def test_a_form_with_parameters_is_not_constant() -> None:
    class Liar(Diffusion):
        operator = OperatorTraits(constant=True)

    with pytest.raises(ConfigError, match=r"declared constant, .*: remove constant=True"):
        Liar(Section(), MeshConfig(points=5)).discretise(MPI.COMM_SELF)


def test_prescribed_values_of_a_group_are_those_of_each_member(everything: Any) -> None:
    _, discretisation, _, _ = everything
    space, rng = discretisation.elements.space, np.random.default_rng(0)
    domain = space.mesh
    speed = fem.Function(fem.functionspace(domain, ("Lagrange", 1)))
    number = fem.Constant(domain, 1.0)
    left = lambda x: np.isclose(x[0], 0)  # noqa: E731
    boundary = BoundaryValues(
        space,
        [
            Dirichlet(3.0, part=0),
            Dirichlet(speed, left, part=0, component=1),
            Dirichlet(number, part=1),
        ],
    )
    values = GroupValues([speed, number], 4)
    for lane in range(4):
        values[speed][:, lane] = rng.normal(size=len(speed.x.array))
        values[number][:, lane] = rng.normal()
    found = boundary.of_lanes(values)
    for lane in range(4):
        values.give(lane)
        boundary.update()
        expected = np.zeros(len(found))
        for condition in boundary.conditions:
            condition.set(expected)
        np.testing.assert_allclose(found[:, lane], expected, atol=1e-14)
