# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Heat in polygons against a manufactured solution, balances and finite differences."""

from dataclasses import replace
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import ufl
from dolfinx import fem, mesh
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence import l2_error, observed_orders
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError, FamilyError
from kryloset.fem.evaluation import Evaluation
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.problems import load_family
from kryloset.problems.thermal import SLAB, SLOT, Thermal, ThermalSettings
from kryloset.problems.tools.polygons import distance_to_edges, is_simple, mesh_polygon
from kryloset.sampling import generator

#: A domain with a corner that points inwards, and no symmetry.
BOOT = ((0.0, 0.0), (2.0, 0.0), (2.0, 0.7), (0.9, 0.8), (0.8, 1.9), (0.0, 1.5))


def thermal(points: int = 17, degree: int = 1, **parameters: Any) -> Thermal:
    mesh = MeshConfig(points=points, degree=degree)
    return Thermal(ThermalSettings.model_validate(parameters), mesh)


# A manufactured solution


def smooth(x: Any) -> Any:
    return ufl.sin(2 * x[0]) * ufl.exp(x[1]) + x[0] * x[1]


class Manufactured(Thermal):
    """Thermal's form with the source, the flux and the temperatures of `smooth`."""

    def weak_form(self, space: Any, parameters: Any) -> Any:
        """Return the forms; c = 4 + x + y, which the grid represents exactly."""
        weak = super().weak_form(space, parameters)
        x, n = ufl.SpatialCoordinate(space.mesh), ufl.FacetNormal(space.mesh)
        v, flux = ufl.TestFunction(space), (4 + x[0] + x[1]) * ufl.grad(smooth(x))
        exact = fem.Function(space)
        exact.interpolate(fem.Expression(smooth(x), space.element.interpolation_points))
        return weak._replace(
            L=-ufl.div(flux) * v * ufl.dx + ufl.dot(flux, n) * v * ufl.ds,
            boundary=tuple(replace(part, value=exact) for part in weak.boundary),
        )


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("outline", ["slab", BOOT], ids=["slab", "polygon"])
def test_solution_converges_at_the_theoretical_order(outline: Any, degree: int) -> None:
    settings = ThermalSettings(outline=outline, conductivity="lognormal", modes=4)
    family = Manufactured(settings, MeshConfig(points=17, degree=degree))
    size = 0.25
    domain = mesh_polygon(MPI.COMM_SELF, family.outline, family.holes, size)
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    instance = {"left": 0.0, "right": 0.0, "flux": 0.0, "c": 4 + x + y}
    errors = []
    for _ in range(3):
        discretisation = SteadyDiscretisation(family, domain.comm, domain)
        stored = discretisation.solve([instance], solve_directly)[0]
        u = fem.Function(discretisation.elements.space)
        discretisation.elements.read(stored, u.x.array)
        errors.append(l2_error(u, smooth, domain))
        domain.topology.create_entities(1)
        domain, *_ = mesh.refine(domain, None)
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


# Physics


def heat_through(discretisation: SteadyDiscretisation, stored: Any, unit: int) -> float:
    """Return the heat that enters where one of the two temperatures is prescribed.

    It is a(T, v) - L(v) for the v that is 1 at the nodes there and 0 at all others.
    """
    elements = discretisation.elements
    t, v = fem.Function(elements.space), fem.Function(elements.space)
    elements.read(stored, t.x.array)
    weak = elements.family.weak_form(elements.space, elements.parameters)
    facets = mesh.locate_entities_boundary(elements.domain, 1, weak.boundary[unit].where)
    v.x.array[fem.locate_dofs_topological(elements.space, 1, facets)] = 1
    (test,), (trial,) = weak.L.arguments(), [a for a in weak.a.arguments() if a.number() == 1]
    flow = ufl.replace(weak.a, {test: v, trial: t}) - ufl.replace(weak.L, {test: v})
    return float(fem.assemble_scalar(fem.form(flow)))


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("conductivity", ["constant", "lognormal"])
@pytest.mark.parametrize("outline", ["slab", BOOT], ids=["slab", "polygon"])
def test_heat_is_conserved(outline: Any, conductivity: str, degree: int) -> None:
    family = thermal(degree=degree, outline=outline, conductivity=conductivity)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 0))
    stored = discretisation.solve([instance], solve_directly)[0]
    left, right = (heat_through(discretisation, stored, unit) for unit in (0, 1))
    edges = SLOT if outline == "slab" else np.array(BOOT)
    lengths = np.linalg.norm(np.roll(edges, -1, axis=0) - edges, axis=1)
    # The boot's edge furthest to the left is that from (0, 1.5) to (0, 0), the next to the
    # right from (2, 0) to (2, 0.7); all others are heated, as is all of the slot.
    heated = lengths.sum() if outline == "slab" else lengths.sum() - 1.5 - 0.7
    entering = float(instance["flux"]) * heated
    assert left + right + entering == pytest.approx(0, abs=1e-9 * (abs(left) + abs(entering)))
    assert abs(entering) > 1


def test_the_maximum_principle_holds_without_flux() -> None:
    for outline in ("slab", "drawn"):
        family = thermal(points=25, outline=outline)
        discretisation = family.discretise(MPI.COMM_SELF)
        for index in range(3):
            instance = {**family.draw(generator(1, index)), "flux": np.asarray(0.0)}
            stored = discretisation.solve([instance], solve_directly)[0]
            nodes = stored["T_dofs"]
            assert nodes.min() == pytest.approx(instance["left"])
            assert nodes.max() == pytest.approx(instance["right"])


def test_solution_is_linear_in_temperatures_and_flux() -> None:
    family = thermal()
    discretisation = family.discretise(MPI.COMM_SELF)
    base = family.draw(generator(0, 0))
    units = []
    for name in ("left", "right", "flux"):
        zero = {key: np.asarray(float(key == name)) for key in ("left", "right", "flux")}
        units.append(discretisation.solve([{**base, **zero}], solve_directly)[0]["T_dofs"])
    whole = discretisation.solve([base], solve_directly)[0]["T_dofs"]
    parts = [base[name] * unit for name, unit in zip(("left", "right", "flux"), units, strict=True)]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-10, atol=1e-10)
    # The shares of the two temperatures add up to one.
    np.testing.assert_allclose(units[0] + units[1], 1, rtol=1e-12)


# An independent discretisation


def finite_differences(spacing: float, left: float, right: float, flux: float) -> Any:
    """Solve in the slab by finite volumes around the points of a grid that fits the slot."""
    x = np.arange(-0.5, 0.5 + spacing / 2, spacing)
    y = np.arange(-0.8, 0.8 + spacing / 2, spacing)
    slot = lambda p, q: (abs(p) < 0.05 - 1e-9) & (abs(q) < 0.4 - 1e-9)  # noqa: E731
    shape = (len(x), len(y))
    number = np.arange(len(x) * len(y)).reshape(shape)
    a = sp.lil_array((number.size, number.size))
    b = np.zeros(number.size)
    material = np.zeros((len(x) + 1, len(y) + 1), bool)  # cells between the points
    material[1:-1, 1:-1] = ~slot(*np.meshgrid(x[:-1] + spacing / 2, y[:-1] + spacing / 2,
                                              indexing="ij"))  # fmt: skip
    for i in range(len(x)):
        for j in range(len(y)):
            row = number[i, j]
            around = material[i : i + 2, j : j + 2]
            if i in (0, len(x) - 1) or not around.any():
                a[row, row] = 1
                b[row] = left if i == 0 else right if i == len(x) - 1 else 0
                continue
            # The length of a face to a neighbour is that of the material cells on both sides.
            for (di, dj), share in {
                (-1, 0): around[0].mean(), (1, 0): around[1].mean(),
                (0, -1): around[:, 0].mean(), (0, 1): around[:, 1].mean(),
            }.items():  # fmt: skip
                if share:
                    a[row, row] += share
                    a[row, number[i + di, j + dj]] -= share
            if abs(x[i]) <= 0.05 + 1e-9 and abs(y[j]) <= 0.4 + 1e-9:
                # Each material cell with a side on the boundary adds half a step.
                sides = sum(
                    int(one and not other)
                    for pair in (around, around.T)
                    for one, other in [*map(tuple, pair), *(p[::-1] for p in map(tuple, pair))]
                )
                b[row] += flux * spacing * sides / 2
    solution = scipy.sparse.linalg.spsolve(a.tocsc(), b)
    return x, y, solution.reshape(shape)


def test_the_slab_agrees_with_finite_volumes() -> None:
    differences = []
    for spacing, points in ((0.05, 33), (0.025, 65)):
        family = thermal(points=points)
        instance = family.draw(generator(0, 1))
        numbers = [float(instance[name]) for name in ("left", "right", "flux")]
        x, y, other = finite_differences(spacing, *numbers)
        discretisation: Any = family.discretise(MPI.COMM_SELF)
        stored = discretisation.solve([instance], solve_directly)[0]
        at = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        (part,) = discretisation.elements.parts
        evaluation = Evaluation(part.unknowns, at)
        t = evaluation(stored["T_dofs"])[evaluation.inside]
        other = other.ravel()[evaluation.inside]
        differences.append(np.linalg.norm(t - other) / np.linalg.norm(other))
    # At the corners of the slot, which point inwards, u is like r^(2/3) and its error like h^(4/3).
    assert differences[1] < 0.6 * differences[0] < 0.02


# Polygons and their meshes


def is_inside(points: Any, corners: Any) -> Any:
    """Return whether points lie inside a polygon: a ray crosses it an odd number of times."""
    x, y = points[:, :1], points[:, 1:]
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crosses.sum(axis=1) % 2 == 1


polygons = st.builds(
    lambda n, seed: thermal(corners=n, outline="drawn")._draw_corners(generator(seed, 0)),
    st.integers(5, 12),
    st.integers(0, 10_000),
)


@given(polygons)
@settings(max_examples=50)
def test_drawn_polygons_do_not_cross_themselves(corners: Any) -> None:
    assert is_simple(corners)
    x, y = corners.T
    area = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    assert area > 0  # counter-clockwise
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 201)]), axis=-1).reshape(-1, 2)
    assert is_inside(grid, corners).mean() * 4 == pytest.approx(area, abs=0.05)


def test_a_bow_tie_crosses_itself() -> None:
    assert not is_simple(np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))


def test_distance_to_edges_is_that_to_segments() -> None:
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    found = distance_to_edges(np.array([[0.5, 0.25], [2.0, 2.0]]), square)
    np.testing.assert_allclose(found, [[0.25, 0.5, 0.75, 0.5], [5**0.5, 2**0.5, 2**0.5, 5**0.5]])


def expected_mask(family: Thermal, points: int) -> Any:
    """Return whether each point of a grid is in the polygon or on its boundary."""
    lines = [np.linspace(axis[0], axis[-1], points) for axis in family.coordinates.values()]
    at = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    mask = is_inside(at, family.outline)
    for hole in family.holes:
        mask &= ~is_inside(at, hole)
    for corners in (family.outline, *family.holes):
        mask |= distance_to_edges(at, corners).min(axis=1) < 1e-9
    return mask.reshape(points, points)


@pytest.mark.parametrize("outline", ["slab", "drawn"])
def test_mask_is_the_polygon_and_T_is_NaN_elsewhere(outline: str) -> None:
    family = thermal(points=33, outline=outline)
    family.mesh = family.mesh.model_copy(update={"grids": (21,)})
    discretisation = family.discretise(MPI.COMM_SELF)
    for index in range(4):
        instance = family.draw(generator(0, index))
        own = family if outline == "slab" else family.on_own_mesh(instance)
        stored = discretisation.solve([instance], solve_directly)[0]
        resampled = discretisation.resample(21, instance, stored)
        shared = discretisation.masks()
        for grid, points, arrays in ((None, 33, stored), (21, 21, resampled)):
            mask: Any = shared[grid] if outline == "slab" else arrays["inside"]
            assert mask.dtype == np.int8
            np.testing.assert_array_equal(mask, expected_mask(own, points))
            np.testing.assert_array_equal(np.isfinite(arrays["T"]), mask)
        assert (outline == "slab") == ("inside" not in stored) == bool(shared)


def test_mesh_has_the_area_of_the_slab_without_its_slot() -> None:
    domain = thermal().make_mesh(MPI.COMM_SELF)
    one = fem.Constant(domain, 1.0)
    area = fem.assemble_scalar(fem.form(one * ufl.dx))
    assert area == pytest.approx(1.6 - 0.08, rel=1e-12)


def test_stored_mesh_is_enough_to_compute_the_residual() -> None:
    family = thermal(outline="drawn", conductivity="lognormal", degree=2)
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 3))
    stored = discretisation.solve([instance], solve_directly)[0]
    assert discretisation.residual(instance, stored) < 1e-12
    moved = {**stored, "T_points": 1.01 * stored["T_points"]}
    with pytest.raises(FamilyError, match="nothing has the tag 1"):
        discretisation.residual(instance, moved)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"outline": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "crosses itself"),
        ({"outline": [[0, 0], [1, -1], [2, 0], [1, 0.1]]}, "two temperatures"),
        ({"left": [3, 2]}, "must ascend"),
        ({"outline": "circle"}, "parameters"),
        ({"conductivity": "lognormal", "modes": 40}, "mesh.points 33"),
    ],
)
def test_bad_settings_are_refused(parameters: dict[str, Any], message: str) -> None:
    config = DatasetConfig(family="thermal", parameters=parameters, mesh={"points": 33})
    with pytest.raises(ConfigError, match=message):
        load_family(config)


def test_polygons_that_gmsh_cannot_mesh_are_refused() -> None:
    crossing = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(DataError, match="crosses itself"):
        mesh_polygon(MPI.COMM_SELF, crossing, [], 0.1)
    with pytest.raises(DataError, match="cannot mesh the polygon"):
        mesh_polygon(MPI.COMM_SELF, np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), [], 0.1)


def test_slab_is_that_of_the_paper() -> None:
    family = thermal(points=33)
    x, y = family.coordinates.values()
    assert (x[0], x[-1], y[0], y[-1]) == (*SLAB[0, :1], 0.5, -0.8, 0.8)
    mask = family.discretise(MPI.COMM_SELF).masks()[None]
    assert mask[16, 16] == 0 and mask[0].all() and mask[-1].all()
    assert SLOT.max() < SLAB.max()
