# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Kuramoto-Sivashinsky equation against exact solutions, its energy and a spectral code."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

import dolfinx.fem
import numpy as np
import pytest
import scipy.fft
import ufl
from numpy.typing import NDArray

from convergence import l2_error, observed_orders
from factored import SolveFactored
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError
from kryloset.problems import Instance, load_family
from kryloset.problems.finite_element import Step, WeakForm
from kryloset.problems.kuramoto_sivashinsky import (
    KuramotoSivashinsky,
    KuramotoSivashinskySettings,
)
from kryloset.sampling import generator
from operators import SolveAndKeep, false_claims
from solve_on_ranks import solve_on_ranks

SIDE = 10.0


def family(points: int, degree: int = 2, **parameters: Any) -> KuramotoSivashinsky:
    found = load_family(
        DatasetConfig(
            family="kuramoto_sivashinsky",
            parameters={"side": 22.0, "modes": 8} | parameters,
            mesh={"points": points, "degree": degree},
            solver={"method": "direct"},
        )
    )
    assert isinstance(found, KuramotoSivashinsky)
    return found


def solve(of: KuramotoSivashinsky, instance: Instance) -> Instance:
    return of.discretise(MPI.COMM_SELF).solve([instance], SolveFactored())[0]


def exact(x: Any, t: Any, sin: Any = ufl.sin, cos: Any = ufl.cos) -> Any:
    """A travelling change between two waves, with u = u_xx = 0 at the ends."""
    q = np.pi / SIDE
    return cos(t) * sin(q * x) + sin(t) * sin(2 * q * x)


class Manufactured(KuramotoSivashinsky):
    """The family's own forms, with a source at the middle of the step."""

    def weak_form(self, space: Any, parameters: Any, step: Step) -> WeakForm:
        """Return the family's forms, the source added."""
        weak = super().weak_form(space, parameters, step)
        x = ufl.SpatialCoordinate(space.mesh)[0]
        t = ufl.variable(step.time - step.size / 2)
        u, v = exact(x, t), ufl.TestFunction(space)[0]
        source = ufl.diff(u, t) + u * u.dx(0) + u.dx(0).dx(0) + u.dx(0).dx(0).dx(0).dx(0)
        return weak._replace(L=weak.L + source * v * ufl.dx(metadata={"quadrature_degree": 8}))


def manufactured_errors(points: int, degree: int, steps: int) -> tuple[float, float]:
    """Return the L2 errors of u and w at the last time."""
    settings = KuramotoSivashinskySettings(side=SIDE, steps=steps, final_time=1.0)
    of = Manufactured(settings, MeshConfig(points=points, degree=degree))
    x = of.coordinates["x"]
    discretisation: Any = of.discretise(MPI.COMM_SELF)
    stored = discretisation.solve([{"u0": exact(x, 0.0, np.sin, np.cos)}], SolveFactored())[0]
    function = dolfinx.fem.Function(discretisation.elements.space)
    discretisation.elements.read({name: a[-1] for name, a in stored.items()}, function.x.array)
    domain = discretisation.elements.domain
    return (
        l2_error(function[0], lambda x: exact(x[0], 1.0), domain),
        l2_error(function[1], lambda x: -exact(x[0], 1.0).dx(0).dx(0), domain),
    )


@pytest.mark.parametrize("degree", [1, 2])
def test_both_fields_converge_at_the_theoretical_order_in_space(degree: int) -> None:
    errors = [manufactured_errors(n * degree + 1, degree, 400) for n in (8, 16, 32)]
    for field in zip(*errors, strict=True):
        assert observed_orders(field)[-1] > degree + 1 - 0.1


def test_both_fields_converge_with_order_two_in_time() -> None:
    errors = [manufactured_errors(161, 2, steps) for steps in (8, 16, 32)]
    for field in zip(*errors, strict=True):
        assert observed_orders(field)[-1] > 1.9


@pytest.mark.parametrize("waves", [1, 4, 9])
def test_small_waves_grow_or_decay_at_the_rate_of_the_linear_equation(waves: int) -> None:
    of = family(161, steps=200, final_time=2.0)
    x, q = of.coordinates["x"], waves * np.pi / 22.0
    u = solve(of, {"u0": 1e-6 * np.sin(q * x)})["u"]
    amplitude = 2 * np.mean(u[:, :-1] * np.sin(q * x[:-1]), axis=1) * 1e6
    expected = np.exp((q**2 - q**4) * of.times)
    np.testing.assert_allclose(amplitude, expected, rtol=2e-3)


def test_energy_changes_by_production_less_dissipation() -> None:
    """(u, u) / 2 changes at the rate (u_x, u_x) - (w, w), up to order 2 in the time step."""
    defects = []
    for steps in (200, 400, 800):
        of = family(65, steps=steps, final_time=20.0)
        discretisation: Any = of.discretise(MPI.COMM_SELF)
        stored = discretisation.solve([of.draw(generator(0, 0))], SolveFactored())[0]
        space = discretisation.elements.space
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        mass, stiffness = (
            dolfinx.fem.assemble_matrix(dolfinx.fem.form(a * ufl.dx)).to_scipy()
            for a in (u[0] * v[0], u[0].dx(0) * v[0].dx(0) - u[1] * v[1])
        )
        states = np.empty((steps + 1, mass.shape[0]))
        for number, state in enumerate(states):
            at = {name: array[number] for name, array in stored.items()}
            discretisation.elements.read(at, state)
        energy = np.einsum("ti,ti->t", states, (mass @ states.T).T) / 2
        rate = np.einsum("ti,ti->t", states, (stiffness @ states.T).T)
        balance = np.trapezoid(rate, of.times)
        assert abs(energy[-1] - energy[0]) > 0.1
        defects.append(abs(energy[-1] - energy[0] - balance))
    assert observed_orders(defects)[-1] > 1.8


def test_reflection_with_negation_maps_solutions_to_solutions() -> None:
    of = family(65, steps=100, final_time=10.0)
    u0 = of.draw(generator(0, 3))["u0"]
    u, mirrored = solve(of, {"u0": u0})["u"], solve(of, {"u0": -u0[::-1]})["u"]
    np.testing.assert_allclose(mirrored, -u[:, ::-1], atol=1e-9)


def spectral(u0: NDArray[np.float64], side: float, time: float, steps: int) -> Any:
    """Solve by sines and ETDRK4 (Kassam and Trefethen, SIAM J. Sci. Comput. 26, 2005).

    Args:
        u0: Values at equidistant points, the ends left out.
        side: Length of the interval.
        time: Last time.
        steps: Time steps.

    Returns:
        Values at all times, shape (steps + 1, points).
    """
    n, h = len(u0) + 1, time / steps
    k = np.arange(1, n) * np.pi / side
    linear = h * (k**2 - k**4)
    circle = linear[:, None] + np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    e, half = np.exp(linear), np.exp(linear / 2)
    q, a, b, c = (
        h * np.mean(f, axis=1).real
        for f in (
            (np.exp(circle / 2) - 1) / circle,
            (-4 - circle + np.exp(circle) * (4 - 3 * circle + circle**2)) / circle**3,
            (2 + circle + np.exp(circle) * (circle - 2)) / circle**3,
            (-4 - 3 * circle - circle**2 + np.exp(circle) * (4 - circle)) / circle**3,
        )
    )
    resolved = np.arange(1, n) < 2 * n / 3

    def nonlinear(v: Any) -> Any:
        square = np.pad(scipy.fft.idst(v, type=1), 1) ** 2
        return resolved * k * scipy.fft.dct(square / 2, type=1)[1:n]

    v, states = scipy.fft.dst(u0, type=1), [u0]
    for _ in range(steps):
        at = nonlinear(v)
        first = half * v + q * at
        at_first = nonlinear(first)
        second = half * v + q * at_first
        at_second = nonlinear(second)
        third = half * first + q * (2 * at_second - at)
        v = e * v + a * at + 2 * b * (at_first + at_second) + c * nonlinear(third)
        states.append(scipy.fft.idst(v, type=1))
    return np.array(states)


def test_drawn_instance_approaches_that_of_a_spectral_code() -> None:
    differences = []
    for points, steps in ((65, 100), (129, 200), (257, 400)):
        of = family(points, steps=steps, final_time=10.0)
        instance = of.draw(generator(0, 1))
        u = solve(of, instance)["u"][-1, 1:-1]
        other = spectral(instance["u0"][1:-1], 22.0, 10.0, steps)[-1]
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[0] < 0.05
    assert (observed_orders(differences) > 1.6).all()


@pytest.mark.slow
def test_chaos_has_the_energy_of_a_spectral_code() -> None:
    of = family(129, side=64.0, steps=4000, final_time=400.0)
    discretisation = of.discretise(MPI.COMM_SELF)
    solver, energies = SolveFactored(), []
    for index in range(6):
        instance = of.draw(generator(0, index))
        u = discretisation.solve([instance], solver)[0]["u"][:, 1:-1]
        other = spectral(instance["u0"][1:-1], 64.0, 400.0, 4000)
        # The states agree at first. Then chaos separates them, and only averages agree.
        assert np.linalg.norm(u[50] - other[50]) < 0.05 * np.linalg.norm(other[50])
        assert abs(u[1000:]).max() < 5
        energies.append([np.mean(states[1000:] ** 2) for states in (u, other)])
    found, expected = np.mean(energies, axis=0)
    assert found == pytest.approx(expected, rel=0.05)


def test_operator_is_as_declared_and_shared_by_all_steps() -> None:
    of = family(41, steps=100, final_time=10.0)
    keep = SolveAndKeep()
    stored = of.discretise(MPI.COMM_SELF).solve([of.draw(generator(0, 0))], keep)[0]
    assert false_claims(of.operator, keep.matrices) == []
    eigenvalues = np.linalg.eigvalsh(keep.matrices[0].toarray())
    assert eigenvalues.min() < 0 < eigenvalues.max()
    assert len(set(keep.states)) == 1 and len(keep.states) == 100
    for values in stored.values():
        assert abs(values[:, [0, -1]]).max() < 1e-14


def test_residual_is_that_of_the_stored_states() -> None:
    of = family(65, steps=20, final_time=2.0)
    discretisation = of.discretise(MPI.COMM_SELF)
    instance = of.draw(generator(0, 0))
    stored = discretisation.solve([instance], SolveFactored())[0]
    assert discretisation.residual(instance, stored) < 1e-12
    for name in ("u", "w"):
        changed = {key: array.copy() for key, array in stored.items()}
        changed[name][7, 30] += 1e-3
        assert discretisation.residual(instance, changed) > 1e-5


def test_drawn_state_is_the_same_function_on_a_finer_grid() -> None:
    coarse, fine = (family(points).draw(generator(0, 5))["u0"] for points in (65, 129))
    np.testing.assert_allclose(fine[::2], coarse, atol=1e-12)
    assert coarse[0] == coarse[-1] == 0


@pytest.mark.parametrize(
    ("points", "parameters", "message"),
    [
        (33, {"side": 22.0}, r"mesh.points 33 are too few .* take at least 38"),
        (65, {"modes": 64}, r"parameters.modes 64 does not fit mesh.points 65: take at most 63"),
        (65, {"steps": 100, "final_time": 50.0}, r"parameters.steps 100: .* at least 200"),
        (65, {"side": 5.0}, "side"),
    ],
)
def test_bad_parameters_are_refused(points: int, parameters: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        family(points, **parameters)


def test_a_state_that_has_blown_up_is_refused() -> None:
    of = family(65, steps=40, final_time=10.0)
    u0 = 25 * np.sin(np.pi * of.coordinates["x"] / 22.0)
    with pytest.raises(DataError, match=r"take more parameters\.steps"):
        solve(of, {"u0": u0})
    with pytest.raises(DataError, match="nan"):
        of.check_state(0.5, {"u": np.array([0.0, np.nan]), "w": np.zeros(2)})


@pytest.mark.mpi
def test_two_processes_store_the_same(tmp_path: Path) -> None:
    dataset = {
        "family": "kuramoto_sivashinsky",
        "parameters": {"steps": 20, "final_time": 2, "modes": 8},
        "mesh": {"points": 65, "degree": 2},
        "solver": {"method": "direct"},
    }
    one, two = (solve_on_ranks(ranks, dataset, tmp_path) for ranks in (1, 2))
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, atol=1e-8)
