# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Magnetic diffusion against exact solutions, the exact sequence and Yee's staggered grid."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

import dolfinx.fem.petsc
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import ufl
from dolfinx import fem

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError
from kryloset.problems import Dirichlet, Instance, OperatorTraits, load_family
from kryloset.problems.maxwell import Maxwell, MaxwellSettings
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims
from solve_on_ranks import solve_on_ranks

BOTH = pytest.mark.parametrize("dimension", [2, 3])
POINTS = {2: 9, 3: 5}


def make(points: int = 9, dimension: int = 2, degree: int = 1, **parameters: Any) -> Any:
    """Return the family by its configuration, with few modes."""
    dataset = DatasetConfig(
        family="maxwell",
        mesh={"points": points, "degree": degree, "dimension": dimension},
        parameters={"modes": 4} | parameters,
    )
    return load_family(dataset)


def curl_of_curl(nu: Any, field: Any) -> Any:
    """Return curl(nu curl E) in two or three dimensions."""
    if len(field) == 3:
        return ufl.curl(nu * ufl.curl(field))
    vorticity = nu * (field[1].dx(0) - field[0].dx(1))
    return ufl.as_vector([vorticity.dx(1), -vorticity.dx(0)])


# Exact solutions: the family's own bilinear form, with a current that follows from the field.


def exact_field(x: Any) -> Any:
    """Return a field with n x E = 0 on the boundary."""
    s = [ufl.sin(ufl.pi * each) for each in x]
    if len(x) == 2:
        return ufl.as_vector([s[1] * (1 + x[0]), s[0] * ufl.cos(x[1])])
    return ufl.as_vector([s[1] * s[2] * (1 + x[0]), s[0] * s[2] * ufl.cos(x[1]), s[0] * s[1]])


class Exact(Maxwell):
    """Magnetic diffusion with a given field."""

    def draw(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Return nu = 1 + x + y^2, and no source of the drawn kind."""
        x = np.meshgrid(*self.coordinates.values(), indexing="ij")
        source = np.zeros(x[0].shape if self.dimension == 2 else (*x[0].shape, 3))
        return {"nu": 1 + x[0] + x[1] ** 2, "H": source}

    def weak_form(self, space: Any, parameters: Any) -> Any:
        """Replace the drawn current by that of the exact field."""
        x = ufl.SpatialCoordinate(space.mesh)
        field = exact_field(x)
        current = curl_of_curl(1 + x[0] + x[1] ** 2, field) + self.settings.kappa * field
        load = ufl.inner(current, ufl.TestFunction(space)) * ufl.dx
        return super().weak_form(space, parameters)._replace(L=load)


@pytest.mark.parametrize(
    ("dimension", "cells"),
    [(2, (8, 16, 32)), pytest.param(3, (4, 8, 12), marks=pytest.mark.slow)],
)
def test_field_and_curl_converge_with_order_one(dimension: int, cells: tuple[int, ...]) -> None:
    errors = []
    for n in cells:
        family = Exact(MaxwellSettings(), MeshConfig(points=n + 1, dimension=dimension))
        field = solve_instance(family, family.draw(generator(0, 0)))
        domain = field.function_space.mesh
        curl = l2_error(ufl.curl(field), lambda x: ufl.curl(exact_field(x)), domain)
        errors.append((l2_error(field, exact_field, domain), curl))
    for each in zip(*errors, strict=True):
        assert observed_orders(each[-2:], cells[-1] / cells[-2])[0] > 1 - 0.1


def wave(x: Any, sin: Any) -> Any:
    """Return sin(pi y), times sin(pi z) in space: E_x of an eigenfunction of curl curl."""
    first = sin(np.pi * x[1])
    return first * sin(np.pi * x[2]) if len(x) == 3 else first


@BOTH
def test_source_is_the_curl_of_what_is_drawn(dimension: int) -> None:
    # E = (wave, 0, 0) has curl curl E = (d - 1) pi^2 E, and so is the solution for
    # H = (nu + kappa / ((d - 1) pi^2)) curl E, whatever nu: with the family's own load.
    errors = []
    for points in (9, 17) if dimension == 2 else (5, 9):
        family = make(points, dimension, kappa=4.0)
        x = np.meshgrid(*family.coordinates.values(), indexing="ij")
        nu = 1 + x[0] + x[1] ** 2
        if dimension == 2:
            curl = -np.pi * np.cos(np.pi * x[1])
        else:
            (sy, sz), (cy, cz) = ((f(np.pi * x[1]), f(np.pi * x[2])) for f in (np.sin, np.cos))
            curl = np.stack((0 * nu, np.pi * sy * cz, -np.pi * cy * sz), axis=-1)
        factor = nu + 4.0 / ((dimension - 1) * np.pi**2)
        source = (factor if dimension == 2 else factor[..., None]) * curl
        field = solve_instance(family, {"nu": nu, "H": source})
        zeros = [0] * (dimension - 1)
        errors.append(
            l2_error(
                field,
                lambda x, zeros=zeros: ufl.as_vector([wave(x, ufl.sin), *zeros]),
                field.function_space.mesh,
            )
        )
    assert errors[1] < 0.55 * errors[0] < 0.2


class Patch(Maxwell):
    """A field a + b x r, which is in the space, with its tangential part prescribed."""

    def exact(self, x: Any) -> list[Any]:
        """Return the components."""
        if self.dimension == 2:
            return [0.3 - 0.7 * x[1], -0.2 + 0.7 * x[0]]
        b = (0.4, -0.5, 0.7)
        return [
            0.3 + b[1] * x[2] - b[2] * x[1],
            -0.2 + b[2] * x[0] - b[0] * x[2],
            0.1 + b[0] * x[1] - b[1] * x[0],
        ]

    def weak_form(self, space: Any, parameters: Any) -> Any:
        """Put the current kappa E, and E on the boundary."""
        field = fem.Function(space)
        field.interpolate(lambda x: np.array(self.exact(x)))
        exact = ufl.as_vector(self.exact(ufl.SpatialCoordinate(space.mesh)))
        load = self.settings.kappa * ufl.inner(exact, ufl.TestFunction(space)) * ufl.dx
        own = super().weak_form(space, parameters)
        return own._replace(L=load, boundary=(Dirichlet(value=field),))


@BOTH
def test_patch_is_exact_also_on_the_grid(dimension: int) -> None:
    points = POINTS[dimension]
    family = Patch(MaxwellSettings(), MeshConfig(points=points, dimension=dimension))
    grid = (points,) * dimension
    source = np.zeros(grid if dimension == 2 else (*grid, 3))
    instance = {"nu": np.full(grid, 3.0), "H": source}
    stored = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]
    x = np.meshgrid(*family.coordinates.values(), indexing="ij")
    np.testing.assert_allclose(stored["E"], np.stack(family.exact(x), axis=-1), atol=1e-12)


# The exact sequence of functions, gradients and curls.


def assemble_free(family: Any, instance: Instance) -> tuple[Any, sp.csr_array]:
    """Return the space, and the matrix of the form without conditions on the boundary."""
    elements = family.discretise(MPI.COMM_SELF).elements
    elements.set_parameters(instance)
    weak = family.weak_form(elements.space, elements.parameters)
    matrix = dolfinx.fem.petsc.assemble_matrix(fem.form(weak.a))
    matrix.assemble()
    rows, columns, entries = matrix.getValuesCSR()
    return elements.space, sp.csr_array((entries, columns, rows), shape=matrix.size)


def gradients(space: Any) -> np.ndarray:
    """Return the gradients of the linear nodal functions in the space."""
    nodal = fem.functionspace(space.mesh, ("Lagrange", 1))
    matrix: np.ndarray = fem.discrete_gradient(nodal, space).to_dense()
    return matrix


@BOTH
def test_kernel_of_the_curl_is_the_gradients(dimension: int) -> None:
    points = POINTS[dimension]
    families = [make(points, dimension, kappa=kappa) for kappa in (1.0, 2.0)]
    instance = families[0].draw(generator(0, 0))
    (space, one), (_, two) = (assemble_free(family, instance) for family in families)
    curl_part = (2 * one - two).toarray()
    gradient = gradients(space)
    assert abs(curl_part @ gradient).max() < 1e-13 * abs(curl_part).max()
    eigenvalues = np.linalg.eigvalsh(curl_part)
    assert (eigenvalues < 1e-10 * eigenvalues[-1]).sum() == points**dimension - 1
    assert np.linalg.matrix_rank(gradient) == points**dimension - 1


@BOTH
def test_field_is_orthogonal_to_gradients(dimension: int) -> None:
    # So is the current, which is a curl: there is no charge inside.
    family = make(POINTS[dimension], dimension)
    field = solve_instance(family, family.draw(generator(0, 1)))
    nodal = fem.functionspace(field.function_space.mesh, ("Lagrange", 1))
    charge = ufl.inner(field, ufl.grad(ufl.TestFunction(nodal))) * ufl.dx
    values = fem.assemble_vector(fem.form(charge)).array
    x = nodal.tabulate_dof_coordinates()[:, :dimension]
    inside = np.all((x > 1e-9) & (x < 1 - 1e-9), axis=1)
    assert abs(values[inside]).max() < 1e-13
    assert abs(values).max() > 1e-4  # on the walls there is


@BOTH
def test_energy_is_the_work_of_the_current(dimension: int) -> None:
    points = POINTS[dimension]
    family = make(points, dimension)
    instance = family.draw(generator(0, 2))
    field = solve_instance(family, instance)
    domain = field.function_space.mesh
    scalar = fem.functionspace(domain, ("Lagrange", 1))
    at = np.rint(scalar.tabulate_dof_coordinates()[:, :dimension] * (points - 1)).astype(int)

    def nodal(values: np.ndarray) -> fem.Function:
        function = fem.Function(scalar)
        function.x.array[:] = values[tuple(at.T)]
        return function

    curl, dx = ufl.curl(field), ufl.dx(domain)
    energy = nodal(instance["nu"]) * ufl.inner(curl, curl) * dx
    energy += family.settings.kappa * ufl.inner(field, field) * dx
    source = instance["H"] if dimension == 3 else instance["H"][..., None]
    parts = [nodal(source[..., i]) for i in range(source.shape[-1])]
    work = ufl.inner(ufl.as_vector(parts) if dimension == 3 else parts[0], curl) * dx
    first, second = (fem.assemble_scalar(fem.form(form)) for form in (energy, work))
    assert first == pytest.approx(second, rel=1e-11)


# An independent discretisation: the staggered grid of Yee.


def staggered_grid(instance: Instance, kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """Return E_x (n, n + 1) and E_y (n + 1, n) in the middles of the edges of n x n squares.

    Each edge of a square adds to its circulation, from which Faraday's law has curl E in the
    middle of the square (Yee, IEEE Trans. Antennas Propag. 14, 1966); nu and H are there too.
    """
    nu, source = (
        (a[1:, 1:] + a[1:, :-1] + a[:-1, 1:] + a[:-1, :-1]).ravel() / 4
        for a in (instance["nu"], instance["H"])
    )
    points = len(instance["nu"])
    n, h = points - 1, 1 / (points - 1)
    difference = sp.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(n, points)) / h
    across = sp.eye_array(n)
    curl = sp.hstack((-sp.kron(across, difference), sp.kron(difference, across))).tocsr()
    walls = [np.zeros((n, points), bool), np.zeros((points, n), bool)]
    walls[0][:, [0, -1]] = walls[1][[0, -1]] = True
    free = np.flatnonzero(~np.concatenate([wall.ravel() for wall in walls]))
    curl = curl[:, free]
    matrix = curl.T @ sp.diags_array(nu) @ curl + kappa * sp.eye_array(len(free))
    field = np.zeros(2 * n * points)
    field[free] = scipy.sparse.linalg.spsolve(matrix.tocsc(), curl.T @ source)
    return field[: n * points].reshape(n, points), field[n * points :].reshape(points, n)


def test_edge_elements_approach_the_staggered_grid_of_a_drawn_instance() -> None:
    differences = []
    for points in (9, 17, 33):
        family = make(points)
        instance = family.draw(generator(0, 0))
        discretisation = family.discretise(MPI.COMM_SELF)
        dofs = discretisation.solve([instance], solve_directly)[0]["E_dofs"]
        tangents = discretisation.meshes()["E_tangents"]
        # Integrals along edges, these sorted as the staggered grid's.
        horizontal, vertical = (abs(tangents[:, axis]) < 1e-9 for axis in (1, 0))
        assert (tangents[horizontal, 0] > 0).all() and (tangents[vertical, 1] > 0).all()
        found = np.concatenate((dofs[horizontal], dofs[vertical])) * (points - 1)
        other = np.concatenate([a.ravel() for a in staggered_grid(instance, 10.0)])
        differences.append(np.linalg.norm(found - other) / np.linalg.norm(other))
    assert observed_orders(differences)[-1] > 0.9 and differences[-1] < 0.02


# The operator; what is drawn, stored and refused.


@BOTH
def test_operator_is_as_declared(dimension: int) -> None:
    family = make(POINTS[dimension], dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    keep = SolveAndKeep()
    for index in range(3):
        discretisation.solve([family.draw(generator(0, index))], keep)
    assert false_claims(family.operator, keep.matrices) == []
    everything = OperatorTraits(symmetric=True, definite=True, constant=True, saddle_point=True)
    assert {"constant", "saddle_point"} == set(false_claims(everything, keep.matrices))


@BOTH
def test_operator_is_affine_in_the_reluctivity(dimension: int) -> None:
    family = make(POINTS[dimension], dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    first, second = (family.draw(generator(0, index)) for index in (0, 1))
    middle = {name: (first[name] + second[name]) / 2 for name in first}
    (a, f), (b, g), (c, h) = (
        (matrix.getValuesCSR()[2].copy(), rhs.array.copy())
        for matrix, rhs in map(discretisation.assemble, (first, second, middle))
    )
    np.testing.assert_allclose((a + b) / 2, c, atol=1e-13 * abs(c).max())
    np.testing.assert_allclose((f + g) / 2, h, atol=1e-13 * abs(h).max())


@BOTH
def test_instances_on_a_finer_grid_are_the_same(dimension: int) -> None:
    coarse, fine = (make(points, dimension).draw(generator(0, 1)) for points in (9, 17))
    every_other = (slice(None, None, 2),) * dimension
    for name in ("nu", "H"):
        np.testing.assert_allclose(fine[name][every_other], coarse[name], rtol=1e-9, atol=1e-12)
    assert coarse["nu"].min() > 0
    assert coarse["H"].shape == (9,) * dimension + (3,) * (dimension == 3)


@BOTH
def test_the_tangential_field_vanishes_at_conductors(dimension: int) -> None:
    family = make(POINTS[dimension], dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    dofs = discretisation.solve([family.draw(generator(0, 0))], solve_directly)[0]["E_dofs"]
    middles = discretisation.meshes()["E_points"]
    walls = np.isclose(middles * (1 - middles), 0).any(axis=1)
    assert abs(dofs[walls]).max() < 1e-14 * abs(dofs).max()
    assert (dofs[~walls] != 0).all()


@BOTH
def test_residual_is_that_of_what_is_stored(dimension: int) -> None:
    family = make(POINTS[dimension], dimension)
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 0))
    stored = discretisation.solve([instance], solve_directly)[0]
    assert discretisation.residual(instance, stored) < 1e-9
    changed = {name: values.copy() for name, values in stored.items()}
    changed["E_dofs"][len(changed["E_dofs"]) // 2] += 1e-2 * abs(stored["E_dofs"]).max()
    assert discretisation.residual(instance, changed) > 1e-4


@pytest.mark.mpi
@BOTH
def test_two_processes_store_what_one_does(dimension: int, tmp_path: Path) -> None:
    mesh = {"points": POINTS[dimension], "dimension": dimension}
    dataset = {"family": "maxwell", "mesh": mesh, "parameters": {"modes": 4}}
    one, two = (solve_on_ranks(ranks, dataset, tmp_path) for ranks in (1, 2))
    assert one.keys() == two.keys() and "E_tangents" in one
    for key in one:
        np.testing.assert_allclose(two[key], one[key], atol=1e-8 * abs(one[key]).max(), rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": 9}, "parameters.modes 9 does not fit mesh.points 9"),
        ({"degree": 2}, "mesh.degree 2: .* take degree 1"),
        ({"kappa": 0}, "kappa"),
        ({"smoothness": 1.5}, "smoothness"),
        ({"log_deviation": -1}, "log_deviation"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_reluctivity_that_is_not_positive_is_refused() -> None:
    family = make(5)
    instance = family.draw(generator(0, 0))
    instance["nu"][1, 2] = 0
    with pytest.raises(DataError, match=r"nu \(reluctivity\) has the value 0"):
        family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)
