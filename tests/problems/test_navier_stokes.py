# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Navier-Stokes flow against Taylor's vortex, balances, Ghia's cavity and finite differences."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

import dolfinx.fem
import numpy as np
import pytest
import scipy.fft
import ufl
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from convergence import l2_error, observed_orders
from factored import SolveFactored
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError
from kryloset.problems import Instance, load_family
from kryloset.problems.finite_element import Dirichlet, Step, WeakForm
from kryloset.problems.navier_stokes import NavierStokes, NavierStokesSettings
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims
from solve_on_ranks import solve_on_ranks


def family(points: int = 17, degree: int = 2, **parameters: Any) -> NavierStokes:
    found = load_family(
        DatasetConfig(
            family="navier_stokes",
            parameters={"reynolds": 100.0, "steps": 60, "final_time": 0.5, "modes": 6} | parameters,
            mesh={"points": points, "degree": degree},
            solver={"method": "direct"},
        )
    )
    assert isinstance(found, NavierStokes)
    return found


def make(kind: type[NavierStokes], points: int, **settings: Any) -> Any:
    mesh = MeshConfig(points=points, degree=2)
    return kind(NavierStokesSettings.model_validate(settings), mesh)


def still(of: NavierStokes) -> Instance:
    """No force, and a lid at rest."""
    points = of.mesh.points
    return {"psi": np.zeros((points, points)), "lid": np.zeros(points)}


class TaylorVortex(NavierStokes):
    """Taylor's vortices between walls that slip: an exact solution without a force.

    u = (sin(pi x) cos(pi y), -cos(pi x) sin(pi y)) e(t), with e(t) = exp(-2 pi^2 t / Re); its
    normal velocity and its shear are zero on the walls.
    """

    def initial_state(self, instance: Instance) -> dict[str, NDArray[np.float64]]:
        """Return the vortices at time 0."""
        x, y = (np.pi * a for a in np.meshgrid(*self.coordinates.values(), indexing="ij"))
        velocity = np.stack([np.sin(x) * np.cos(y), -np.cos(x) * np.sin(y)], axis=-1)
        return super().initial_state(instance) | {"u": velocity}

    def weak_form(self, space: Any, parameters: Any, step: Step) -> WeakForm:
        """Return the family's forms, with walls that slip."""
        weak = super().weak_form(space, parameters, step)
        pinned = weak.boundary[-1]
        walls = tuple(
            Dirichlet(where=lambda x, i=i: np.isclose(x[i] * (1 - x[i]), 0), part=0, component=i)
            for i in range(2)
        )
        return weak._replace(boundary=(*walls, pinned))

    def check_state(self, time: float, state: Instance) -> None:
        """Accept long time steps, since their error is measured."""


def vortex_errors(points: int, steps: int, time: float) -> tuple[float, float]:
    """Return the L2 errors of u at the last time, and of p half a step before."""
    of = make(TaylorVortex, points, reynolds=20.0, steps=steps, final_time=time)
    discretisation = of.discretise(MPI.COMM_SELF)
    stored = discretisation.solve([still(of)], SolveFactored())[0]
    function = dolfinx.fem.Function(discretisation.elements.space)
    discretisation.elements.read({name: a[-1] for name, a in stored.items()}, function.x.array)
    domain = discretisation.elements.domain
    velocity, pressure = ufl.split(function)
    decay = float(np.exp(-2 * np.pi**2 * time / 20))
    half_way = float(np.exp(-4 * np.pi**2 * (time - time / steps / 2) / 20))

    def exact_u(x: Any) -> Any:
        x, y = ufl.pi * x[0], ufl.pi * x[1]
        return decay * ufl.as_vector((ufl.sin(x) * ufl.cos(y), -ufl.cos(x) * ufl.sin(y)))

    def exact_p(x: Any) -> Any:
        # It is 0 at the origin.
        return half_way * (ufl.cos(2 * ufl.pi * x[0]) + ufl.cos(2 * ufl.pi * x[1]) - 2) / 4

    return l2_error(velocity, exact_u, domain), l2_error(pressure, exact_p, domain)


def test_velocity_converges_with_order_three_and_pressure_with_two_in_space() -> None:
    velocity, pressure = zip(*(vortex_errors(n, 40, 0.1) for n in (9, 17, 33)), strict=True)
    assert observed_orders(velocity)[-1] > 2.9
    assert observed_orders(pressure)[-1] > 1.9


def test_velocity_and_pressure_converge_with_order_two_in_time() -> None:
    states = []
    for steps in (60, 120, 240):
        of = family(steps=steps, force=0.1)
        stored = of.discretise(MPI.COMM_SELF).solve([of.draw(generator(0, 1))], SolveFactored())[0]
        # Pressures belong to the middles of steps; extrapolate to the end of the last step.
        pressure = (3 * stored["p"][-1] - stored["p"][-2]) / 2
        states.append((stored["u"][-1], pressure))
    for coarse, middle, fine in zip(*states, strict=True):
        differences = np.linalg.norm(coarse - middle), np.linalg.norm(middle - fine)
        assert observed_orders(differences)[0] > 1.9


class Eddies(NavierStokes):
    """Eddies that no force drives, the curl of sin^2(pi x) sin^2(pi y) (1 + x) / 4."""

    def initial_state(self, instance: Instance) -> dict[str, NDArray[np.float64]]:
        """Return the eddies at time 0."""
        x, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        f, g = np.sin(np.pi * x) ** 2 * (1 + x) / 4, np.sin(np.pi * y) ** 2
        df = np.sin(np.pi * x) ** 2 / 4 + np.pi * np.sin(2 * np.pi * x) * (1 + x) / 4
        velocity = np.stack([f * np.pi * np.sin(2 * np.pi * y), -df * g], axis=-1)
        return super().initial_state(instance) | {"u": velocity}


def test_unforced_energy_falls_by_the_viscous_dissipation() -> None:
    """d/dt (u, u) / 2 = -(grad u, grad u) / Re, up to order 2 in the time step."""
    defects = []
    for steps in (50, 100, 200):
        of = make(Eddies, 17, reynolds=100.0, steps=steps, final_time=0.5)
        discretisation = of.discretise(MPI.COMM_SELF)
        stored = discretisation.solve([still(of)], SolveFactored())[0]
        space = discretisation.elements.space
        (u, _), (v, _) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
        mass, stiffness = (
            dolfinx.fem.assemble_matrix(dolfinx.fem.form(a * ufl.dx)).to_scipy()
            for a in (ufl.inner(u, v), ufl.inner(ufl.grad(u), ufl.grad(v)) / 100)
        )
        states = np.zeros((steps + 1, mass.shape[0]))
        for number, state in enumerate(states):
            at = {name: array[number] for name, array in stored.items()}
            discretisation.elements.read(at, state)
        energy = np.einsum("ti,ti->t", states, (mass @ states.T).T) / 2
        loss = np.einsum("ti,ti->t", states, (stiffness @ states.T).T)
        assert (np.diff(energy) < 0).all()
        # The first step removes the divergence of the interpolated initial state.
        begin = steps // 10
        lost = np.trapezoid(loss[begin:], of.times[begin:])
        assert lost > 0.05 * energy[begin]
        defects.append(abs(energy[-1] - energy[begin] + lost))
    assert observed_orders(defects)[-1] > 1.8


def test_flow_sticks_to_the_walls_and_has_no_divergence() -> None:
    of = family()
    discretisation: Any = of.discretise(MPI.COMM_SELF)
    instance = of.draw(generator(0, 0))
    stored = discretisation.solve([instance], SolveFactored())[0]
    u = stored["u"]
    for wall in (u[:, 0], u[:, -1], u[:, :, 0]):
        assert abs(wall).max() < 1e-14
    np.testing.assert_allclose(u[:, :, -1, 0], np.tile(instance["lid"], (61, 1)), atol=1e-14)
    assert abs(u[:, :, -1, 1]).max() < 1e-14
    assert abs(stored["p"][:, 0, 0]).max() < 1e-14

    function = dolfinx.fem.Function(discretisation.elements.space)
    q = ufl.TestFunctions(function.function_space)[1]
    form = dolfinx.fem.form(q * ufl.div(ufl.split(function)[0]) * ufl.dx)
    for number in (1, 2, 60):
        at = {name: array[number] for name, array in stored.items()}
        discretisation.elements.read(at, function.x.array)
        # This holds also for the q at the origin, in whose row p is prescribed.
        assert abs(dolfinx.fem.assemble_vector(form).array).max() < 1e-13


def finite_differences(instance: Instance, reynolds: float, time: float) -> NDArray[np.float64]:
    """Solve for vorticity and stream function: central differences, Thom's walls, Heun's steps.

    Returns:
        Velocities at the inner points of the grid, shape (points - 2, points - 2, 2).
    """
    force, lid = instance["psi"], instance["lid"]
    n = len(lid) - 1
    h = 1 / n
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1), indexing="ij")
    sines = 4 * n**2 * np.sin(np.pi * np.arange(1, n) * h / 2) ** 2
    steps = int(np.ceil(time / min(0.2 * h, h**2 * reynolds / 8)))

    def laplacian(f: Any) -> Any:
        inner = f[2:, 1:-1] + f[:-2, 1:-1] + f[1:-1, 2:] + f[1:-1, :-2] - 4 * f[1:-1, 1:-1]
        return inner / h**2

    def velocity(vorticity: Any) -> tuple[Any, Any, Any]:
        transformed = scipy.fft.dstn(vorticity, type=1) / (sines[:, None] + sines)
        psi = np.pad(scipy.fft.idstn(transformed, type=1), 1)
        return psi, (psi[1:-1, 2:] - psi[1:-1, :-2]) / 2 / h, (psi[:-2] - psi[2:])[:, 1:-1] / 2 / h

    def rate(vorticity: Any) -> Any:
        psi, u, v = velocity(vorticity)
        whole = np.pad(vorticity, 1)
        whole[0], whole[-1] = -2 * psi[1] / h**2, -2 * psi[-2] / h**2
        whole[:, 0] = -2 * psi[:, 1] / h**2
        whole[:, -1] = -2 * psi[:, -2] / h**2 - 2 * lid / h
        gradient = (whole[2:] - whole[:-2])[:, 1:-1] / 2 / h, (whole[:, 2:] - whole[:, :-2])[1:-1]
        convection = u * gradient[0] + v * gradient[1] / 2 / h
        return laplacian(whole) / reynolds - convection - laplacian(force)

    vorticity = -laplacian(8 * lid[n // 2] * (x * (1 - x)) ** 2 * (y**4 - y**2))
    for _ in range(steps):
        first = rate(vorticity)
        second = rate(vorticity + time / steps * first)
        vorticity = vorticity + time / steps * (first + second) / 2
    return np.stack(velocity(vorticity)[1:], axis=-1)


class Couette(NavierStokes):
    """A channel along x that begins with the linear profile between its walls."""

    def initial_state(self, instance: Instance) -> dict[str, NDArray[np.float64]]:
        """Return the velocity (y, 0)."""
        _, y = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return super().initial_state(instance) | {"u": np.stack([y, 0 * y], axis=-1)}


def test_a_periodic_channel_keeps_the_flow_of_couette_and_has_no_beginning() -> None:
    mesh = MeshConfig(points=(8, 9), degree=2, periodic=("x",))
    settings = {"reynolds": 10.0, "steps": 8, "final_time": 0.1, "modes": 4, "force": 1.0}
    channel = Couette(NavierStokesSettings.model_validate(settings), mesh)
    channel.check()
    psi = channel.draw(generator(0, 0))["psi"]
    discretisation = channel.discretise(MPI.COMM_SELF)

    def flow(force: NDArray[np.float64]) -> NDArray[np.float64]:
        instance = {"psi": force, "lid": np.ones(8)}
        return discretisation.solve([instance], SolveFactored())[0]["u"]

    still = flow(np.zeros_like(psi))
    np.testing.assert_allclose(still, np.broadcast_to(still[0], still.shape), atol=1e-12)
    driven = flow(psi)
    assert abs(driven - still).max() > 1e-3
    np.testing.assert_allclose(flow(np.roll(psi, 2, 0)), np.roll(driven, 2, 1), atol=1e-12)


def test_drawn_instance_approaches_finite_differences() -> None:
    differences = []
    for points, steps in ((17, 60), (33, 120), (65, 240)):
        of = family(points, steps=steps, force=0.1)
        instance = of.draw(generator(0, 1))
        u = of.discretise(MPI.COMM_SELF).solve([instance], SolveFactored())[0]["u"][-1, 1:-1, 1:-1]
        other = finite_differences(instance, 100.0, 0.5)
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[-1] < 0.01
    assert (observed_orders(differences) > 1.5).all()


class Cavity(NavierStokes):
    """The classical cavity: at rest, then with a lid of one speed."""

    def initial_state(self, instance: Instance) -> dict[str, NDArray[np.float64]]:
        """Return a fluid at rest."""
        return {name: 0 * array for name, array in super().initial_state(instance).items()}


#: Ghia, Ghia and Shin, J. Comput. Phys. 48 (1982), tables I and II, Re = 100: u at (1/2, y).
GHIA_U = np.array(
    [
        (0.0547, -0.03717),
        (0.1016, -0.06434),
        (0.1719, -0.10150),
        (0.2813, -0.15662),
        (0.4531, -0.21090),
        (0.5000, -0.20581),
        (0.6172, -0.13641),
        (0.7344, 0.00332),
        (0.8516, 0.23151),
        (0.9531, 0.68717),
    ]
)
#: The same for v at (x, 1/2).
GHIA_V = np.array(
    [
        (0.0625, 0.09233),
        (0.0938, 0.12317),
        (0.1563, 0.16077),
        (0.2344, 0.17527),
        (0.5000, 0.05454),
        (0.8047, -0.24533),
        (0.8594, -0.22445),
        (0.9453, -0.10313),
    ]
)


@pytest.mark.slow
def test_steady_cavity_has_the_velocities_of_ghia() -> None:
    of = make(Cavity, 41, reynolds=100.0, steps=2880, final_time=18.0)
    lid = np.ones(41)
    lid[[0, -1]] = 0
    instance = still(of) | {"lid": lid}
    u = of.discretise(MPI.COMM_SELF).solve([instance], SolveFactored())[0]["u"]
    assert abs(u[-1] - u[-160]).max() < 1e-3
    x = of.coordinates["x"]
    along_y, along_x = CubicSpline(x, u[-1, 20, :, 0]), CubicSpline(x, u[-1, :, 20, 1])
    # Their finite differences have errors of up to 3 % of the extremes below.
    np.testing.assert_allclose(along_y(GHIA_U[:, 0]), GHIA_U[:, 1], atol=1e-2)
    np.testing.assert_allclose(along_x(GHIA_V[:, 0]), GHIA_V[:, 1], atol=1e-2)
    # Botella and Peyret, Comput. Fluids 27 (1998): spectral, Re = 100.
    fine = np.linspace(0, 1, 2001)
    extremes = along_y(fine).min(), along_x(fine).max(), along_x(fine).min()
    np.testing.assert_allclose(extremes, (-0.21404, 0.17957, -0.25380), atol=1e-3)


def test_operator_is_as_declared_with_a_negative_eigenvalue_for_each_pressure() -> None:
    of = family(9, steps=30)
    keep = SolveAndKeep()
    discretisation = of.discretise(MPI.COMM_SELF)
    for index in range(2):
        discretisation.solve([of.draw(generator(0, index))], keep)
    assert false_claims(of.operator, keep.matrices) == []
    assert len(set(keep.states)) == 1 and len(keep.states) == 60
    # For stable elements, one for each pressure except the prescribed one.
    eigenvalues = np.linalg.eigvalsh(keep.matrices[0].toarray())
    assert (eigenvalues < 0).sum() == 5**2 - 1
    assert abs(eigenvalues).min() > 1e-6 * abs(eigenvalues).max()


def test_residual_is_that_of_the_stored_states() -> None:
    of = family(9, steps=30)
    discretisation = of.discretise(MPI.COMM_SELF)
    instance = of.draw(generator(0, 0))
    stored = discretisation.solve([instance], SolveFactored())[0]
    assert discretisation.residual(instance, stored) < 1e-12
    for name, at in {"u": (7, 4, 4, 0), "p_dofs": (7, 12)}.items():
        changed = {key: array.copy() for key, array in stored.items()}
        changed[name][at] += 1e-3
        assert discretisation.residual(instance, changed) > 1e-5


def test_draws_are_functions_in_their_ranges() -> None:
    coarse, fine = family(17), family(33)
    for index in range(5):
        one, two = coarse.draw(generator(0, index)), fine.draw(generator(0, index))
        np.testing.assert_allclose(two["psi"][::2, ::2], one["psi"], atol=1e-12)
        np.testing.assert_allclose(two["lid"][::2], one["lid"], atol=1e-12)
        assert abs(one["psi"][[0, -1]]).max() == abs(one["psi"][:, [0, -1]]).max() == 0
        assert 0.2 <= one["lid"].max() <= 0.8
        assert one["lid"][0] == one["lid"][-1] == 0


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        ("degree", {"degree": 1}, r"mesh.degree 1: .* take 2"),
        ("reynolds", {"reynolds": 1000.0}, r"take at least 51 points"),
        (
            "modes",
            {"modes": 16},
            r"modes 16 does not fit mesh.points 17: take at most 15",
        ),
        ("steps", {"steps": 10}, r"parameters.steps 10: .* at least 26 steps"),
        ("lid", {"lid": (1.0, 0.5)}, r"lid: .*\[1.0, 0.5\] is not a range"),
    ],
)
def test_bad_parameters_are_refused(key: str, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        family(**changes)


def test_a_flow_too_fast_for_its_time_steps_is_refused() -> None:
    of = family(9, force=10.0, steps=30)
    with pytest.raises(DataError, match=r"take parameters\.steps of at least \d+, or less force"):
        of.discretise(MPI.COMM_SELF).solve([of.draw(generator(0, 0))], SolveFactored())
    with pytest.raises(DataError, match="many more"):
        of.check_state(0.1, {"u": np.full((9, 9, 2), np.nan)})


@pytest.mark.mpi
def test_two_processes_store_the_same(tmp_path: Path) -> None:
    dataset = {
        "family": "navier_stokes",
        "parameters": {"reynolds": 100, "steps": 12, "final_time": 0.1, "modes": 6},
        "mesh": {"points": 17, "degree": 2},
        "solver": {"method": "direct"},
    }
    one, two = (solve_on_ranks(ranks, dataset, tmp_path) for ranks in (1, 2))
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, atol=1e-8)
