# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Darcy flow against manufactured solutions, theorems and independent discretisations."""

import math
from pathlib import Path
from typing import Any

from mpi4py import MPI

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
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.krylov.solver import SequenceSolver
from kryloset.krylov.state import SolverState
from kryloset.problems import WeakForm, load_family
from kryloset.problems.darcy import Darcy, DarcySettings
from kryloset.problems.tools.quadrature import TETRAHEDRON_RULE, least_at_quadrature
from kryloset.sampling import GaussianField, exponential, generator
from operators import SolveAndKeep, false_claims
from solve_on_ranks import solve_on_ranks

TWO_VALUED = {"permeability": "two_valued"}

#: Mean and standard deviation, over all points of 1,000 training instances, of coefficient and
#: solution of Li et al.'s set at 241 x 241, as NVIDIA's PhysicsNeMo Sym normalises them
#: (github.com/NVIDIA/physicsnemo-sym, examples/darcy/darcy_FNO.py). Their points are the middles
#: of squares, so that the mean over them is the integral.
PUBLISHED = {"k": (7.48360, 4.49996), "u": (5.74634e-3, 3.88433e-3)}


def family(points: int = 17, degree: int = 1, dimension: int = 2, **parameters: Any) -> Darcy:
    mesh = {"points": points, "degree": degree, "dimension": dimension}
    dataset = DatasetConfig(mesh=mesh, parameters={"modes": 8, **parameters})
    loaded = load_family(dataset)
    assert isinstance(loaded, Darcy)
    return loaded


def exact_head(x: Any) -> Any:
    """A head that is zero on the boundary and has no symmetry."""
    waves = [ufl.sin(n * ufl.pi * axis) for n, axis in zip((1, 2, 1), x, strict=False)]
    return math.prod(waves, start=ufl.exp(x[0]))


class Manufactured(Darcy):
    """Darcy's form with k = 1 + x + y^2 and the source of `exact_head`."""

    def draw(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Return k at the points of the grid."""
        x, y, *_ = np.meshgrid(*self.coordinates.values(), indexing="ij")
        return {"k": 1 + x + y**2}

    def weak_form(self, space: Any, parameters: Any) -> WeakForm:
        """Return Darcy's a, with f = -div(k grad u)."""
        x = ufl.SpatialCoordinate(space.mesh)
        source = -ufl.div((1 + x[0] + x[1] ** 2) * ufl.grad(exact_head(x)))
        dx = ufl.dx(metadata={"quadrature_degree": 6})
        weak = super().weak_form(space, parameters)
        return weak._replace(L=source * ufl.TestFunction(space) * dx)


@pytest.mark.parametrize(
    ("dimension", "degree", "cells"),
    [(2, 1, (8, 16, 32)), (2, 2, (8, 16, 32)), (3, 1, (5, 10, 20)), (3, 2, (2, 4, 8))],
)
def test_solution_converges_at_the_theoretical_order(
    dimension: int, degree: int, cells: tuple[int, ...]
) -> None:
    errors = []
    for n in cells:
        mesh = MeshConfig(points=n * degree + 1, degree=degree, dimension=dimension)
        manufactured = Manufactured(DarcySettings(), mesh)
        u = solve_instance(manufactured, manufactured.draw(generator(0, 0)))
        errors.append(l2_error(u, exact_head, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


@pytest.fixture(
    scope="module",
    params=[(17, 1, 2), (17, 2, 2), (9, 1, 3), (9, 2, 3)],
    ids=["2-D P1", "2-D P2", "3-D P1", "3-D P2"],
)
def discretisation(request: pytest.FixtureRequest) -> SteadyDiscretisation:
    points, degree, dimension = request.param
    # Smooth enough for a quadratic k to be positive on a mesh of four cubes a side.
    found = family(points, degree, dimension, modes=4, smoothness=3).discretise(MPI.COMM_SELF)
    assert isinstance(found, SteadyDiscretisation)
    return found


def draw(discretisation: SteadyDiscretisation, index: int = 0) -> dict[str, np.ndarray]:
    return discretisation.elements.family.draw(generator(0, index))


def test_storage_is_reused_and_left_clean(discretisation: SteadyDiscretisation) -> None:
    solve = SolveAndKeep()
    first = discretisation.solve([draw(discretisation)], solve)[0]["u"]
    discretisation.solve([draw(discretisation, 1)], solve)
    again = discretisation.solve([draw(discretisation)], solve)[0]["u"]
    assert len(set(solve.handles)) == 1
    assert np.array_equal(first, again)


def test_residual_is_that_of_the_stored_field(discretisation: SteadyDiscretisation) -> None:
    instance = draw(discretisation)
    fields = discretisation.solve([instance], solve_directly)[0]
    assert discretisation.residual(instance, fields) < 1e-12
    # One changed unknown changes the residual by the norm of a column of A.
    changed = {"u": fields["u"].copy()}
    changed["u"][(3,) * changed["u"].ndim] += 1e-3
    assert discretisation.residual(instance, changed) > 1e-4


def test_boundary_flux_balances_the_source(discretisation: SteadyDiscretisation) -> None:
    # The functions of the boundary sum to 1 there: tested with them, the equation is the balance
    # of the normal flux with the source.
    elements = discretisation.elements
    instance = draw(discretisation, 2)
    u = fem.Function(elements.space)
    elements.read(discretisation.solve([instance], solve_directly)[0], u.x.array)
    weak = elements.family.weak_form(elements.space, elements.parameters)
    outflow = fem.assemble_vector(fem.form(weak.L - ufl.action(weak.a, u))).array
    points = elements.parts[0].unknowns.points
    on_boundary = ((points < 1e-9) | (points > 1 - 1e-9)).any(axis=1)
    reactions = elements.parts[0].unknowns.gather(outflow)
    assert reactions is not None
    assert abs(reactions[~on_boundary]).max() < 1e-13
    np.testing.assert_allclose(reactions[on_boundary].sum(), 1.0, rtol=1e-12)


def test_solution_scales_with_source_and_permeability(discretisation: SteadyDiscretisation) -> None:
    instance = draw(discretisation, 4)
    u = discretisation.solve([instance], solve_directly)[0]["u"]
    faces = np.ones(u.shape, bool)
    faces[(slice(1, -1),) * u.ndim] = False
    assert abs(u[faces]).max() == 0
    # Minimum principle: the source is positive.
    assert u[~faces].min() > 0
    halved = discretisation.solve([{"k": 2 * instance["k"]}], solve_directly)[0]["u"]
    np.testing.assert_allclose(halved, u / 2, rtol=1e-12, atol=1e-15)


def test_axes_are_not_transposed(discretisation: SteadyDiscretisation) -> None:
    # k large for x > 1/2 flattens u there, whatever the other coordinates.
    k = np.ones(draw(discretisation)["k"].shape)
    middle = len(k) // 2
    k[middle + 1 :] = 4
    u = discretisation.solve([{"k": k}], solve_directly)[0]["u"]
    across = u[:, *(middle,) * (u.ndim - 1)]
    assert across[middle + middle // 2] < 0.6 * across[middle // 2]
    np.testing.assert_allclose(u, np.flip(u, axis=1), atol=5e-2 * u.max())


def test_bad_parameters_are_refused(discretisation: SteadyDiscretisation) -> None:
    shape = draw(discretisation)["k"].shape
    with pytest.raises(DataError, match="has shape"):
        discretisation.assemble({"k": np.ones((3, 3))})
    with pytest.raises(DataError, match="not finite"):
        discretisation.assemble({"k": np.full(shape, np.nan)})
    negative = np.ones(shape)
    negative[(2,) * negative.ndim] = -1e-3
    with pytest.raises(DataError, match=r"permeability.*-0.001.*must be positive"):
        discretisation.assemble({"k": negative})


@pytest.mark.parametrize("kind", ["lognormal", "two_valued", "high_contrast"])
@pytest.mark.parametrize("degree", [1, 2])
def test_operator_is_as_declared_for_every_permeability(kind: str, degree: int) -> None:
    # For the roughest fields, a quadratic k is negative somewhere, but the operator is definite.
    parameters = {"smoothness": 1.1, "length": 0.05, "modes": 16, "contrast": 1e6}
    rough = family(17, degree, permeability=kind, **parameters)
    solve = SolveAndKeep()
    discretised = rough.discretise(MPI.COMM_SELF)
    for index in range(3):
        discretised.solve([rough.draw(generator(0, index))], solve)
    assert false_claims(rough.operator, solve.matrices) == []


def test_a_cube_of_degree_2_is_definite_or_refused() -> None:
    rough = family(9, 2, 3, permeability="high_contrast", modes=8)
    solve = SolveAndKeep()
    discretised = rough.discretise(MPI.COMM_SELF)
    refused = 0
    for index in range(12):
        try:
            instance = rough.draw(generator(0, index))
        except DataError as error:
            assert "take mesh.degree 1" in str(error)
            refused += 1
        else:
            discretised.solve([instance], solve)
    assert refused
    two_valued = family(9, 2, 3, modes=8, **TWO_VALUED)
    for index in range(3):
        discretised.solve([two_valued.draw(generator(0, index))], solve)
    assert false_claims(rough.operator, solve.matrices) == []


@pytest.mark.parametrize("periodic", [(), ("x", "z")])
def test_least_quadratic_value_is_that_of_the_element_function(periodic: tuple[str, ...]) -> None:
    points = [8 if axis in periodic else 9 for axis in "xyz"]
    mesh = {"points": points, "degree": 2, "dimension": 3, "periodic": list(periodic)}
    cube: Any = load_family(DatasetConfig(mesh=mesh, parameters={"modes": 4}))
    discretised = cube.discretise(MPI.COMM_SELF)
    assert isinstance(discretised, SteadyDiscretisation)
    parameters, domain = discretised.elements.parameters, discretised.elements.domain
    k = np.exp(generator(0, 3).standard_normal(points))
    # If x is periodic, k jumps within the cells that end at its first points.
    k[-1], k[:2] = 1e-3, 1e3
    discretised.assemble({"k": k})
    cells = np.arange(domain.topology.index_map(3).size_local, dtype=np.int32)
    values = fem.Expression(parameters["k"], TETRAHEDRON_RULE[:, 1:]).eval(domain, cells)
    np.testing.assert_allclose(least_at_quadrature(k), values.min(), rtol=1e-12)


def finite_differences(k: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Solve -div(k grad u) = f by differences of 2 d + 1 points, with arithmetic means on faces."""
    d, n, h = k.ndim, k.shape[0] - 2, 1 / (k.shape[0] - 1)
    a = sp.csr_array((n**d, n**d))
    inside = (slice(1, -1),) * d
    for axis in range(d):
        forward = np.zeros_like(k[inside])
        for shift in (-1, 1):
            face = (k[inside] + np.roll(k, -shift, axis)[inside]) / 2
            a += sp.diags_array(face.ravel())
            if shift == 1:
                forward = face
        # To the next neighbour, which the last point of a line does not have.
        forward = forward.copy()
        forward[(slice(None),) * axis + (-1,)] = 0
        stride = n ** (d - 1 - axis)
        coupling = sp.diags_array(-forward.ravel()[:-stride], offsets=stride, shape=a.shape)
        a += coupling + coupling.T
    u = np.zeros_like(k)
    b = h**2 * f[inside].ravel()
    u[inside] = scipy.sparse.linalg.spsolve(a.tocsc(), b).reshape((n,) * d)
    return u


@pytest.mark.parametrize(("dimension", "sizes"), [(2, (33, 65)), (3, (9, 17))])
def test_a_drawn_instance_approaches_finite_differences(
    dimension: int, sizes: tuple[int, int]
) -> None:
    differences = []
    for points in sizes:
        drawn = family(points, 1, dimension, smoothness=3, source_deviation=0.5)
        instance = drawn.draw(generator(0, 0))
        u = drawn.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
        other = finite_differences(instance["k"], instance["f"])
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[1] < 0.3 * differences[0] < 0.02


def torsion() -> tuple[float, float]:
    """Return maximum and mean of the w with -lap w = 1 in the unit square, 0 on its boundary.

    By its sine series, w = sum over odd i, j of 16 sin(i pi x) sin(j pi y) /
    (pi^4 i j (i^2 + j^2)).
    """
    i = np.arange(1, 4001, 2.0)
    series = 16 / (np.pi**4 * np.outer(i, i) * np.add.outer(i**2, i**2))
    signs = np.where(i % 4 == 1, 1.0, -1.0)
    means = 2 / (np.pi * i)
    return float(signs @ series @ signs), float(means @ series @ means)


def test_two_valued_set_is_within_its_bounds_and_as_published() -> None:
    # (grad w, grad v) = (1, v) and (k grad u, grad v) = (1, v) give the energies
    # mean(w) / 12 <= mean(u) <= mean(w) / 3 of every instance, as k is between 3 and 12.
    _, mean = torsion()
    drawn = family(61, modes=32, **TWO_VALUED)
    discretised = drawn.discretise(MPI.COMM_SELF)
    count = 100
    k, u = np.empty((2, count, 61, 61))
    for index in range(count):
        instance = drawn.draw(generator(0, index))
        k[index], u[index] = instance["k"], discretised.solve([instance], solve_directly)[0]["u"]
    assert set(np.unique(k)) == {3.0, 12.0}
    integrals = u[:, 1:-1, 1:-1].sum(axis=(1, 2)) / 60**2
    assert mean / 12 <= integrals.min() and integrals.max() <= mean / 3
    # Of all domains of area 1 and all k >= 3 the disc with k = 3 has the largest head (Talenti,
    # Ann. Scuola Norm. Sup. Pisa 3, 1976, theorem 1).
    assert u[:, 1:-1, 1:-1].min() > 0 and u.max() <= 1 / (4 * math.pi * 3)
    found = {"k": k.mean(axis=(1, 2)), "u": integrals}
    squares = {"k": np.square(k).mean(), "u": np.square(u).sum() / 60**2 / count}
    for name, means in found.items():
        # Both samples are finite: three standard errors of the difference of their means.
        mean, deviation = PUBLISHED[name]
        error = means.std() * math.sqrt(1 / count + 1 / 1000)
        assert abs(means.mean() - mean) < 3 * error
        assert math.sqrt(squares[name] - means.mean() ** 2) == pytest.approx(deviation, rel=0.1)


def test_head_is_within_the_bounds_of_constant_permeabilities() -> None:
    # With k = c the head is w / c.
    largest, mean = torsion()
    points = 65
    square = family(points).discretise(MPI.COMM_SELF)
    for c in (3.0, 12.0):
        u = square.solve([{"k": np.full((points, points), c)}], solve_directly)[0]["u"]
        assert abs(c * u.max() / largest - 1) < 1e-3
        assert abs(c * u[1:-1, 1:-1].sum() / (points - 1) ** 2 / mean - 1) < 2e-3


def test_high_contrast_instances_are_solved_to_the_tolerance() -> None:
    drawn = family(65, modes=32, permeability="high_contrast")
    discretised = drawn.discretise(MPI.COMM_SELF)
    assert isinstance(discretised, SteadyDiscretisation)
    solver = SequenceSolver(method="gcrodr", preconditioner="ilu", tolerance=1e-8)
    state = SolverState()
    for index in range(3):
        instance = drawn.draw(generator(0, index))
        assert instance["k"].max() / instance["k"].min() == pytest.approx(1e4)
        result, state = solver.solve(*discretised.assemble(instance), state)
        u = discretised.elements.write(result.solution.array_r)
        assert discretised.residual(instance, u) <= 1e-8


def test_the_default_draw_is_a_lognormal_field() -> None:
    field = GaussianField(modes=32, length=1 / 3, smoothness=2.0, deviation=1.0)
    drawn = load_family(DatasetConfig()).draw(generator(0, 17))
    assert drawn.keys() == {"k"}
    assert np.array_equal(drawn["k"], exponential(field.draw(generator(0, 17), 64)))


@pytest.mark.parametrize("kind", ["lognormal", "two_valued"])
def test_instance_on_a_finer_grid_is_the_same_field(kind: str) -> None:
    coarse = family(17, permeability=kind, source_deviation=1.0).draw(generator(0, 3))
    fine = family(33, permeability=kind, source_deviation=1.0).draw(generator(0, 3))
    for name in ("k", "f"):
        np.testing.assert_allclose(fine[name][::2, ::2], coarse[name], rtol=1e-12, atol=1e-14)


def test_length_for_each_axis_stretches_the_field() -> None:
    drawn = family(65, length=[1.0, 0.1], modes=32)
    slopes = np.zeros(2)
    for index in range(8):
        log_k = np.log(drawn.draw(generator(0, index))["k"])
        slopes += [np.square(np.diff(log_k, axis=axis)).sum() for axis in (0, 1)]
    assert slopes[1] > 4 * slopes[0]


def test_random_source_has_its_mean_and_deviation() -> None:
    drawn = family(33, source=2.0, source_deviation=0.5)
    f = np.array([drawn.draw(generator(0, index))["f"] for index in range(200)])
    # Trapezoidal weights: the mean of a Neumann field over the domain is zero, each time.
    weights = np.ones(33)
    weights[[0, -1]] = 0.5
    weights = np.outer(weights, weights) / 32**2
    np.testing.assert_allclose((f * weights).sum(axis=(1, 2)), 2.0, atol=1e-12)
    variance = (np.square(f - 2.0) * weights).sum(axis=(1, 2)).mean()
    assert math.sqrt(variance) == pytest.approx(0.5, rel=0.1)
    assert [v.name for v in drawn.parameters] == ["k", "f"]


@pytest.mark.parametrize(
    ("mesh", "parameters", "message"),
    [
        ({"points": 17}, {"modes": 17}, r"modes 17 does not fit mesh.points 17"),
        ({"points": 17, "dimension": 3}, {"smoothness": 1.4, "modes": 8}, r"smoothness 1.4"),
        ({"points": 17}, {"length": [1, 1, 1], "modes": 8}, r"length .* has 3 numbers: set 2"),
        ({"points": 17, "dimension": 1}, {"modes": 8}, r"mesh.dimension 1"),
        ({}, {"low": 12.0}, r"low 12.0 is not less than high 12.0"),
        ({}, {"source": 0}, r"both 0: nothing would flow"),
        ({}, {"low": -3.0}, r"greater than 0"),
    ],
)
def test_bad_settings_are_refused(mesh: Any, parameters: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_family(DatasetConfig(mesh=mesh, parameters=parameters))


@pytest.mark.mpi
@pytest.mark.parametrize("degree", [1, 2])
def test_two_processes_store_the_same_cube(degree: int, tmp_path: Path) -> None:
    parameters = {"modes": 4, "smoothness": 3}
    mesh = {"points": 9, "degree": degree, "dimension": 3}
    dataset = {"mesh": mesh, "parameters": parameters}
    one, two = (solve_on_ranks(ranks, dataset, tmp_path)["u"] for ranks in (1, 2))
    assert np.linalg.norm(one - two) <= 1e-8 * np.linalg.norm(one)
