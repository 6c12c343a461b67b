# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Advection and diffusion against exact solutions, its layers, and upwind differences."""

from collections.abc import Callable
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg
import ufl
from dolfinx import fem

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError
from kryloset.problems import Instance, load_family
from kryloset.problems.advection_diffusion import (
    INVERSE_ESTIMATE,
    AdvectionDiffusion,
    AdvectionDiffusionSettings,
)
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims

type Function = Callable[[Any, Any], Any]


def make_family(points: int, degree: int = 1, **settings: object) -> AdvectionDiffusion:
    """Return the family as a configuration gives it."""
    mesh = {"points": points, "degree": degree}
    dataset = DatasetConfig(family="advection_diffusion", mesh=mesh, parameters=settings)
    return load_family(dataset)


def make_instance(
    family: AdvectionDiffusion, peclet: float, psi: Function, f: Function, g: Function
) -> Instance:
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    fields = {"psi": psi, "f": f, "g": g}
    drawn = {name: np.asarray(function(x, y) + 0 * x) for name, function in fields.items()}
    return drawn | {"eps": np.asarray(1 / peclet)}


def zero(x: Any, y: Any) -> Any:
    return 0.0


# Exact solutions


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize(("peclet", "gained"), [(1.0, 1.0), (1e4, 0.5)])
def test_a_smooth_solution_converges_at_the_theoretical_order(
    degree: int, peclet: float, gained: float
) -> None:
    # An eddy, which no grid resolves exactly, and u = sin(pi x) cos(pi y) + x.
    def psi(x: Any, y: Any) -> Any:
        return np.sin(np.pi * x) * np.sin(np.pi * y) / np.pi

    def g(x: Any, y: Any) -> Any:
        return np.sin(np.pi * x) * np.cos(np.pi * y) + x

    def f(x: Any, y: Any) -> Any:
        (sx, sy), (cx, cy) = np.sin([np.pi * x, np.pi * y]), np.cos([np.pi * x, np.pi * y])
        advection = sx * cy * (np.pi * cx * cy + 1) + cx * sy * np.pi * sx * sy
        return 2 * np.pi**2 * sx * cy / peclet + advection

    def exact(x: Any) -> Any:
        return ufl.sin(ufl.pi * x[0]) * ufl.cos(ufl.pi * x[1]) + x[0]

    errors = []
    for cells in (8, 16, 32):
        mesh = MeshConfig(points=cells * degree + 1, degree=degree)
        family = AdvectionDiffusion(AdvectionDiffusionSettings(), mesh)
        u = solve_instance(family, make_instance(family, peclet, psi, f, g))
        errors.append(l2_error(u, exact, u.function_space.mesh))
    # In a strong wind, theory gives p + 1/2.
    assert observed_orders(errors)[-1] > degree + gained - 0.1


@pytest.mark.parametrize("degree", [1, 2])
def test_the_layer_at_an_outflow_is_the_exponential_one(degree: int) -> None:
    peclet, errors = 8.0, []

    def layer(x: Any, y: Any) -> Any:
        return np.expm1(peclet * x) / np.expm1(peclet)

    def exact(x: Any) -> Any:
        return (ufl.exp(peclet * x[0]) - 1) / np.expm1(peclet)

    for cells in (8, 16, 32):
        mesh = MeshConfig(points=cells * degree + 1, degree=degree)
        family = AdvectionDiffusion(AdvectionDiffusionSettings(), mesh)
        # psi = y: a wind of speed 1 along x.
        u = solve_instance(family, make_instance(family, peclet, lambda x, y: y, zero, layer))
        errors.append(l2_error(u, exact, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


def test_a_profile_is_carried_along_the_wind() -> None:
    # Straight wind at an angle, a step of g at the inflow, hardly any diffusion.
    family = AdvectionDiffusion(AdvectionDiffusionSettings(), MeshConfig(points=65))
    instance = make_instance(
        family,
        1e4,
        lambda x, y: y - 0.5 * x,
        zero,
        lambda x, y: np.where(y - 0.5 * x > 0.2, 1.0, 0.0),
    )
    u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    across = y - 0.5 * x - 0.2
    inside = (x > 0) & (x < 0.95) & (y > 0) & (y < 0.95)
    np.testing.assert_allclose(u[inside & (across > 0.15)], 1, atol=0.05)
    np.testing.assert_allclose(u[inside & (across < -0.15)], 0, atol=0.05)
    # The method is not monotone, so it may over- and undershoot at the step, but only a little.
    assert u.min() > -0.25 and u.max() < 1.25


def test_stabilisation_suppresses_oscillations_in_a_strong_wind() -> None:
    # f = 1, u = 0 on the boundary, a wind of speed 1 along x: u = x but for layers thinner than
    # a cell. Without SUPG u oscillates through the square.
    family = AdvectionDiffusion(AdvectionDiffusionSettings(), MeshConfig(points=34))
    instance = make_instance(family, 1e4, lambda x, y: y, lambda x, y: 1.0, zero)
    u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
    x = family.coordinates["x"][:, None]
    middle = (slice(0, -3), slice(6, -6))
    np.testing.assert_allclose(u[middle], np.broadcast_to(x, u.shape)[middle], atol=0.02)
    assert u.min() > -0.1 and u.max() < 1.5
    galerkin = solve_without_stabilisation(family, instance)
    assert abs(galerkin - x)[middle].max() > 1


@pytest.mark.parametrize("degree", [1, 2])
def test_drawn_instances_without_a_source_nearly_obey_the_maximum_principle(degree: int) -> None:
    family = make_family(65, degree, peclet_low=1e4, peclet_high=1e4)
    discretisation = family.discretise(MPI.COMM_SELF)
    for index in range(5):
        instance = dict(family.draw(generator(0, index)))
        g, instance["f"] = instance["g"], np.zeros_like(instance["f"])
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        edge = np.concatenate([g[0], g[-1], g[:, 0], g[:, -1]])
        beyond = max(u.max() - edge.max(), edge.min() - u.min())
        assert beyond < 0.1 * np.ptp(edge)


class Unstabilised(AdvectionDiffusion):
    """The family with tau = 0: Galerkin's method."""

    def weak_form(self, space: Any, parameters: Any) -> Any:
        """Return a form without stabilisation."""
        weak = super().weak_form(space, parameters)
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        psi, dx = parameters["psi"], ufl.dx(metadata={"quadrature_degree": 2 * self.mesh.degree})
        b = ufl.as_vector([psi.dx(1), -psi.dx(0)])
        a = parameters["eps"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx
        a += ufl.dot(b, ufl.grad(u)) * v * dx
        return weak._replace(a=a, L=parameters["f"] * v * dx)


def solve_without_stabilisation(family: AdvectionDiffusion, instance: Instance) -> np.ndarray:
    plain = Unstabilised(family.settings, family.mesh)
    return plain.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]


# Identities


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("peclet", [1.0, 1e4])
def test_advection_conserves_energy(degree: int, peclet: float) -> None:
    family = make_family(17, degree, peclet_low=peclet, peclet_high=peclet, modes=6)
    instance = family.draw(generator(0, 0))
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    discretisation.elements.set_parameters(instance)
    space = discretisation.elements.space
    psi = discretisation.elements.parameters["psi"]
    v = fem.Function(space)
    random = np.random.default_rng(0).standard_normal((family.mesh.points,) * 2)
    random[0] = random[-1] = random[:, 0] = random[:, -1] = 0
    discretisation.elements.read({"u": random}, v.x.array)
    b = ufl.as_vector([psi.dx(1), -psi.dx(0)])
    h, m, eps = degree / (family.mesh.points - 1), INVERSE_ESTIMATE[degree], float(instance["eps"])
    speed = ufl.sqrt(ufl.dot(b, b))
    ratio = m * speed * h / (2 * eps)
    tau = h / (2 * speed) * ufl.min_value(ratio, 1)
    dx = ufl.dx(metadata={"quadrature_degree": 2 * degree})

    def integrate(expression: Any) -> float:
        return float(fem.assemble_scalar(fem.form(expression * dx)))

    transport = ufl.dot(b, ufl.grad(v))
    gradient = integrate(ufl.dot(ufl.grad(v), ufl.grad(v)))
    along = integrate(tau * transport**2)
    assert integrate(ufl.div(b) ** 2) == pytest.approx(0, abs=1e-20)
    assert abs(integrate(transport * v)) < 1e-12 * integrate(abs(transport * v))

    weak = family.weak_form(space, discretisation.elements.parameters)
    test, trial = weak.a.arguments()
    energy = float(fem.assemble_scalar(fem.form(ufl.replace(weak.a, {test: v, trial: v}))))
    laplacian = integrate(-eps * ufl.div(ufl.grad(v)) * tau * transport)
    assert energy == pytest.approx(eps * gradient + along + laplacian, rel=1e-10)
    # The inequality that the documentation of the class proves.
    assert energy >= (0.75 * eps * gradient + 0.5 * along) * (1 - 1e-12)


def test_inverse_estimate_holds_on_every_cell_of_the_mesh() -> None:
    # v = (x, y, x^2, x y, y^2) . c on the two halves of the unit square: gradients and Laplacians.
    nodes, weights = np.polynomial.legendre.leggauss(4)
    s, t = np.meshgrid((nodes + 1) / 2, (nodes + 1) / 2)
    w = np.outer(weights, weights) / 4 * (1 - s)
    zero, one = np.zeros_like(s), np.ones_like(s)
    for x, y in ((s, t * (1 - s)), (1 - s, 1 - t * (1 - s))):
        gradients = np.array([[one, zero], [zero, one], [2 * x, zero], [y, x], [zero, 2 * y]])
        gram = np.einsum("iaqr,jaqr,qr->ij", gradients, gradients, w)
        laplacian = np.array([0.0, 0.0, 2.0, 0.0, 2.0])
        largest = scipy.linalg.eigh(np.outer(laplacian, laplacian) / 2, gram, eigvals_only=True)[-1]
        assert INVERSE_ESTIMATE[2] <= 2 / largest * (1 + 1e-9)


# An independent discretisation


def upwind_differences(instance: Instance) -> np.ndarray:
    """Solve by five-point diffusion and first-order upwind fluxes through the cells' sides."""
    psi, f, g = (instance[name] for name in ("psi", "f", "g"))
    n, h, eps = len(psi), 1 / (len(psi) - 1), float(instance["eps"])
    # Corners of the cells around the points; the flux through a side is a difference of psi.
    corner = (psi[1:, 1:] + psi[1:, :-1] + psi[:-1, 1:] + psi[:-1, :-1]) / 4
    number = np.arange(n * n).reshape(n, n)
    here = number[1:-1, 1:-1]
    # Outward fluxes b . n h: b_x = dpsi/dy, b_y = -dpsi/dx.
    sides = {
        (1, 0): corner[1:, 1:] - corner[1:, :-1],
        (-1, 0): -(corner[:-1, 1:] - corner[:-1, :-1]),
        (0, 1): -(corner[1:, 1:] - corner[:-1, 1:]),
        (0, -1): corner[1:, :-1] - corner[:-1, :-1],
    }
    rows, columns, entries = [], [], []
    for (dx, dy), flux in sides.items():
        there = number[1 + dx : n - 1 + dx, 1 + dy : n - 1 + dy]
        out, into = np.maximum(flux, 0) + eps, np.minimum(flux, 0) - eps
        rows += [here.ravel()] * 2
        columns += [here.ravel(), there.ravel()]
        entries += [out.ravel(), into.ravel()]
    a = sp.csr_array(
        (np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), (n * n, n * n)
    )
    u = g.copy()
    inner = here.ravel()
    outer = np.setdiff1d(number, inner)
    b = h**2 * f.ravel()[inner] - a[inner][:, outer] @ g.ravel()[outer]
    u.ravel()[inner] = scipy.sparse.linalg.spsolve(a[inner][:, inner].tocsc(), b)
    return u


@pytest.mark.parametrize("degree", [1, 2])
def test_a_drawn_instance_approaches_its_upwind_differences(degree: int) -> None:
    differences = []
    for points in (33, 65, 129):
        family = make_family(points, degree, peclet_low=50, peclet_high=50)
        instance = family.draw(generator(0, 0))
        u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
        other = upwind_differences(instance)
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    # Upwind differences are of order 1.
    assert differences[2] < 0.65 * differences[1] < 0.65**2 * differences[0] < 0.1


# What is drawn and declared


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("peclet", [0.1, 10.0, 1e4])
@pytest.mark.parametrize("closed", [True, False])
def test_operator_is_definite_and_not_symmetric(degree: int, peclet: float, closed: bool) -> None:
    family = make_family(17, degree, peclet_low=peclet, peclet_high=peclet, closed=closed)
    discretisation = family.discretise(MPI.COMM_SELF)
    solve = SolveAndKeep()
    for index in range(3):
        instance = family.draw(generator(0, index))
        stored = discretisation.solve([instance], solve)[0]
        assert discretisation.residual(instance, stored) < 1e-9
    assert false_claims(family.operator, solve.matrices) == []
    a = solve.matrices[0]
    assert abs(a - a.T).max() > 1e-4 * abs(a).max()


def test_a_finer_grid_sees_the_same_instance() -> None:
    coarse, fine = make_family(33), make_family(65)
    for index in range(3):
        one, two = (family.draw(generator(3, index)) for family in (coarse, fine))
        assert one["eps"] == two["eps"]
        for key in ("psi", "f", "g"):
            np.testing.assert_allclose(two[key][::2, ::2], one[key], rtol=1e-9, atol=1e-9)


def test_the_wind_has_speed_one_in_the_mean_and_stays_inside_if_closed() -> None:
    for closed in (False, True):
        family = make_family(65, closed=closed)
        squares = []
        for index in range(200):
            psi = family.draw(generator(0, index))["psi"]
            gradient = np.gradient(psi, 1 / 64, edge_order=2)
            squares.append(np.mean(gradient[0] ** 2 + gradient[1] ** 2))
            if closed:
                assert not psi[0].any() and not psi[:, -1].any()
        error = np.std(squares) / np.sqrt(len(squares))
        assert abs(np.mean(squares) - 1) < 4 * error + 0.02


def test_peclet_numbers_are_uniform_in_their_logarithm() -> None:
    family = make_family(9, peclet_low=1, peclet_high=1e4, modes=2)
    logs = [-np.log10(family.draw(generator(0, index))["eps"]) for index in range(400)]
    assert 0 <= min(logs) < 0.1 and 3.9 < max(logs) <= 4
    assert np.mean(logs) == pytest.approx(2, abs=4 * np.sqrt(16 / 12 / 400))
    fixed = make_family(9, peclet_low=100, peclet_high=100, modes=2)
    assert fixed.draw(generator(0, 0))["eps"] == pytest.approx(0.01, rel=1e-12)


def test_bad_settings_are_refused() -> None:
    for settings, message in (
        ({"peclet_low": 200, "peclet_high": 100}, "peclet_low 200 is more than peclet_high 100"),
        ({"peclet_high": 1e5}, "peclet_high"),
        ({"smoothness": 1.5}, "smoothness"),
        ({"modes": 32}, "parameters.modes 32 does not fit mesh.points 33: take at most 31"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_family(33, **settings)
