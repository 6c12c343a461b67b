# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Heat against exact solutions, energy balances and an independent discretisation."""

from functools import cache
from itertools import pairwise
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
from directly import SolveDirectly, solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError
from kryloset.krylov import SequenceSolver, solve_or_escalate
from kryloset.problems import load_family
from kryloset.problems.heat import THETA, Heat, HeatSettings
from kryloset.problems.tools.quadrature import quadrature
from kryloset.sampling import generator
from operators import SolveAndKeep

SCHEMES = tuple(THETA)


@cache
def heat(points: int = 17, degree: int = 1, **parameters: Any) -> tuple[Heat, Any]:
    """Return a family and its discretisation, which tests share."""
    settings = HeatSettings.model_validate({"modes": 6, "steps": 10} | parameters)
    family = Heat(settings, MeshConfig(points=points, degree=degree))
    family.check()
    return family, family.discretise(MPI.COMM_SELF)


def without_source(family: Heat, index: int = 0) -> dict[str, Any]:
    instance = family.draw(generator(0, index))
    return {**instance, "f": 0 * instance["f"]}


def first_mode(family: Heat) -> Any:
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    return np.sin(np.pi * x) * np.sin(np.pi * y)


# Orders


class Manufactured(Heat):
    """Heat's forms with the source of u = (1 + t) sin(pi x) sin(2 pi y) and k = 1 + x + y^2."""

    def weak_form(self, space: Any, parameters: Any, step: Any) -> Any:
        """Return them; both schemes are exact for linear functions of time."""
        weak = super().weak_form(space, parameters, step)
        x = ufl.SpatialCoordinate(space.mesh)
        theta, c = THETA[self.settings.scheme], self.settings.capacity
        conduction = -ufl.div((1 + x[0] + x[1] ** 2) * ufl.grad(shape(x)))
        time = step.time - (1 - theta) * step.size
        source = c * shape(x) + (1 + time) * conduction
        dx = ufl.dx(metadata={"quadrature_degree": 6})
        return weak._replace(L=weak.L + source * ufl.TestFunction(space) * dx)


def shape(x: Any) -> Any:
    return ufl.sin(ufl.pi * x[0]) * ufl.sin(2 * ufl.pi * x[1])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("degree", [1, 2])
def test_solution_converges_at_the_theoretical_order_in_space(degree: int, scheme: str) -> None:
    errors = []
    settings = HeatSettings(capacity=2.0, scheme=scheme, steps=4, final_time=0.5, modes=2)
    for cells in (8, 16, 32):
        family = Manufactured(settings, MeshConfig(points=cells * degree + 1, degree=degree))
        x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
        u0 = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        instance = {"k": 1 + x + y**2, "u0": u0, "f": 0 * x}
        u = solve_instance(family, instance)
        errors.append(l2_error(u, lambda x: 1.5 * shape(x), u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


def matrices(steps: int, scheme: str, instance: Any) -> Any:
    """Return M and K of the nodes inside, from the matrices of two step sizes."""
    found = []
    for number in (steps, 2 * steps):
        family, discretisation = heat(9, scheme=scheme, steps=number)
        solve = SolveAndKeep()
        discretisation.solve([instance], solve)
        found.append((family.settings.capacity * number / family.times[-1], solve.matrices[0]))
    (r1, a1), (r2, a2) = found
    mass = (a2 - a1) / (r2 - r1)
    inside = abs(mass).sum(axis=1) > 0
    stiffness = (a1 - r1 * mass) / THETA[scheme]
    return mass[inside][:, inside].toarray(), stiffness[inside][:, inside].toarray(), inside


@pytest.mark.parametrize(("scheme", "order"), [("crank_nicolson", 2), ("backward_euler", 1)])
def test_order_in_the_time_step(scheme: str, order: int) -> None:
    instance = without_source(heat(9)[0])
    mass, stiffness, inside = matrices(40, scheme, instance)
    errors = []
    for steps in (40, 80, 160):
        family, discretisation = heat(9, scheme=scheme, steps=steps)
        stored = discretisation.solve([instance], solve_directly)[0]
        states = [np.zeros(81), np.zeros(81)]
        for number, state in zip((0, -1), states, strict=True):
            discretisation.elements.read({"u": stored["u"][number]}, state)
        first, last = (state[inside] for state in states)
        # The exact solution of the equations that are discrete in space.
        operator = np.linalg.solve(mass, stiffness)
        exact = scipy.linalg.expm(-family.times[-1] * operator) @ first
        errors.append(np.linalg.norm(last - exact))
    assert observed_orders(errors)[-1] > order - 0.1


def test_the_first_mode_decays_at_its_eigenvalue() -> None:
    errors = []
    for cells in (8, 16, 32):
        family, discretisation = heat(cells + 1, steps=cells, capacity=3.0)
        one = np.ones((cells + 1, cells + 1))
        instance = {"k": one, "u0": first_mode(family), "f": 0 * one}
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        decay = np.exp(-2 * np.pi**2 * family.times / 3.0)
        errors.append(abs(u - decay[:, None, None] * first_mode(family)).max())
    assert observed_orders(errors)[-1] > 1.9
    assert errors[-1] < 1e-3


# Physics


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_energy_is_lost_to_conduction_alone(scheme: str, degree: int) -> None:
    family, discretisation = heat(17, degree, scheme=scheme)
    instance = without_source(family)
    u = discretisation.solve([instance], solve_directly)[0]["u"]
    elements, c = discretisation.elements, family.settings.capacity
    size, theta = family.times[1] - family.times[0], THETA[scheme]
    now, new = (fem.Function(elements.space) for _ in range(2))
    mean = theta * new + (1 - theta) * now
    dx = ufl.dx(metadata=quadrature(2, degree))
    conduction = elements.parameters["k"] * ufl.inner(ufl.grad(mean), ufl.grad(mean)) * dx
    forms = [
        fem.form(form)
        for form in (
            c / 2 * (new**2 - now**2) * ufl.dx,
            size * conduction,
            c * (new - now) ** 2 * ufl.dx,
        )
    ]
    for before, after in pairwise(u):
        elements.read({"u": before}, now.x.array)
        elements.read({"u": after}, new.x.array)
        gained, conducted, change = (fem.assemble_scalar(form) for form in forms)
        assert gained == pytest.approx(-conducted - (theta - 1 / 2) * change, rel=1e-9)
        assert gained < 0


def test_euler_is_at_least_as_fast_as_the_slowest_mode() -> None:
    # ||u^n|| <= (1 + lambda tau)^-n ||u^0||, lambda the least of the equation with least k.
    family, discretisation = heat(scheme="backward_euler")
    for index in range(3):
        instance = without_source(family, index)
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        slowest = 2 * np.pi**2 * instance["k"].min() / family.settings.capacity
        bound = (1 + slowest * family.times[1]) ** -np.arange(len(u))
        state = fem.Function(discretisation.elements.space)
        norms = []
        for values in u:
            discretisation.elements.read({"u": values}, state.x.array)
            norms.append(l2_error(state, lambda x: 0 * x[0], state.function_space.mesh))
        assert np.all(norms <= bound * norms[0] * (1 + 1e-12))


def test_euler_obeys_the_maximum_principle() -> None:
    family, discretisation = heat(scheme="backward_euler")
    for index in range(3):
        instance = without_source(family, index)
        instance["u0"] = instance["u0"] ** 2
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        assert u.min() >= 0
        assert np.all(np.diff(u.max(axis=(1, 2))) < 0)


def test_short_waves_swing_and_fade_slowly_with_crank_nicolson_and_vanish_with_euler() -> None:
    amplitudes = {}
    for scheme in SCHEMES:
        family, discretisation = heat(scheme=scheme)
        x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
        wave = np.sin(14 * np.pi * x) * np.sin(13 * np.pi * y)
        instance = {"k": 0 * x + 5, "u0": wave, "f": 0 * x}
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        amplitudes[scheme] = np.sum(u * wave, axis=(1, 2)) / np.sum(wave**2)
    swinging = amplitudes["crank_nicolson"]
    assert np.all(swinging[1:] * swinging[:-1] < 0) and abs(swinging[5]) > 0.5
    assert abs(amplitudes["backward_euler"][1]) < 0.05


def test_the_steady_state_solves_darcy_flow() -> None:
    family, discretisation = heat(scheme="backward_euler", steps=2, final_time=1e4)
    instance = family.draw(generator(0, 2))
    u = discretisation.solve([instance], solve_directly)[0]["u"]
    parameters = {"modes": 6, "source_deviation": 1.0}
    darcy = load_family(DatasetConfig(mesh={"points": 17}, parameters=parameters))
    steady = darcy.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
    np.testing.assert_allclose(u[-1], steady, atol=1e-6 * abs(steady).max())
    assert abs(u[0] - steady).max() > 0.1 * abs(steady).max()


# An independent discretisation


def finite_differences(k: Any, f: Any, u0: Any, time: float) -> Any:
    """Solve u_t = div(k grad u) + f by five-point differences and a matrix exponential."""
    n, h = k.shape[0] - 2, 1 / (k.shape[0] - 1)
    number = np.arange(n * n).reshape(n, n)
    faces = {
        (-1, 0): (k[:-2, 1:-1] + k[1:-1, 1:-1]) / 2, (1, 0): (k[2:, 1:-1] + k[1:-1, 1:-1]) / 2,
        (0, -1): (k[1:-1, :-2] + k[1:-1, 1:-1]) / 2, (0, 1): (k[1:-1, 2:] + k[1:-1, 1:-1]) / 2,
    }  # fmt: skip
    a = sp.diags_array(sum(faces.values()).ravel()).tolil()
    for (di, dj), face in faces.items():
        for i in range(max(0, -di), min(n, n - di)):
            for j in range(max(0, -dj), min(n, n - dj)):
                a[number[i, j], number[i + di, j + dj]] = -face[i, j]
    a = a.tocsc() / h**2
    steady = scipy.sparse.linalg.spsolve(a, f[1:-1, 1:-1].ravel())
    away = u0[1:-1, 1:-1].ravel() - steady
    u = np.zeros_like(k)
    values = steady + scipy.sparse.linalg.expm_multiply(-time * a, away)
    u[1:-1, 1:-1] = values.reshape(n, n)
    return u


@pytest.mark.parametrize("degree", [1, 2])
def test_a_drawn_instance_approaches_finite_differences(degree: int) -> None:
    differences = []
    for points in (17, 33):
        family, discretisation = heat(points, degree, steps=60, final_time=0.03)
        instance = family.draw(generator(0, 0))
        u = discretisation.solve([instance], solve_directly)[0]["u"][-1]
        other = finite_differences(instance["k"], instance["f"], instance["u0"], 0.03)
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[1] < 0.35 * differences[0] < 0.02


# Operator, recycling, draws


def test_operator_is_affine_in_the_conductivity() -> None:
    family, discretisation = heat(9)
    found = []
    first, second = (family.draw(generator(0, index)) for index in range(2))
    for k in (first["k"], second["k"], (first["k"] + second["k"]) / 2):
        solve = SolveAndKeep()
        discretisation.solve([{**first, "k": k}], solve)
        found.append(solve.matrices[0])
        assert len(set(solve.states)) == 1
    difference = found[0] + found[1] - 2 * found[2]
    assert abs(difference).max() <= 1e-13 * abs(found[0]).max()


class Counted(SolveDirectly):
    """The solver of the workflow, which counts iterations."""

    tolerance = 1e-8

    def __init__(self, method: str) -> None:
        """Recycle nothing yet."""
        self.solver = SequenceSolver(method=method, preconditioner="icc", restart=80)
        self.state, self.iterations = self.solver.init(), []

    def __call__(self, operator: Any, rhs: Any) -> Any:
        """Return x."""
        result, self.state, _ = solve_or_escalate(self.solver, operator, rhs, self.state)
        self.iterations.append(result.iterations)
        return result.solution


def test_recycling_continues_across_steps_and_instances() -> None:
    family, discretisation = heat(33, steps=10)
    recycling, forgetting = Counted("rcg"), Counted("cg")
    for index in range(2):
        instance = family.draw(generator(0, index))
        one = discretisation.solve([instance], recycling)[0]["u"]
        two = discretisation.solve([instance], forgetting)[0]["u"]
        np.testing.assert_allclose(one, two, atol=1e-6 * abs(two).max())
    with_it, without = (np.reshape(s.iterations, (2, 10)) for s in (recycling, forgetting))
    # All steps except the first ones of the first instance start with a recycled space.
    assert with_it[0, 3:].sum() < 0.9 * without[0, 3:].sum()
    assert with_it[1].sum() < 0.9 * without[1].sum()


def test_fields_are_the_same_on_a_finer_grid() -> None:
    coarse, fine = (heat(points)[0].draw(generator(3, 1)) for points in (17, 33))
    for name in ("k", "u0", "f"):
        np.testing.assert_allclose(fine[name][::2, ::2], coarse[name], rtol=1e-10, atol=1e-10)
    u0 = fine["u0"]
    assert max(abs(side).max() for side in (u0[0], u0[-1], u0[:, 0], u0[:, -1])) == 0


def test_deviations_are_those_of_the_settings() -> None:
    family, _ = heat(17, log_deviation=0.5, initial_deviation=3.0, source_deviation=20.0)
    instances = [family.draw(generator(0, index)) for index in range(400)]
    interior = np.s_[1:, 1:]  # one point for each cell of the square
    for name, deviation in (("k", 0.5), ("u0", 3.0), ("f", 20.0)):
        values = np.array([i[name][interior] for i in instances])
        values = np.log(values) if name == "k" else values
        assert np.sqrt(np.mean(values**2)) == pytest.approx(deviation, rel=0.15)


def test_source_is_a_parameter_only_where_there_is_one() -> None:
    family, discretisation = heat(9, source_deviation=0.0)
    instance = family.draw(generator(0, 0))
    assert instance.keys() == {"k", "u0"} == {variable.name for variable in family.parameters}
    u = discretisation.solve([instance], solve_directly)[0]
    with_source, other = heat(9)
    same = without_source(with_source)
    np.testing.assert_allclose(u["u"], other.solve([same], solve_directly)[0]["u"], atol=1e-12)


def test_bad_parameters_are_refused() -> None:
    dataset = DatasetConfig(family="heat", mesh={"points": 17}, parameters={"modes": 16})
    with pytest.raises(ConfigError, match=r"parameters.modes 16 does not fit .* take at most 15"):
        load_family(dataset)
    dataset = DatasetConfig(family="heat", parameters={"scheme": "forward_euler"})
    with pytest.raises(ConfigError, match=r"scheme: .*crank_nicolson"):
        load_family(dataset)
    family, discretisation = heat(9)
    instance = family.draw(generator(0, 0))
    with pytest.raises(DataError, match=r"conductivity.* must be positive"):
        discretisation.solve([{**instance, "k": -instance["k"]}], solve_directly)
    with pytest.raises(DataError, match="f is not finite"):
        discretisation.solve([{**instance, "f": np.nan * instance["f"]}], solve_directly)
