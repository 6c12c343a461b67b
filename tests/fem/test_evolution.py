# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Time steps, on a rod whose finite element solution is known in closed form."""

import math
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import ufl

from convergence import observed_orders
from directly import solve_directly
from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.fem.blow_up import Growth
from kryloset.fem.group.system import GroupSystem
from kryloset.fem.group.vector import GroupVector
from kryloset.krylov import SequenceSolver
from kryloset.krylov.ensemble.factor import can_factor
from kryloset.problems import Dirichlet, EvolutionFamily, OperatorTraits, Variable
from kryloset.problems.finite_element import WeakForm
from kryloset.sampling import generator
from operators import SolveAndKeep
from ranks import run_on_ranks

POINTS = 9


class Settings(Section):
    """The time axis."""

    steps: int = 8
    final_time: float = 0.2


class Rod(EvolutionFamily):
    """u_t = kappa u_xx by Crank-Nicolson, from the first sine wave."""

    dimensions = (1,)
    Settings = Settings
    parameters = (
        Variable("kappa", "diffusivity", dimensions=()),
        Variable("u0", "initial state"),
    )
    fields = (Variable("u", "state"),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def draw(self, random):
        """Draw the diffusivity."""
        return {
            "kappa": np.asarray(random.uniform(1, 2)),
            "u0": np.sin(np.pi * self.coordinates["x"]),
        }

    def initial_state(self, instance):
        """Return the first sine wave."""
        return {"u": instance["u0"]}

    def weak_form(self, space, parameters, step):
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        half = parameters["kappa"] / 2
        a = (u * v / step.size + half * ufl.dot(ufl.grad(u), ufl.grad(v))) * ufl.dx
        now = step.previous[0]
        rhs = (now * v / step.size - half * ufl.dot(ufl.grad(now), ufl.grad(v))) * ufl.dx
        return WeakForm(a, rhs)


class TwoStepRod(Rod):
    """The same by the backward differences of order 2."""

    levels = 2

    def weak_form(self, space, parameters, step):
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        now, before = step.previous
        a = 3 * u * v + 2 * step.size * parameters["kappa"] * ufl.dot(ufl.grad(u), ufl.grad(v))
        return WeakForm(a * ufl.dx, (4 * now - before) * v * ufl.dx)


def rod(kind: type[Rod] = Rod, grids: tuple[int, ...] = (), **settings: Any) -> Rod:
    return kind(Settings(**settings), MeshConfig(points=POINTS, dimension=1, grids=grids))


def eigenvalue() -> float:
    """Return the first eigenvalue of the stiffness and mass matrices of linear elements."""
    h = 1 / (POINTS - 1)
    cosine = np.cos(np.pi * h)
    return float(6 * (1 - cosine) / (h**2 * (2 + cosine)))


def solved(family: Rod, index: int = 0) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    discretisation = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, index))
    return discretisation, instance, discretisation.solve([instance], solve_directly)[0]


# What the steps compute


def test_one_step_scheme_multiplies_an_eigenvector_by_its_stability_function() -> None:
    family = rod()
    _, instance, stored = solved(family)
    z = float(instance["kappa"]) * eigenvalue() * 0.2 / 8
    powers = ((1 - z / 2) / (1 + z / 2)) ** np.arange(9)
    np.testing.assert_allclose(stored["u"], powers[:, None] * instance["u0"], atol=1e-13)
    assert np.array_equal(family.times, np.linspace(0, 0.2, 9))


def test_two_step_scheme_has_both_states_in_their_order() -> None:
    _, instance, stored = solved(rod(TwoStepRod))
    z = float(instance["kappa"]) * eigenvalue() * 0.2 / 8
    amplitudes = [1.0, 1.0]  # before the first step both are the initial state
    for _ in range(8):
        amplitudes.append((4 * amplitudes[-1] - amplitudes[-2]) / (3 + 2 * z))
    expected = np.array(amplitudes[1:])[:, None] * instance["u0"]
    np.testing.assert_allclose(stored["u"], expected, atol=1e-13)


def test_order_in_the_time_step() -> None:
    errors = []
    for steps in (8, 16, 32):
        _, instance, stored = solved(rod(steps=steps))
        exact = np.exp(-float(instance["kappa"]) * eigenvalue() * 0.2)
        errors.append(abs(stored["u"][-1] - exact * instance["u0"]).max())
    assert observed_orders(errors)[-1] > 1.9


class Clock(Rod):
    """u_t - u_xx = 1 with u = t on the boundary: u = t."""

    def weak_form(self, space, parameters, step):
        """Return the forms of Euler backwards, exact for linear functions of time."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = (u * v / step.size + ufl.dot(ufl.grad(u), ufl.grad(v))) * ufl.dx
        return WeakForm(a, (step.previous[0] / step.size + 1) * v * ufl.dx, (Dirichlet(step.time),))


def test_prescribed_values_may_depend_on_time() -> None:
    family = rod(Clock)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = {"kappa": np.asarray(1.0), "u0": np.zeros(POINTS)}
    stored = discretisation.solve([instance], solve_directly)[0]
    expected = np.broadcast_to(family.times[:, None], (9, POINTS))
    np.testing.assert_allclose(stored["u"], expected, atol=1e-13)
    assert discretisation.residual(instance, stored) < 1e-12


def test_a_stored_state_can_be_continued() -> None:
    _, instance, whole = solved(rod())
    half = rod(steps=4, final_time=0.1)
    later = half.discretise(MPI.COMM_SELF).solve(
        [{**instance, "u0": whole["u"][4]}], solve_directly
    )[0]
    np.testing.assert_allclose(later["u"], whole["u"][4:], rtol=1e-12)


# The matrix


class SteadyRod(Rod):
    """The same with one diffusivity."""

    operator = OperatorTraits(symmetric=True, definite=True, constant=True)

    def weak_form(self, space, parameters, step):
        """Return the forms with kappa = 1."""
        return super().weak_form(space, {"kappa": 1.0}, step)


@pytest.mark.parametrize(("kind", "fillings"), [(Rod, 3), (SteadyRod, 1)])
def test_matrix_is_filled_once_an_instance_or_once_for_all(kind: type[Rod], fillings: int) -> None:
    family = rod(kind)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    solve = SolveAndKeep()
    for index in range(3):
        discretisation.solve([family.draw(generator(0, index))], solve)
    assert len(solve.states) == 3 * 8
    assert len(set(solve.handles)) == 1
    # PETSc sees the same state over all steps, and so keeps its preconditioner.
    assert [len(set(solve.states[i : i + 8])) for i in (0, 8, 16)] == [1, 1, 1]
    assert len(set(solve.states)) == fillings


class Lagged(Rod):
    """A matrix that would change from step to step."""

    def weak_form(self, space, parameters, step):
        """Return forms with u_n in the matrix."""
        weak = super().weak_form(space, parameters, step)
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return weak._replace(a=weak.a + step.previous[0] * u * v * ufl.dx)


class Timed(Rod):
    """The same with the time in it."""

    def weak_form(self, space, parameters, step):
        """Return forms with t in the matrix."""
        weak = super().weak_form(space, parameters, step)
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return weak._replace(a=weak.a + step.time * u * v * ufl.dx)


@pytest.mark.parametrize("kind", [Lagged, Timed])
def test_matrix_that_changes_from_step_to_step_is_refused(kind: type[Rod]) -> None:
    with pytest.raises(ConfigError, match="must be the same for all steps"):
        rod(kind).discretise(MPI.COMM_SELF)


# Right-hand sides of groups


class Driven(TwoStepRod):
    """Two states, a source that changes in time, and parameters at the ends."""

    parameters = (*Rod.parameters, Variable("f", "source"), Variable("g", "value at the ends"))
    operator = OperatorTraits(symmetric=True, definite=True)

    def draw(self, random):
        """Draw source and values too."""
        fields = {name: random.standard_normal(POINTS) for name in ("f", "g")}
        return {**super().draw(random), **fields}

    def weak_form(self, space, parameters, step):
        """Return the forms."""
        weak = super().weak_form(space, parameters, step)
        v = ufl.TestFunction(space)
        (x,) = ufl.SpatialCoordinate(space.mesh)
        flux = parameters["kappa"] * ufl.dot(ufl.grad(step.previous[1]), ufl.grad(v))
        source = parameters["f"] + ufl.sin(20 * step.time * x)
        rhs = weak.L + step.size * (source * v - flux) * ufl.dx
        return weak._replace(L=rhs, boundary=(Dirichlet(parameters["g"]),))


class DrivenOnce(Driven):
    """The same with a source that does not change, nor A."""

    operator = OperatorTraits(symmetric=True, definite=True, constant=True)

    def weak_form(self, space, parameters, step):
        """Return the forms."""
        weak = super().weak_form(space, parameters, step)
        at_start = ufl.replace(weak.L, {step.time: step.size})
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        return weak._replace(a=(u * v + ufl.dot(ufl.grad(u), ufl.grad(v))) * ufl.dx, L=at_start)


@pytest.mark.parametrize("kind", [Driven, DrivenOnce])
def test_right_hand_sides_of_steps_are_those_of_dolfinx(kind: type[Rod]) -> None:
    family = rod(kind)
    discretisation = family.discretise(MPI.COMM_SELF)
    differences = []

    def compare(operator: Any, rhs: Any) -> Any:
        b = rhs.array.copy()
        _, form = discretisation.system.update(parameters=False)
        differences.append(np.linalg.norm(form.array - b) / np.linalg.norm(b))
        return solve_directly(operator, rhs)

    # The first instance leaves nothing for the second.
    for index in range(2):
        instance = family.draw(generator(0, index))
        stored = discretisation.solve([instance], compare)[0]
        assert discretisation.residual(instance, stored) < 1e-13
    assert len(differences) == 16 and max(differences) < 1e-13


class Together:
    """Solves ensembles, and keeps the iterations of each step."""

    tolerance = 1e-12

    def __init__(self) -> None:
        """Begin."""
        self.solver = SequenceSolver(
            method="cg", preconditioner="cholesky", lanes=16, tolerance=self.tolerance
        )
        self.state, self.iterations = self.solver.init(), list[int]()

    def __call__(self, operator: Any, rhs: Any) -> Any:
        """Solve one step."""
        result, self.state = self.solver.solve(operator, rhs, self.state)
        assert result.converged
        self.iterations.append(max(lane.iterations for lane in result.lanes))
        return result.solution


@pytest.mark.skipif(not can_factor(), reason="ensembles have real numbers and compiled factors")
@pytest.mark.parametrize(
    ("kind", "assembled"), [(Rod, 1), (TwoStepRod, 1), (DrivenOnce, 1), (Driven, 8), (Clock, 8)]
)
def test_right_hand_sides_of_groups_are_products_where_states_are_all_that_changes(
    kind: type[Rod], assembled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, counts = rod(kind), list[int]()
    update = GroupVector.update
    monkeypatch.setattr(
        GroupVector, "update", lambda self, b: (counts.append(1), update(self, b))[1]
    )
    discretisation = family.discretise(MPI.COMM_SELF)
    for first in (0, 3):
        counts.clear()
        instances = [family.draw(generator(0, first + i)) for i in range(3)]
        found = discretisation.solve(instances, Together())
        assert len(counts) == assembled
        for instance, stored in zip(instances, found, strict=True):
            assert discretisation.residual(instance, stored) < 1e-12


@pytest.mark.skipif(not can_factor(), reason="ensembles have real numbers and compiled factors")
def test_steps_of_a_group_begin_from_extrapolations() -> None:
    family = rod(final_time=1e-9)
    solve = Together()
    instances = [family.draw(generator(0, i)) for i in range(2)]
    family.discretise(MPI.COMM_SELF).solve(instances, solve)
    # States hardly change, and then change by equal parts.
    assert solve.iterations[2:] == [0] * 6


def test_residuals_come_from_dolfinx(monkeypatch: pytest.MonkeyPatch) -> None:
    discretisation, instance, stored = solved(rod(Driven))
    monkeypatch.setattr(GroupSystem, "update", None)
    assert discretisation.residual(instance, stored) < 1e-13
    with pytest.raises(TypeError):
        discretisation.solve([instance], solve_directly)


# What is stored


@pytest.mark.parametrize("kind", [Rod, TwoStepRod])
def test_residual_is_that_of_the_stored_states(kind: type[Rod]) -> None:
    discretisation, instance, stored = solved(rod(kind))
    discretisation.solve(
        [rod(kind).draw(generator(0, 1))], solve_directly
    )  # the system is unchanged
    assert discretisation.residual(instance, stored) < 1e-13
    for number in (0, 3, 8):
        for value in (stored["u"][number, 4] + 1e-3, np.nan):
            changed = stored["u"].copy()
            changed[number, 4] = value
            assert not discretisation.residual(instance, {"u": changed}) < 1e-4


def test_trajectory_from_another_initial_state_is_found() -> None:
    discretisation, instance, _ = solved(rod())
    other = {**instance, "u0": 1.001 * instance["u0"]}
    trajectory = discretisation.solve([other], solve_directly)[0]
    assert discretisation.residual(other, trajectory) < 1e-13
    assert discretisation.residual(instance, trajectory) > 1e-4


def test_all_times_are_evaluated_on_another_grid() -> None:
    family = rod(grids=(17,))
    discretisation, instance, stored = solved(family)
    fine = discretisation.resample(17, instance, stored)
    assert fine["u"].shape == (9, 17) and fine["u0"].shape == (17,)
    coarse = family.coordinates["x"]
    for state, finer in zip(stored["u"], fine["u"], strict=True):
        expected = np.interp(np.linspace(0, 1, 17), coarse, state)
        np.testing.assert_allclose(finer, expected, atol=1e-14)


class Watched(Rod):
    """A family that checks its states."""

    def __init__(self, *arguments):
        """Begin with no checked state."""
        super().__init__(*arguments)
        self.seen = []

    def check_state(self, time, state):
        """Refuse states after time 0.1."""
        self.seen.append((time, state["u"].max()))
        if time > 0.1 + 1e-9:
            raise DataError(f"too late: {time:.3f}")


def test_each_state_is_checked_before_the_next_step() -> None:
    family = rod(Watched)
    with pytest.raises(DataError, match=r"too late: 0\.125"):
        solved(family)
    times, largest = zip(*family.seen, strict=True)
    np.testing.assert_allclose(times, family.times[:6])
    assert np.all(np.diff(largest) < 0)


@pytest.mark.mpi
def test_two_ranks_give_the_same_states_and_solutions(tmp_path: Path) -> None:
    for ranks in (1, 2):
        run_on_ranks(ranks, Path(__file__).with_name("many_systems_two_ranks.py"), tmp_path)
    one, two = (np.load(tmp_path / f"ranks-{n}.npz") for n in (1, 2))
    assert sorted(one) == sorted(two) == ["heat u", "reaction_diffusion u"]
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-10, err_msg=name)


class Explicit(Rod):
    """The same with explicit steps, far too long: each multiplies the shortest wave by -300."""

    def draw(self, random):
        """Draw a kink, which has all waves."""
        return {"kappa": np.asarray(2.0), "u0": np.abs(self.coordinates["x"] - 0.4) - 0.4}

    def weak_form(self, space, parameters, step):
        """Return the forms."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        now = step.previous[0]
        diffusion = parameters["kappa"] * ufl.dot(ufl.grad(now), ufl.grad(v))
        return WeakForm(u * v * ufl.dx, (now * v - step.size * diffusion) * ufl.dx)


def test_a_blow_up_is_reported_with_its_step_and_time() -> None:
    family = rod(Explicit, steps=40, final_time=4.0)
    message = (
        r"^step \d+ of 40, to time \d\.\d: the trajectory blows up, from \S+ to \S+e\+\d+ in \d+ "
        "steps: take shorter steps"
    )
    with pytest.raises(KrylosetError, match=message):
        solved(family)


@pytest.mark.parametrize(
    ("states", "blown"),
    [
        ([1.0, 1.2, 1.0, 1.1], False),
        ([0.0, 1e12, 1e12, 1.1e12], False),  # a source, in whatever unit
        ([1e-9, 1e-3, 1.0, 1.0], False),  # grows and stays
        ([1e-12 * 1.4**n for n in range(200)], False),  # slow enough for its steps
        ([1e-12 * 1.6**n for n in range(60)], True),
        (
            [1e-16, *(n**2 for n in range(1, 60))],
            False,
        ),  # a source begins after states of rounding size
        ([1.0, math.inf], True),
        ([1.0, math.nan], True),
        ([0.0, math.nan], True),
    ],
)
def test_a_blow_up_is_distinguished_from_slow_growth(states: list[float], blown: bool) -> None:
    growth = Growth(states[0])
    for state in states[1:]:
        growth.add(state)
        if growth.blown:
            break
    assert growth.blown == blown


def test_a_step_that_fails_without_growth_is_reported_as_a_failure() -> None:
    def solve(matrix, rhs):
        raise KrylosetError("no method solves it")

    family = rod()
    with pytest.raises(KrylosetError, match=r"^step 1 of 8, to time 0.025: no method solves it$"):
        family.discretise(MPI.COMM_SELF).solve([family.draw(generator(0, 0))], solve)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda i: None, "initial_state returned a NoneType: return a dictionary"),
        (lambda i: {"v": i["u0"]}, "initial_state returned v but not u"),
        (lambda i: {"u": i["u0"][1:]}, r"u of the solution has the shape \(8,\)"),
        (lambda i: {"u": i["u0"] * 1j}, "u of the solution has the type complex128"),
        (lambda i: {"u": i["u0"] * np.nan}, "initial_state: u is not finite"),
        (lambda i: {"u": i["w0"]}, r"Own, initial_state, line \d+ of test_evolution.py: KeyError"),
    ],
)
def test_an_initial_state_that_is_not_valid_is_refused(state: Any, message: str) -> None:
    attributes = {"initial_state": lambda self, i: state(i), "__module__": __name__}
    family = rod(type("Own", (Rod,), attributes))
    with pytest.raises(KrylosetError, match=message):
        solved(family)


# Groups


@pytest.mark.parametrize("kind", [Rod, TwoStepRod])
def test_a_group_steps_as_its_members_do_alone(kind: type[Rod]) -> None:
    discretisation = rod(kind).discretise(MPI.COMM_SELF)
    instances = [rod(kind).draw(generator(0, index)) for index in range(3)]
    together = discretisation.solve(instances, solve_directly)
    for instance, found in zip(instances, together, strict=True):
        (alone,) = discretisation.solve([instance], solve_directly)
        np.testing.assert_allclose(found["u"], alone["u"], rtol=0, atol=1e-13)


def test_a_blow_up_of_one_instance_ends_its_group() -> None:
    family = rod(Explicit, steps=40, final_time=4.0)
    wild = family.draw(generator(0, 0))
    calm = {**wild, "u0": 0 * wild["u0"]}
    with pytest.raises(KrylosetError, match=r"^step \d+ of 40, to time \d\.\d: the trajectory"):
        family.discretise(MPI.COMM_SELF).solve([calm, wild, calm], solve_directly)


def test_states_of_a_group_are_checked() -> None:
    family = rod(Watched)
    instances = [family.draw(generator(0, index)) for index in range(2)]
    with pytest.raises(DataError, match=r"too late: 0\.125"):
        family.discretise(MPI.COMM_SELF).solve(instances, solve_directly)
    assert len(family.seen) == 11
