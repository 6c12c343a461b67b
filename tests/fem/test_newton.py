# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Newton's method on rods whose solutions are known."""

from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import ufl

from convergence import observed_orders
from directly import SolveDirectly, solve_directly
from kryloset.config import MeshConfig, Section
from kryloset.errors import DataError, KrylosetError
from kryloset.fem import newton
from kryloset.problems import Dirichlet, NonlinearFamily, NonlinearForm, OperatorTraits, Variable
from operators import SolveAndKeep


class Rod(NonlinearFamily):
    """-u'' + 2 u^3 = 0, whose solution is 1 / (1 + x) where that is prescribed at the ends."""

    dimensions = (1,)
    parameters = (
        Variable("left", "u at x = 0", dimensions=()),
        Variable("right", "u at x = 1", dimensions=()),
    )
    fields = (Variable("u", "state"),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def draw(self, random):
        """Return the values at the ends."""
        return {"left": np.asarray(1.0), "right": np.asarray(0.5)}

    def weak_form(self, space, parameters, u):
        """Return the form."""
        v = ufl.TestFunction(space)
        return NonlinearForm(
            (ufl.dot(ufl.grad(u), ufl.grad(v)) + 2 * u**3 * v) * ufl.dx,
            (
                Dirichlet(parameters["left"], lambda x: np.isclose(x[0], 0)),
                Dirichlet(parameters["right"], lambda x: np.isclose(x[0], 1)),
            ),
        )


class Unsolvable(Rod):
    """u^2 + u + 1 = 0 at each point, which has no real solution."""

    operator = OperatorTraits()

    def weak_form(self, space, parameters, u):
        """Return the form."""
        return NonlinearForm((u**2 + u + 1) * ufl.TestFunction(space) * ufl.dx, ())


class Linear(Rod):
    """-u'' = left, whose solution is quadratic."""

    def weak_form(self, space, parameters, u):
        """Return the form."""
        v = ufl.TestFunction(space)
        return NonlinearForm((ufl.dot(ufl.grad(u), ufl.grad(v)) - parameters["left"] * v) * ufl.dx)


class SolveAndMeasure(SolveAndKeep):
    """A direct solver that keeps the norms of the right-hand sides, which are those of F."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__()
        self.norms: list[float] = []

    def __call__(self, operator, rhs):
        """Keep the norm, and return x."""
        self.norms.append(rhs.norm())
        return super().__call__(operator, rhs)


class Fail(SolveDirectly):
    """A solver that raises at one of its calls."""

    def __init__(self, error: BaseException, call: int) -> None:
        """Raise `error` at that call, counted from 1."""
        self.error, self.left = error, call

    def __call__(self, operator, rhs):
        """Return x, or raise."""
        self.left -= 1
        if self.left == 0:
            raise self.error
        return super().__call__(operator, rhs)


def rod(kind: type[Rod] = Rod, points: int = 17, degree: int = 1) -> Rod:
    return kind(Section(), MeshConfig(points=points, degree=degree, dimension=1))


@pytest.fixture(scope="module")
def discretisation() -> Any:
    return rod().discretise(MPI.COMM_SELF)


@pytest.fixture
def instance() -> dict[str, Any]:
    return rod().draw(np.random.default_rng(0))


# The solution


def test_nonlinear_problem_with_prescribed_values_converges_at_order_two() -> None:
    errors = []
    for points in (9, 17, 33):
        family = rod(points=points)
        u = family.discretise(MPI.COMM_SELF).solve([family.draw(None)], solve_directly)[0]["u"]
        errors.append(abs(u - 1 / (1 + family.coordinates["x"])).max())
        assert (u[0], u[-1]) == pytest.approx((1.0, 0.5), abs=1e-14)
    assert observed_orders(errors)[-1] > 1.9


def test_newton_converges_quadratically(discretisation: Any, instance: dict[str, Any]) -> None:
    solve = SolveAndMeasure()
    discretisation.solve([instance], solve)
    norms = np.array(solve.norms) / solve.norms[0]
    last = norms[norms > 1e-12]
    # log r_(n+1) = 2 log r_n + a constant, after the first steps.
    slopes = np.diff(np.log(last[1:]))
    assert len(slopes) >= 2 and slopes[-1] / slopes[-2] > 1.7


def test_linear_problem_takes_one_step() -> None:
    family, solve = rod(Linear), SolveAndKeep()
    u = family.discretise(MPI.COMM_SELF).solve([family.draw(None)], solve)[0]["u"]
    x = family.coordinates["x"]
    np.testing.assert_allclose(u, x * (1 - x) / 2, atol=1e-14)
    assert len(solve.matrices) == 1


def test_without_a_source_the_solution_is_zero() -> None:
    discretisation: Any = rod(Linear).discretise(MPI.COMM_SELF)
    instance = {"left": np.asarray(0.0), "right": np.asarray(0.0)}
    assert not discretisation.solve([instance], solve_directly)[0]["u"].any()
    assert discretisation.nonlinear_residuals() == [0]


def test_one_symmetric_matrix_is_refilled(discretisation: Any, instance: dict[str, Any]) -> None:
    solve = SolveAndKeep()
    for left in (1.0, 2.0):
        discretisation.solve([{**instance, "left": np.asarray(left)}], solve)
    assert len(set(solve.handles)) == 1 and len(set(solve.states)) == len(solve.states) > 4
    assert discretisation.matrix.isSymmetricKnown() == (True, True)


# The residual


def test_residual_is_the_nonlinear_one(discretisation: Any, instance: dict[str, Any]) -> None:
    stored = discretisation.solve([instance], solve_directly)[0]
    (relative,) = discretisation.nonlinear_residuals()
    assert relative <= solve_directly.tolerance
    discretisation.solve([{**instance, "left": np.asarray(3.0)}], solve_directly)
    assert discretisation.residual(instance, stored) == pytest.approx(relative, rel=1e-6)
    changed = {"u": stored["u"].copy()}
    changed["u"][5] += 1e-3
    assert discretisation.residual(instance, changed) > 1e-4
    changed["u"][5] = np.nan
    assert not discretisation.residual(instance, changed) < 1e-4
    boundary = {"u": stored["u"].copy()}
    boundary["u"][0] += 1e-3
    # A prescribed value has a row of the identity, and the entries of other rows are like 1 / h.
    assert discretisation.residual(instance, boundary) > 1e-5


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_newton_stops_at_a_loose_tolerance(
    discretisation: Any, instance: dict[str, Any], tolerance: float
) -> None:
    solve = SolveAndMeasure()
    solve.tolerance = tolerance
    stored = discretisation.solve([instance], solve)[0]
    assert discretisation.residual(instance, stored) <= tolerance
    # No superfluous step is made: the tolerance was not reached before the last step.
    assert solve.norms[-1] > tolerance / 2 * solve.norms[0]


# Failures


@pytest.mark.parametrize("error", [KrylosetError("no space left"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("call", [1, 3])
def test_an_exception_of_the_solver_is_passed_on_and_changes_no_state(
    discretisation: Any, instance: dict[str, Any], error: BaseException, call: int
) -> None:
    before = discretisation.solve([instance], solve_directly)[0]["u"]
    with pytest.raises(type(error)) as found:
        discretisation.solve([instance], Fail(error, call))
    assert found.value is error
    assert np.array_equal(discretisation.solve([instance], solve_directly)[0]["u"], before)


def test_a_tolerance_below_rounding_is_reported(
    discretisation: Any, instance: dict[str, Any]
) -> None:
    solve = SolveDirectly()
    solve.tolerance = 1e-30
    message = r"relative residual \d\.\d\de-1\d after \d+ steps, above the tolerance 1e-30"
    with pytest.raises(KrylosetError, match=message):
        discretisation.solve([instance], solve)


def test_the_limit_of_newton_steps_is_reported(
    discretisation: Any, instance: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newton, "_STEPS", 2)
    with pytest.raises(KrylosetError, match="after 2 steps"):
        discretisation.solve([instance], solve_directly)


def test_equation_without_a_solution_is_refused(instance: dict[str, Any]) -> None:
    with pytest.raises(KrylosetError, match="Newton's method stopped"):
        rod(Unsolvable).discretise(MPI.COMM_SELF).solve([instance], solve_directly)


def test_parameter_that_is_not_finite_is_refused(
    discretisation: Any, instance: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match="left is not finite"):
        discretisation.solve([{**instance, "left": np.asarray(np.nan)}], solve_directly)


# Groups


def test_lanes_that_need_other_numbers_of_steps_have_their_own_solutions(
    discretisation: Any, instance: dict[str, Any]
) -> None:
    """Zero values at the ends need no step, and large ones need more than the others."""
    ends = [(1.0, 0.5), (0.0, 0.0), (20.0, 1.0), (0.1, 0.2)]
    group = [{"left": np.asarray(left), "right": np.asarray(right)} for left, right in ends]
    together = discretisation.solve(group, solve_directly)
    residuals = discretisation.nonlinear_residuals()
    assert len(residuals) == 4 and max(residuals) <= solve_directly.tolerance
    assert residuals[1] == 0 and not together[1]["u"].any()
    for one, found in zip(group, together, strict=True):
        (alone,) = discretisation.solve([one], solve_directly)
        np.testing.assert_allclose(found["u"], alone["u"], rtol=1e-6, atol=1e-12)
        assert discretisation.residual(one, found) <= solve_directly.tolerance


def test_the_group_goes_on_until_its_last_lane_has_converged(discretisation: Any) -> None:
    ends = [(0.1, 0.2), (20.0, 1.0)]
    group = [{"left": np.asarray(left), "right": np.asarray(right)} for left, right in ends]
    steps = []
    for members in (group[:1], group[1:], group):
        solve = SolveAndCount()
        discretisation.solve(members, solve)
        steps.append(solve.calls)
    assert steps[0] < steps[1] == steps[2]


def test_an_equation_without_a_solution_is_refused_in_a_group(instance: dict[str, Any]) -> None:
    with pytest.raises(KrylosetError, match="Newton's method stopped"):
        rod(Unsolvable).discretise(MPI.COMM_SELF).solve([instance, instance], solve_directly)


class SolveAndCount(SolveDirectly):
    """Solves, and counts its calls."""

    calls = 0

    def __call__(self, operator, rhs):
        """Return x."""
        self.calls += 1
        return super().__call__(operator, rhs)
