# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Poisson's equation against harmonic polynomials and a spectral collocation."""

from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import ufl
from dolfinx import fem
from numpy.polynomial import chebyshev, polynomial
from scipy.interpolate import BarycentricInterpolator

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig
from kryloset.errors import ConfigError, DataError
from kryloset.krylov.solver import SequenceSolver
from kryloset.krylov.state import SolverState
from kryloset.problems import load_family
from kryloset.problems.poisson import SIDES, Poisson
from kryloset.sampling import ChebyshevSeries, generator
from operators import SolveAndKeep, false_claims


def family(points: int = 17, degree: int = 1, **parameters: Any) -> Poisson:
    mesh = {"points": points, "degree": degree}
    loaded = load_family(DatasetConfig(family="poisson", mesh=mesh, parameters=parameters))
    assert isinstance(loaded, Poisson)
    return loaded


def instance_of(u: Any, f: Any, points: int) -> dict[str, np.ndarray]:
    """Return the parameters of a given solution and source, functions of x and y."""
    t = np.linspace(0, 1, points)
    x, y = np.meshgrid(t, t, indexing="ij")
    zero, one = np.zeros(points), np.ones(points)
    sides = {"left": (zero, t), "right": (one, t), "bottom": (t, zero), "top": (t, one)}
    return {"f": f(x, y) + 0 * x, **{side: u(*at) for side, at in sides.items()}}


def solve(points: int, degree: int, instance: dict[str, np.ndarray]) -> np.ndarray:
    return (
        family(points, degree).discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
    )


@pytest.mark.parametrize("degree", [1, 2])
def test_solution_converges_at_the_theoretical_order(degree: int) -> None:
    # Its values on the sides are not polynomials, and differ on all four.
    def exact(x: Any) -> Any:
        return ufl.sin(2 * x[0] + 1) * ufl.exp(x[1])

    errors = []
    for cells in (8, 16, 32):
        points = cells * degree + 1
        instance = instance_of(
            lambda x, y: np.sin(2 * x + 1) * np.exp(y),
            lambda x, y: 3 * np.sin(2 * x + 1) * np.exp(y),
            points,
        )
        u = solve_instance(family(points, degree), instance)
        errors.append(l2_error(u, exact, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


@pytest.mark.parametrize(
    ("degree", "u", "minus_laplacian"),
    [
        (1, lambda x, y: 2 - 3 * x + 5 * y, 0),
        (2, lambda x, y: 1 + x - 2 * x * y + 3 * (x**2 - y**2), 0),
        (2, lambda x, y: x**2 + 4 * y**2 - x * y, -10),
    ],
    ids=["harmonic, degree 1", "harmonic, degree 2", "degree 2"],
)
def test_polynomials_of_the_elements_degree_are_exact(
    degree: int, u: Any, minus_laplacian: float
) -> None:
    instance = instance_of(u, lambda x, y: minus_laplacian + 0 * x, 9)
    t = np.linspace(0, 1, 9)
    np.testing.assert_allclose(solve(9, degree, instance), u(t[:, None], t), atol=1e-13)


def test_harmonic_functions_have_their_mean_in_the_centre() -> None:
    # The mean of a harmonic function over a circle around a point is its value there; over
    # the boundary of a square, up to harmonics of order 4, which this function does not have.
    def u(x: Any, y: Any) -> Any:
        return np.real((x - 0.5 + 1j * (y - 0.5) + 0.7) ** 3)

    instance = instance_of(u, lambda x, y: 0 * x, 33)
    found = solve(33, 2, instance)
    weights = np.tile([2.0, 4.0], 16)
    weights = np.append(weights, 1.0) / 96
    weights[0] = 1 / 96
    mean = sum(weights @ instance[side] for side in SIDES) / 4
    assert found[16, 16] == pytest.approx(mean, rel=1e-5)


def test_harmonic_functions_have_no_extremes_inside() -> None:
    drawn = family(33)
    discretised = drawn.discretise(MPI.COMM_SELF)
    for index in range(4):
        instance = drawn.draw(generator(0, index))
        u = discretised.solve([{**instance, "f": 0 * instance["f"]}], solve_directly)[0]["u"]
        boundary = np.concatenate([instance[side] for side in SIDES])
        assert boundary.min() <= u.min() and u.max() <= boundary.max()
        assert boundary.min() < u[1:-1, 1:-1].min() and u[1:-1, 1:-1].max() < boundary.max()


def test_solution_is_linear_in_all_that_is_prescribed() -> None:
    drawn = family(17, 2)
    discretised = drawn.discretise(MPI.COMM_SELF)
    one, two = (drawn.draw(generator(0, index)) for index in (0, 1))
    both = {name: 2 * one[name] - 3 * two[name] for name in one}
    a, b, c = (discretised.solve([each], solve_directly)[0]["u"] for each in (one, two, both))
    np.testing.assert_allclose(c, 2 * a - 3 * b, atol=1e-12)


def test_boundary_flux_balances_the_source() -> None:
    drawn = family(17, 2)
    discretised: Any = drawn.discretise(MPI.COMM_SELF)
    elements = discretised.elements
    instance = drawn.draw(generator(0, 2))
    u = fem.Function(elements.space)
    elements.read(discretised.solve([instance], solve_directly)[0], u.x.array)
    weak = drawn.weak_form(elements.space, elements.parameters)
    reactions = fem.assemble_vector(fem.form(weak.L - ufl.action(weak.a, u))).array
    on_grid = elements.parts[0].unknowns.gather(reactions).reshape(17, 17)
    assert abs(on_grid[1:-1, 1:-1]).max() < 1e-12
    total = fem.assemble_scalar(fem.form(elements.parameters["f"] * ufl.dx))
    assert on_grid.sum() == pytest.approx(total, abs=1e-12)


def test_stored_solution_has_the_values_prescribed_and_a_small_residual() -> None:
    for degree in (1, 2):
        drawn = family(17, degree)
        discretised = drawn.discretise(MPI.COMM_SELF)
        instance = drawn.draw(generator(0, 0))
        solution = discretised.solve([instance], solve_directly)[0]
        u = solution["u"]
        for found, side in zip((u[0], u[-1], u[:, 0], u[:, -1]), SIDES, strict=True):
            np.testing.assert_allclose(found, instance[side], rtol=1e-12, atol=1e-14)
        assert discretised.residual(instance, solution) < 1e-12
        for place in ((8, 5), (0, 5)):
            changed = u.copy()
            changed[place] += 1e-3
            assert discretised.residual(instance, {"u": changed}) > 1e-6


def collocate(instance: dict[str, np.ndarray], degree: int, size: int = 20) -> Any:
    """Solve -lap u = f by Chebyshev collocation; return u as a function of grid coordinates.

    The parameters, polynomials of a low degree, are interpolated to the Chebyshev points.
    Differentiation matrix: Trefethen, Spectral methods in MATLAB (2000), chapter 6.
    """
    t = np.linspace(0, 1, len(instance["left"]))
    nodes = np.sort((1 - np.cos(np.pi * np.arange(size + 1) / size)) / 2)
    few = np.unique(np.round(np.linspace(0, len(t) - 1, degree + 1)).astype(int))
    to_nodes = BarycentricInterpolator(t[few], np.eye(degree + 1))(nodes)
    f = to_nodes @ instance["f"][np.ix_(few, few)] @ to_nodes.T
    left, right, bottom, top = (to_nodes @ instance[side][few] for side in SIDES)
    c = np.r_[2.0, np.ones(size - 1), 2.0] * (-1.0) ** np.arange(size + 1)
    d = np.outer(c, 1 / c) / (np.subtract.outer(nodes, nodes) + np.eye(size + 1))
    d -= np.diag(d.sum(axis=1))
    d2, identity = d @ d, np.eye(size + 1)
    a = -np.kron(d2, identity) - np.kron(identity, d2)
    u = np.zeros((size + 1, size + 1))
    u[0], u[-1], u[:, 0], u[:, -1] = left, right, bottom, top
    fixed = np.ones_like(u, bool)
    fixed[1:-1, 1:-1] = False
    b, fixed = f.ravel(), fixed.ravel()
    u = u.ravel()
    u[~fixed] = np.linalg.solve(
        a[np.ix_(~fixed, ~fixed)], b[~fixed] - a[np.ix_(~fixed, fixed)] @ u[fixed]
    )
    to_grid = BarycentricInterpolator(nodes, np.eye(size + 1))
    return lambda grid: to_grid(grid) @ u.reshape(size + 1, size + 1) @ to_grid(grid).T


@pytest.mark.parametrize("degree", [1, 2])
def test_a_drawn_instance_approaches_collocation(degree: int) -> None:
    differences = []
    for points in (17, 33, 65):
        drawn = family(points, degree)
        instance = drawn.draw(generator(0, 3))
        u = drawn.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
        other = collocate(instance, 5)(np.linspace(0, 1, points))
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[2] < 0.3 * differences[1] and differences[1] < 0.4 * differences[0]
    assert differences[2] < 1e-2


def test_operator_is_as_declared_and_is_factored_once() -> None:
    drawn = family(17, 2)
    discretised: Any = drawn.discretise(MPI.COMM_SELF)
    keep = SolveAndKeep()
    PETSc.Log.begin()
    factored = PETSc.Log.Event("MatLUFactorNum")
    solver, state = SequenceSolver(method="direct", tolerance=1e-8), SolverState()
    before = factored.getPerfInfo()["count"]
    for index in range(5):
        instance = drawn.draw(generator(0, index))
        result, state = solver.solve(*discretised.assemble(instance), state)
        solution = discretised.elements.write(result.solution.array_r)
        assert discretised.residual(instance, solution) < 1e-8
    assert factored.getPerfInfo()["count"] - before == 1
    for index in range(3):
        discretised.solve([drawn.draw(generator(0, index))], keep)
    assert false_claims(drawn.operator, keep.matrices) == []
    assert len(set(keep.states)) == 1


def polynomial_degree(values: np.ndarray) -> int:
    """Return the degree of the polynomial with these values at equidistant points, at most 8."""
    t = np.linspace(-1, 1, len(values))
    found = chebyshev.chebfit(t, values, 8)
    np.testing.assert_allclose(chebyshev.chebval(t, found), values, atol=1e-10)
    return int(np.nonzero(abs(found) > 1e-9 * abs(found).max())[0].max())


@pytest.mark.parametrize("degree", [1, 5])
def test_draws_are_polynomials_of_the_degree_and_agree_at_corners(degree: int) -> None:
    drawn = family(33, polynomial_degree=degree)
    for index in range(8):
        one = drawn.draw(generator(1, index))
        left, right, bottom, top = (one[side] for side in SIDES)
        assert (left[0], left[-1]) == (bottom[0], top[0])
        assert (right[0], right[-1]) == (bottom[-1], top[-1])
        for values in (left, right, bottom, top, one["f"][4], one["f"][:, 7]):
            assert polynomial_degree(values) == degree
        # Coefficients are less than 1, and a correction is at most half a jump.
        assert abs(one["f"]).max() <= (degree + 1) ** 2
        assert max(abs(one[side]).max() for side in SIDES) <= 2 * (degree + 1)


def test_a_side_is_its_polynomial_but_for_a_linear_function() -> None:
    degree, t = 5, np.linspace(0, 1, 33)
    random = generator(0, 0)
    ChebyshevSeries(degree, 2).draw(random)
    series = ChebyshevSeries(degree)
    one = family(33).draw(generator(0, 0))
    for side in SIDES:
        difference = one[side] - series.evaluate(series.draw(random), t)
        line = polynomial.polyval(t, polynomial.polyfit(t, difference, 1))
        np.testing.assert_allclose(difference, line, atol=1e-12)


def test_instance_on_a_finer_grid_is_the_same_polynomials() -> None:
    coarse, fine = (family(points).draw(generator(0, 3)) for points in (17, 33))
    np.testing.assert_allclose(fine["f"][::2, ::2], coarse["f"], atol=1e-12)
    for side in SIDES:
        np.testing.assert_allclose(fine[side][::2], coarse[side], atol=1e-12)


def test_bad_settings_and_instances_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"polynomial_degree 9 is not less than mesh.points 9"):
        family(9, polynomial_degree=9)
    with pytest.raises(ConfigError, match=r"greater than or equal to 1"):
        family(polynomial_degree=0)
    with pytest.raises(ConfigError, match=r"mesh.dimension 3"):
        load_family(DatasetConfig(family="poisson", mesh={"dimension": 3}))
    discretised = family().discretise(MPI.COMM_SELF)
    with pytest.raises(DataError, match="left has shape"):
        discretised.solve([{**family().draw(generator(0, 0)), "left": np.ones(3)}], solve_directly)
