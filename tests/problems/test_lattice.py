# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Boxes of any sides, with any number of points along each axis, at any distances."""

import math
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import ufl
from coarse import NAMES, dataset
from numpy.polynomial import chebyshev

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError
from kryloset.problems import Dirichlet, SteadyFamily, Variable, WeakForm, load_family
from kryloset.problems.finite_element import FiniteElementFamily
from kryloset.problems.lattice import lines_of
from kryloset.problems.registry import family_class
from kryloset.problems.tools.resonance import find_detuning
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims


class Quadratic(SteadyFamily):
    """-lap u = f with u = x^2 + 2 x y - y^2 / 2 on the boundary, and so everywhere, if f = -1."""

    summary = equation = "manufactured"
    mesh_keys = ("points", "sides", "spacing")
    dimensions = (2, 3)
    parameters = (Variable("f", "source", dimensions=()),)
    fields = (Variable("u", "solution"),)

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Return the only source."""
        return {"f": -1.0}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Prescribe u on the boundary."""
        from dolfinx import fem

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        known = fem.Function(space)
        known.interpolate(quadratic)
        a = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, parameters["f"] * v * ufl.dx, (Dirichlet(known),))


class Smooth(Quadratic):
    """-lap u = f with the exact solution `smooth`, zero on the boundary of (0, 2) x (0, 1/2)."""

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the form, with f computed from u."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        source = ufl.div(ufl.grad(smooth(ufl.SpatialCoordinate(space.mesh))))
        dx = ufl.dx(metadata={"quadrature_degree": 6})
        return WeakForm(
            ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, parameters["f"] * source * v * dx
        )


def quadratic(x: Any) -> Any:
    return x[0] ** 2 + 2 * x[0] * x[1] - x[1] ** 2 / 2


def smooth(x: Any) -> Any:
    return ufl.exp(x[0]) * ufl.sin(math.pi * x[0] / 2) * ufl.sin(2 * math.pi * x[1])


def reshaped(name: str, keys: tuple[str, ...]) -> FiniteElementFamily:
    """Return a family of config/families, with few modes and steps, on another box."""
    config = dataset(name)
    dimension = load_family(config).dimension
    mesh: dict[str, Any] = {"degree": config.mesh.degree, "dimension": dimension}
    mesh["points"] = [129] if dimension == 1 else [17, 9, 9][:dimension]
    mesh["grids"] = [[5, 3, 3][:dimension]]
    if "sides" in keys:
        mesh["sides"] = [2.0, 0.5, 1.0][:dimension]
    if "spacing" in keys:
        mesh["spacing"] = [{"walls": 2.0}, "chebyshev", "equidistant"][:dimension]
    settings = dict(config.parameters)
    fields = family_class(config.family).Settings.model_fields
    if "modes" in fields:
        settings["modes"] = 4
    if "wavelengths" in fields:
        settings["wavelengths"] = 0.4
    if "steps" in fields:
        settings |= {"steps": 2, "final_time": 0.02}
    settings |= {"reynolds": 100.0} if "reynolds" in fields else {}
    found = load_family(
        config.model_copy(update={"mesh": MeshConfig(**mesh), "parameters": settings})
    )
    assert isinstance(found, FiniteElementFamily)
    return found


def test_chebyshev_points_are_the_extrema_of_a_chebyshev_polynomial() -> None:
    (x,) = lines_of(MeshConfig(points=9, spacing="chebyshev"), 1)
    np.testing.assert_allclose(2 * np.asarray(x) - 1, chebyshev.chebpts2(9), atol=1e-15)


@pytest.mark.parametrize("ratio", [2.0, 10.0, 1000.0])
def test_walls_have_the_ratio_of_the_widest_spacing_to_the_narrowest(ratio: float) -> None:
    (x,) = lines_of(MeshConfig(points=20_001, spacing={"walls": ratio}), 1)
    steps = np.diff(x)
    assert steps.max() / steps.min() == pytest.approx(ratio, rel=1e-3)
    np.testing.assert_allclose(steps, steps[::-1], rtol=1e-9)
    assert x[0] == 0 and x[-1] == 1


@pytest.mark.parametrize("spacing", ["chebyshev", {"walls": 5.0}])
def test_points_between_the_vertices_of_quadratic_elements_are_midpoints(spacing: Any) -> None:
    (fine,) = lines_of(MeshConfig(points=17, degree=2, spacing=spacing), 1)
    (vertices,) = lines_of(MeshConfig(points=9, spacing=spacing), 1)
    np.testing.assert_array_equal(fine[::2], vertices)
    np.testing.assert_allclose(fine[1::2], (fine[:-1:2] + fine[2::2]) / 2)


@pytest.mark.parametrize("dimension", [2, 3])
def test_polynomials_of_the_elements_degree_are_exact_at_all_points(dimension: int) -> None:
    mesh = MeshConfig(
        points=[7, 9, 5][:dimension],
        sides=[2.0, 0.5, 1.0][:dimension],
        spacing=["chebyshev", {"walls": 4.0}, [0, 0.1, 0.2, 0.6, 1]][:dimension],
        grids=[[4, 9, 2][:dimension]],
        degree=2,
        dimension=dimension,
    )
    family = Quadratic(Quadratic.Settings(), mesh)
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 0))
    (solution,) = discretisation.solve([instance], solve_directly)
    points = np.meshgrid(*family.coordinates.values(), indexing="ij")
    np.testing.assert_allclose(solution["u"], quadratic(points), atol=1e-12)
    (grid,) = mesh.grids
    points = np.meshgrid(*family.further_grid(grid).values(), indexing="ij")
    found = discretisation.resample(grid, instance, solution)["u"]
    np.testing.assert_allclose(found, quadratic(points), atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("spacing", ["equidistant", "chebyshev", [{"walls": 4.0}, "equidistant"]])
def test_solutions_converge_at_the_theoretical_order(degree: int, spacing: Any) -> None:
    errors = []
    for n in (8, 16, 32):
        points = [2 * n * degree + 1, n * degree + 1]
        mesh = MeshConfig(points=points, sides=[2.0, 0.5], spacing=spacing, degree=degree)
        family = Smooth(Smooth.Settings(), mesh)
        u = solve_instance(family, family.draw(generator(0, 0)))
        errors.append(l2_error(u, smooth, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.15


@pytest.mark.parametrize("name", NAMES)
def test_every_family_is_solved_on_another_box_or_says_why_not(name: str) -> None:
    keys = family_class(dataset(name).family).mesh_keys
    family = reshaped(name, keys)
    discretisation, solve = family.discretise(MPI.COMM_SELF), SolveAndKeep()
    instances = [family.draw(generator(0, index)) for index in range(2)]
    for instance in instances:
        (solution,) = discretisation.solve([instance], solve)
        assert discretisation.residual(instance, solution) < 1e-8
        (grid,) = family.mesh.grids
        resampled = discretisation.resample(grid, instance, solution)
        times = () if family.times is None else (len(family.times),)
        for field in family.fields:
            shape = (*times, *grid, *(family.dimension,) * field.rank)
            assert resampled[field.name].shape == shape
    assert false_claims(family.operator, solve.matrices) == []
    for key in {"points", "sides", "spacing"} - {*keys}:
        with pytest.raises(ConfigError, match=f"mesh.{key} .*family '{family_name(name)}'"):
            reshaped(name, (*keys, key))


def family_name(name: str) -> str:
    return dataset(name).family


@pytest.mark.parametrize("name", NAMES)
def test_an_instance_is_the_same_functions_on_every_grid(name: str) -> None:
    keys = family_class(dataset(name).family).mesh_keys
    family = reshaped(name, keys)
    finer = {
        "points": tuple(2 * n - 1 for n in family.mesh.points_along(family.dimension)),
        "degree": family.mesh.degree,
    }
    other = type(family)(family.settings, family.mesh.model_copy(update=finer))
    first, second = (of.draw(generator(1, 0)) for of in (family, other))
    for variable in family.parameters:
        places = [
            np.isin(np.round(other.coordinates[a], 9), np.round(line, 9))
            for a, line in family.coordinates.items()
            if a in variable.axes
        ]
        there = second[variable.name]
        for axis, kept in enumerate(places):
            there = there.compress(kept, axis)
        fewer = first[variable.name]
        for axis, a in enumerate(a for a in family.coordinates if a in variable.axes):
            common = np.isin(np.round(family.coordinates[a], 9), np.round(other.coordinates[a], 9))
            assert common.sum() >= 3
            fewer = fewer.compress(common, axis)
        np.testing.assert_allclose(there, fewer, rtol=1e-9, atol=1e-9)


def test_the_detuning_of_a_constant_medium_in_a_rectangle_is_known() -> None:
    # Resonances are pi^2 (i^2 / a^2 + j^2 / b^2), and 4 pi / (a b) apart in the mean.
    a, b, k = 2.0, 0.5, 9.0
    squares = [math.pi**2 * ((i / a) ** 2 + (j / b) ** 2) for i in range(1, 9) for j in range(1, 9)]
    distance = min(abs(square - k**2) for square in squares) * a * b / (4 * math.pi)
    assert find_detuning(np.full((65, 33), k), (a, b)) == pytest.approx(distance, rel=1e-9)


@pytest.mark.parametrize(
    "mesh",
    [
        {"points": [601, 601], "spacing": "chebyshev"},
        {"points": [129, 601], "sides": [1e-6, 2e-6]},
        {"points": [129, 64], "sides": [1e-2, 10.0], "periodic": ["y"]},
    ],
)
def test_the_next_points_are_not_on_a_side_however_close_they_are(mesh: Any) -> None:
    family = load_family(DatasetConfig(family="neumann_poisson", mesh=mesh))
    assert isinstance(family, FiniteElementFamily)
    for number, (axis, line) in enumerate(family.coordinates.items()):
        along = np.unique(np.append(line, family.end_of(axis)))
        points = np.zeros((3, len(along)))
        points[number] = along
        first, last = (np.flatnonzero(family.on_side(axis, end)(points)) for end in (0, 1))
        assert list(first) == [0] and list(last) == [len(along) - 1]


def test_a_tiny_box_is_pulled_at_one_side_alone() -> None:
    side, mesh = 1e-6, {"points": [129, 5], "sides": [1e-6, 1e-6]}
    settings = {"weight": 0.0, "modes": 3}
    family = load_family(DatasetConfig(family="elasticity", mesh=mesh, parameters=settings))
    instance = family.draw(generator(0, 0))
    _, rhs = family.discretise(MPI.COMM_SELF).assemble(instance)
    load = rhs.array.real.reshape(-1, 2).sum(axis=0)
    np.testing.assert_allclose(load, side * instance["traction"], rtol=1e-9)


def test_texts_name_the_sides_of_the_box() -> None:
    family = load_family(DatasetConfig(mesh={"sides": [2.0, 0.5]}))
    assert family.equation == "-div(k grad u) = f in (0, 2) x (0, 0.5), u = 0 on the boundary"
    assert [c.description for c in family.boundary_conditions] == [
        "u = 0 on x = 0 and x = 2",
        "u = 0 on y = 0 and y = 0.5",
    ]

    class Inner(Quadratic):
        equation = "u = 0 on x = 1, x = 1/2, x = 1.5 and x = 1."

    inner = Inner(Inner.Settings(), MeshConfig(points=9, sides=[2.0, 0.5]))
    assert inner.equation == "u = 0 on x = 2, x = 1/2, x = 1.5 and x = 2."
    square = load_family(DatasetConfig())
    assert square.equation == "-div(k grad u) = f in (0, 1)^d, u = 0 on the boundary"


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ({"points": [17, 9, 9]}, r"mesh.points \[17, 9, 9\] has 3 entries: .* 2 space dimensions"),
        ({"sides": [1.0]}, r"mesh.sides \[1.0\] has 1 entries"),
        ({"spacing": ["chebyshev"]}, "mesh.spacing .* has 1 entries"),
        ({"grids": [33, [5, 5, 5]]}, r"mesh.grids \[5, 5, 5\] has 3 entries"),
        ({"points": 9001, "spacing": "chebyshev"}, "two points are .* apart"),
        ({"spacing": [0, 0.5, 1]}, "lists 3 points for an axis of 64"),
        ({"points": 41, "spacing": "chebyshev"}, "modes 32 does not fit mesh.points 41 with"),
        ({"points": [64, 17]}, r"modes 32 does not fit mesh.points \[64, 17\]: take at most 16"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(mesh: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_family(DatasetConfig(mesh=mesh))


def test_a_list_without_spacings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[\] is no spacing"):
        MeshConfig(spacing=[])
