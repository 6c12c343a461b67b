# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Meshes that close on themselves: functions on them are periodic, and so are solutions."""

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import scipy.sparse as sp
import ufl
from dolfinx import fem, mesh

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, FamilyError
from kryloset.fem.evaluation import Evaluation
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.periodic import close_mesh
from kryloset.fem.unknowns import Unknowns
from kryloset.krylov import SequenceSolver
from kryloset.problems import Dirichlet, SteadyFamily, Variable, WeakForm, load_family
from kryloset.problems.base import AXES
from kryloset.problems.registry import make_family
from kryloset.sampling import generator

U = Variable("u", "u")


class Diffusion(SteadyFamily):
    """-div(k grad u) + u = f, u = 0 on the boundary, where there is one."""

    summary = equation = "diffusion and decay"
    dimensions = (2, 1, 3)
    parameters = (Variable("k", "diffusivity"), Variable("f", "source"))
    fields = (U,)
    may_be_periodic = AXES

    @property
    def coordinates(self) -> dict[str, Any]:
        """Return as many cells along each axis."""
        cells, degree = self.mesh.points, self.mesh.degree
        return {
            axis: np.linspace(
                0.0,
                1.0,
                cells * degree + (not self.is_periodic(axis)),
                endpoint=not self.is_periodic(axis),
            )
            for axis in AXES[: self.dimension]
        }

    def draw(self, generator: Any) -> dict[str, Any]:
        """Draw any numbers."""
        shape = tuple(map(len, self.coordinates.values()))
        return {"k": generator.uniform(1, 9, shape), "f": generator.standard_normal(shape)}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return the form."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) + u * v
        return WeakForm(a * ufl.dx, parameters["f"] * v * ufl.dx)


def to_csr(matrix: Any) -> sp.csr_array:
    offsets, columns, entries = matrix.getValuesCSR()
    return sp.csr_array((entries, columns, offsets), shape=matrix.getSize())


def family_of(cells: int, *periodic: Any, kind: type = Diffusion, **given: Any) -> Any:
    config = MeshConfig(points=cells, periodic=periodic, **given)
    return make_family(kind, kind.__name__, {}, config)


def solve(family: Any, instance: Any) -> Any:
    return family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]


@pytest.mark.parametrize(
    ("dimension", "axes"), [(1, "x"), (2, "x"), (2, "y"), (2, "xy"), (3, "z"), (3, "xyz")]
)
def test_a_closed_mesh_is_a_cylinder_or_a_torus(dimension: int, axes: str) -> None:
    """It has the volume of the box, no boundary at closed sides, and the Euler characteristic 0."""
    make = (mesh.create_unit_interval, mesh.create_unit_square, mesh.create_unit_cube)
    open_ = make[dimension - 1](MPI.COMM_SELF, *range(3, 3 + dimension))
    closed = close_mesh(FamilyMesh(open_), {AXES.index(axis): axis for axis in axes})
    topology = closed.topology
    counts = []
    for entities in range(dimension + 1):
        topology.create_entities(entities)
        counts.append(topology.index_map(entities).size_local)
    assert sum((-1) ** number * count for number, count in enumerate(counts)) == 0
    one, x = fem.Constant(closed, 1.0), ufl.SpatialCoordinate(closed)
    integrals = [one * ufl.dx, x[0] * ufl.dx, one * ufl.ds]
    found = [fem.assemble_scalar(fem.form(integral)) for integral in integrals]
    np.testing.assert_allclose(found, [1, 1 / 2, 2 * (dimension - len(axes))], atol=1e-13)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("axes", ["x", "xy"])
def test_order_of_a_periodic_solution(axes: str, degree: int) -> None:
    def solution(x: Any, library: Any = ufl) -> Any:
        return library.sin(2 * np.pi * x[0] + 1) * library.sin(2 * np.pi * x[1])

    errors = []
    for cells in (16, 32):
        family = family_of(cells, *axes, degree=degree)
        x = np.meshgrid(*family.coordinates.values(), indexing="ij")
        f = (8 * np.pi**2 + 1) * solution(x, np)
        u = solve_instance(family, {"k": np.ones_like(f), "f": f})
        errors.append(l2_error(u, solution, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.15


@pytest.mark.parametrize(
    ("axes", "dimension", "degree"),
    [("x", 1, 1), ("x", 1, 2), ("y", 2, 1), ("xy", 2, 2), ("xz", 3, 1)],
)
def test_a_shifted_coefficient_gives_the_shifted_solution(
    axes: str, dimension: int, degree: int
) -> None:
    """By whole cells, along each periodic axis."""
    family = family_of(5 if dimension < 3 else 4, *axes, dimension=dimension, degree=degree)
    instance = family.draw(generator(0, 0))
    places = tuple(AXES.index(axis) for axis in axes)
    shifts = tuple(degree * (1 + place) for place in places)
    shifted = {name: np.roll(values, shifts, places) for name, values in instance.items()}
    u, other = (solve(family, each) for each in (instance, shifted))
    np.testing.assert_allclose(other, np.roll(u, shifts, places), rtol=0, atol=1e-12 * abs(u).max())


def test_lanes_are_what_each_instance_is_alone() -> None:
    """And DOLFINx's assembly confirms their residuals."""
    family = family_of(6, "x")
    discretisation = family.discretise(MPI.COMM_SELF)
    instances = [family.draw(generator(0, number)) for number in range(3)]
    together = discretisation.solve(instances, solve_directly)
    for instance, stored in zip(instances, together, strict=True):
        np.testing.assert_allclose(stored["u"], solve(family, instance), rtol=1e-10, atol=1e-13)
        assert discretisation.residual(instance, stored) < 1e-12


def test_further_grids_leave_out_the_end_and_evaluate_the_same_function() -> None:
    family = family_of(8, "x", grids=(4, 16))
    discretisation = family.discretise(MPI.COMM_SELF)
    (stored,) = discretisation.solve([instance := family.draw(generator(0, 0))], solve_directly)
    coarse, fine = (discretisation.resample(n, instance, stored) for n in (4, 16))
    np.testing.assert_allclose(family.further_grid(4)["x"], [0, 0.25, 0.5, 0.75])
    for name, values in {**instance, "u": stored["u"]}.items():
        np.testing.assert_allclose(coarse[name][:, 0], values[::2, 0], atol=1e-14)
        np.testing.assert_allclose(fine[name][::2, 0], values[:, 0], atol=1e-14)
        # Between the last point and the first, as between others.
        between = (values[:, 0] + np.roll(values[:, 0], -1)) / 2
        np.testing.assert_allclose(fine[name][1::2, 0], between, atol=1e-14)


@pytest.mark.parametrize(("axes", "degree"), [("x", 1), ("xy", 1), ("xy", 2)])
def test_the_coarse_operator_of_multigrid_is_that_of_the_coarse_closed_mesh(
    axes: str, degree: int
) -> None:
    """The spaces are nested, and k = 1 is integrated exactly."""

    def operator(family: Any) -> Any:
        shape = tuple(map(len, family.coordinates.values()))
        discretisation = family.discretise(MPI.COMM_SELF)
        matrix = discretisation.assemble({"k": np.ones(shape), "f": np.zeros(shape)})[0]
        unknowns = discretisation.elements.parts[0].unknowns
        free = ~discretisation.system.boundary.prescribed
        nodes = np.argsort(unknowns.numbers)
        return matrix, nodes[free[nodes]]

    matrix, _ = operator(family_of(16, *axes, degree=degree))
    first = to_csr(matrix.getAttr("interpolations")()[0])
    coarse, nodes = operator(family_of(8 if degree == 1 else 16, *axes))
    expected = to_csr(coarse).toarray()[np.ix_(nodes, nodes)]
    galerkin = (first.T @ to_csr(matrix) @ first).toarray()
    np.testing.assert_allclose(galerkin, expected, rtol=0, atol=1e-13 * expected.max())


@pytest.mark.parametrize("cells", [16, 33, 50])
def test_multigrid_of_a_closed_lattice_needs_few_iterations(cells: int) -> None:
    """Also where the last cells of a coarser lattice are shorter."""
    family = family_of(cells, "x", "y")
    system = family.discretise(MPI.COMM_SELF).assemble(family.draw(generator(0, 0)))
    solver = SequenceSolver("cg", "multigrid")
    result, _ = solver.solve(*system, solver.init())
    assert result.converged and result.iterations <= 16


def test_edge_elements_continue_across_the_seam() -> None:
    """The edges of both sides are the same; a constant field is constant everywhere."""
    square = mesh.create_unit_square(MPI.COMM_SELF, 4, 3)
    closed = close_mesh(FamilyMesh(square), {0: "x", 1: "y"})
    space = fem.functionspace(closed, ("N1curl", 1))
    unknowns = Unknowns(space)
    assert unknowns.shape == (3 * 4 * 3,)
    field = fem.Function(space)
    field.interpolate(lambda x: np.outer([2.0, -1.0], np.ones(x.shape[1])))
    points = np.random.default_rng(0).uniform(0, 1, (50, 2))
    values = unknowns.gather(field.x.array)
    assert values is not None
    np.testing.assert_allclose(Evaluation(unknowns, points)(values), [[2.0, -1.0]] * 50)


class Around(Diffusion):
    """A mesh of triangles in no order, whose sides match; the nodes are not the grid."""

    unknowns = (Variable("u_dofs", "u", dimensions=("u_dof",)),)
    slip = 0.0

    def make_mesh(self, comm: Any) -> Any:
        """Move the inner vertices, and on request one side."""
        domain = mesh.create_unit_square(comm, 7, 6)
        x, y, _ = domain.geometry.x.T
        bump = x * (1 - x) * y * (1 - y)
        x[:], y[:] = x + bump * 0.4, y - bump * 0.3 + self.slip * x * y * (1 - y)
        return domain


def test_a_mesh_of_ones_own_closes_and_its_coefficients_continue() -> None:
    family = family_of(10, "x", kind=Around)
    x, _ = np.meshgrid(*family.coordinates.values(), indexing="ij")
    wave = 2 + np.cos(2 * np.pi * x)
    discretisation = family.discretise(MPI.COMM_SELF)
    (stored,) = discretisation.solve([{"k": wave, "f": wave}], solve_directly)
    assert len(stored["u_dofs"]) == 7 * 7
    k = discretisation.elements.parameters["k"]
    nodes = k.function_space.tabulate_dof_coordinates()[:, 0]
    # Piecewise linear between ten points of a wave.
    assert abs(k.x.array - 2 - np.cos(2 * np.pi * nodes)).max() < (2 * np.pi / 10) ** 2 / 8


def test_sides_that_do_not_match_are_refused() -> None:
    class Slipped(Around):
        slip = 0.1

    with pytest.raises(FamilyError, match=r"sides of the mesh across x.*do not match.*faces none"):
        family_of(10, "x", kind=Slipped).discretise(MPI.COMM_SELF)


def test_a_condition_on_a_closed_side_is_refused() -> None:
    class Clamped(Diffusion):
        def weak_form(self, space: Any, parameters: Any) -> WeakForm:
            weak = super().weak_form(space, parameters)
            return weak._replace(boundary=(Dirichlet(where=lambda x: np.isclose(x[0], 0)),))

    solve(family_of(4, "y", kind=Clamped), family_of(4, "y").draw(generator(0, 0)))
    with pytest.raises(FamilyError, match=r"prescribes nothing.*periodic"):
        family_of(4, "x", kind=Clamped).discretise(MPI.COMM_SELF)


def test_conditions_reach_the_seam() -> None:
    """A part of a wall ends at the end of a periodic axis, and a node there is the first one."""

    class Half(Diffusion):
        def weak_form(self, space: Any, parameters: Any) -> WeakForm:
            weak = super().weak_form(space, parameters)
            wall = Dirichlet(1.0, lambda x: np.isclose(x[1], 0) & (x[0] > 0.49))
            node = Dirichlet(2.0, lambda x: np.isclose(x[0], 0) & np.isclose(x[1], 1), nodal=True)
            return weak._replace(boundary=(wall, node))

    family = family_of(6, "x", kind=Half)
    u = solve(family, family.draw(generator(0, 0)))
    np.testing.assert_array_equal(np.isclose(u[:, 0], 1), [True, False, False, True, True, True])
    assert u[0, -1] == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": "poisson", "mesh": {"periodic": ["x"]}}, "written for a boundary"),
        ({"mesh": {"periodic": ["z"]}}, "has the axes x, y"),
        ({"mesh": {"periodic": ["x"], "degree": 2, "points": 33}}, "do not fit mesh.degree 2"),
        ({"mesh": {"periodic": ["t"]}}, "periodic"),
    ],
)
def test_axes_that_cannot_be_periodic_are_refused_before_any_work(given: Any, message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        load_family(DatasetConfig(**given))


def test_a_constant_that_nothing_fixes_is_found() -> None:
    class Flow(Diffusion):
        def weak_form(self, space: Any, parameters: Any) -> WeakForm:
            u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
            a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
            return WeakForm(a, parameters["f"] * v * ufl.dx)

    family = family_of(4, "x", "y", kind=Flow)
    with pytest.raises(FamilyError, match="nothing fixes u"):
        solve(family, family.draw(generator(0, 0)))
