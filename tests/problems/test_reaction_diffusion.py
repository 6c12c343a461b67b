# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reaction and diffusion against manufactured solutions, its energy and finite differences."""

from functools import cache
from pathlib import Path
from typing import Any

from mpi4py import MPI

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import ufl
from dolfinx import fem

from convergence import l2_error, observed_orders, solve_instance
from directly import SolveDirectly, solve_directly
from kryloset.config import DatasetConfig, MeshConfig
from kryloset.errors import ConfigError, DataError, KrylosetError
from kryloset.krylov import SequenceSolver, solve_or_escalate
from kryloset.problems import load_family
from kryloset.problems.reaction_diffusion import ReactionDiffusion, ReactionDiffusionSettings
from kryloset.problems.tools.quadrature import quadrature
from kryloset.run import solve, sort
from kryloset.sampling import generator
from operators import SolveAndKeep


@cache
def reaction(points: int = 17, degree: int = 1, **parameters: Any) -> tuple[Any, Any]:
    """Return a family and its discretisation, which tests share."""
    settings = ReactionDiffusionSettings.model_validate({"modes": 8} | parameters)
    family = ReactionDiffusion(settings, MeshConfig(points=points, degree=degree))
    family.check()
    return family, family.discretise(MPI.COMM_SELF)


# Orders


class Manufactured(ReactionDiffusion):
    """The family's form with the source of u = sin(pi x) sin(2 pi y) and k = 1 + x + y^2."""

    def weak_form(self, space: Any, parameters: Any, u: Any) -> Any:
        """Return it."""
        form = super().weak_form(space, parameters, u)
        x = ufl.SpatialCoordinate(space.mesh)
        flux = (1 + x[0] + x[1] ** 2) * ufl.grad(shape(x))
        source = -ufl.div(flux) + self.settings.reaction * shape(x) ** 3
        dx = ufl.dx(metadata={"quadrature_degree": 8})
        return form._replace(F=form.F - source * ufl.TestFunction(space) * dx)


def shape(x: Any) -> Any:
    return ufl.sin(ufl.pi * x[0]) * ufl.sin(2 * ufl.pi * x[1])


@pytest.mark.parametrize("degree", [1, 2])
def test_solution_converges_at_the_theoretical_order(degree: int) -> None:
    errors = []
    for cells in (8, 16, 32):
        mesh = MeshConfig(points=cells * degree + 1, degree=degree)
        family = Manufactured(ReactionDiffusionSettings(modes=2), mesh)
        x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
        u = solve_instance(family, {"k": 1 + x + y**2, "f": 0 * x})
        errors.append(l2_error(u, shape, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


# Consequences of the equation


@pytest.mark.parametrize("degree", [1, 2])
def test_the_solution_minimises_the_energy(degree: int) -> None:
    family, discretisation = reaction(17, degree)
    instance, r = family.draw(generator(0, 0)), family.settings.reaction
    stored = discretisation.solve([instance], solve_directly)[0]
    elements = discretisation.elements
    u = fem.Function(elements.space)
    elements.read(stored, u.x.array)
    k, f = elements.parameters["k"], elements.parameters["f"]
    diffusion = ufl.dx(metadata=quadrature(2, degree))
    reaction_dx = ufl.dx(metadata={"quadrature_degree": 4 * degree})
    energy = fem.form(
        k / 2 * ufl.inner(ufl.grad(u), ufl.grad(u)) * diffusion
        + (r / 4 * u**4 - f * u) * reaction_dx
    )
    solution, least = u.x.array.copy(), fem.assemble_scalar(energy)
    random = np.random.default_rng(1)
    inside = np.zeros_like(stored["u"])
    inside[1:-1, 1:-1] = 1
    for _ in range(5):
        direction = np.empty_like(solution)
        elements.read({"u": inside * random.standard_normal(inside.shape)}, direction)
        changes = []
        for step in (-1e-3, 1e-3):
            u.x.array[:] = solution + step * direction
            changes.append(fem.assemble_scalar(energy) - least)
        # The derivative is zero, so the change is quadratic, and equal in both senses.
        assert min(changes) > 0
        assert changes[0] == pytest.approx(changes[1], rel=0.01)
    assert least < 0  # the energy of u = 0


@pytest.mark.parametrize("degree", [1, 2])
def test_reaction_and_boundary_flux_balance_the_source(degree: int) -> None:
    # w is 1 at the nodes of the boundary and 0 at those inside, so F(u; 1 - w) = 0, and
    # F(u; w), what enters through the boundary, is F(u; 1), the integral of r u^3 - f.
    family, discretisation = reaction(17, degree)
    instance = family.draw(generator(0, 1))
    stored = discretisation.solve([instance], solve_directly)[0]
    elements = discretisation.elements
    u, w = fem.Function(elements.space), fem.Function(elements.space)
    elements.read(stored, u.x.array)
    boundary = np.ones_like(stored["u"])
    boundary[1:-1, 1:-1] = 0
    elements.read({"u": boundary}, w.x.array)
    form = family.weak_form(elements.space, elements.parameters, u).F
    (test,) = form.arguments()
    entering = fem.assemble_scalar(fem.form(ufl.replace(form, {test: w})))
    dx = ufl.dx(metadata={"quadrature_degree": 4 * degree})
    used = fem.assemble_scalar(fem.form(family.settings.reaction * u**3 * dx))
    fed = fem.assemble_scalar(fem.form(elements.parameters["f"] * dx))
    scale = abs(used) + abs(fed) + abs(entering)
    assert entering == pytest.approx(used - fed, abs=1e-8 * scale)
    assert abs(entering) > 1e-3 * scale


def test_the_solution_is_odd_and_monotone_in_the_source() -> None:
    family, discretisation = reaction()
    instance = family.draw(generator(0, 2))
    u = discretisation.solve([instance], solve_directly)[0]["u"]
    opposite = discretisation.solve([{**instance, "f": -instance["f"]}], solve_directly)[0]["u"]
    np.testing.assert_allclose(opposite, -u, atol=1e-9)
    # The reaction is monotone, so the solution is so in the source.
    more = discretisation.solve([{**instance, "f": instance["f"] + 10}], solve_directly)[0]["u"]
    assert np.all(more[1:-1, 1:-1] > u[1:-1, 1:-1])


def test_strong_reaction_balances_the_source() -> None:
    # |u| <= max |f / r|^(1/3), the maximum principle of a monotone reaction.
    family, discretisation = reaction(33)
    for index in range(3):
        instance = family.draw(generator(1, index))
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        bound = np.cbrt(abs(instance["f"]).max() / family.settings.reaction)
        assert 0.3 * bound < abs(u).max() < bound


# An independent discretisation


def finite_differences(k: Any, f: Any, r: float) -> Any:
    """Solve by five-point differences, and Newton's method in SciPy's sparse matrices."""
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
    u, source = np.zeros(n * n), f[1:-1, 1:-1].ravel()
    for _ in range(30):
        residual = a @ u + r * u**3 - source
        u -= scipy.sparse.linalg.spsolve(a + sp.diags_array(3 * r * u**2, format="csc"), residual)
    assert np.linalg.norm(a @ u + r * u**3 - source) < 1e-9 * np.linalg.norm(source)
    whole = np.zeros_like(k)
    whole[1:-1, 1:-1] = u.reshape(n, n)
    return whole


@pytest.mark.parametrize("degree", [1, 2])
def test_a_drawn_instance_approaches_finite_differences(degree: int) -> None:
    differences = []
    for points in (33, 65):
        family, discretisation = reaction(points, degree)
        instance = family.draw(generator(0, 0))
        u = discretisation.solve([instance], solve_directly)[0]["u"]
        other = finite_differences(instance["k"], instance["f"], family.settings.reaction)
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[1] < 0.35 * differences[0] < 0.02


# Newton's method and its systems


class Pipeline(SolveDirectly):
    """The solver of the workflow, which keeps the iterations of each system."""

    tolerance = 1e-8

    def __init__(self, method: str) -> None:
        """Recycle nothing yet."""
        self.solver = SequenceSolver(method=method, preconditioner="icc", restart=80)
        self.state, self.iterations = self.solver.init(), []
        self.norms: list[float] = []

    def __call__(self, operator: Any, rhs: Any) -> Any:
        """Return x."""
        result, self.state, _ = solve_or_escalate(self.solver, operator, rhs, self.state)
        self.iterations.append(result.iterations)
        self.norms.append(rhs.norm())
        return result.solution


def test_newton_converges_quadratically_on_drawn_instances() -> None:
    family, discretisation = reaction(33)
    exponents = []
    for index in range(4):
        steps = Pipeline("direct")
        discretisation.solve([family.draw(generator(0, index))], steps)
        norms = np.array(steps.norms) / steps.norms[0]
        assert 4 <= len(norms) <= 12
        slopes = np.diff(np.log(norms))
        exponents.append(slopes[-1] / slopes[-2])
    # Once r is small, log r falls in each step by twice as much as in the one before.
    assert min(exponents) > 1.5


def test_recycling_continues_across_newton_steps_and_instances() -> None:
    family, discretisation = reaction(33)
    recycling, forgetting = Pipeline("rcg"), Pipeline("cg")
    for index in range(3):
        instance = family.draw(generator(0, index))
        first = len(recycling.iterations)
        one = discretisation.solve([instance], recycling)[0]["u"]
        two = discretisation.solve([instance], forgetting)[0]["u"]
        np.testing.assert_allclose(one, two, atol=1e-6)
        assert len(recycling.iterations) - first > 1
    later = slice(3, None)
    assert sum(recycling.iterations[later]) < 0.8 * sum(forgetting.iterations[later])


def test_a_failure_reports_the_residual_it_reached() -> None:
    family, discretisation = reaction()
    instance = family.draw(generator(0, 0))
    solver = SolveDirectly()
    solver.tolerance = 1e-30
    with pytest.raises(KrylosetError, match=r"residual \d\.\d\de-1\d after \d+ steps, above"):
        discretisation.solve([instance], solver)
    # The next instance is not affected.
    stored = discretisation.solve([instance], solve_directly)[0]
    assert discretisation.residual(instance, stored) < 1e-9


def test_a_chunk_stores_the_nonlinear_residual_and_counts_all_systems(tmp_path: Path) -> None:
    config = DatasetConfig.model_validate(
        {
            "family": "reaction_diffusion", "count": 4, "chunks": 1, "parameters": {"modes": 8},
            "splits": {"train": 0.5, "test": 0.5}, "mesh": {"points": 17},
            "solver": {"method": "rcg", "preconditioner": "icc", "restart": 80},
        }
    )  # fmt: skip
    order, chunk = tmp_path / "order.h5", tmp_path / "chunk.h5"
    sort.run(config, "small", output=order, chunks=1)
    solve.run(
        config, "small", order=order, chunk="1-of-1", output=chunk,
        comm=MPI.COMM_SELF,
    )  # fmt: skip
    family = load_family(config)
    discretisation = family.discretise(MPI.COMM_SELF)
    with h5py.File(chunk) as solved:
        assert np.all(solved["solver/systems"][:] >= 3)
        assert np.all(solved["solver/iterations"][:] > solved["solver/systems"][:])
        for row, index in enumerate(solved["instance"][:]):
            instance = family.draw(generator(0, int(index)))
            residual = discretisation.residual(instance, {"u": solved["fields/u"][row]})
            assert residual <= config.solver.tolerance
            assert residual == pytest.approx(solved["solver/true_residual"][row], rel=1e-3)


# Operator and draws


def test_operator_has_the_reaction_on_top_of_the_diffusion() -> None:
    # J(u) - J(0) is the mass matrix weighted by 3 r u^2: symmetric, and not negative.
    family, discretisation = reaction(9)
    solve = SolveAndKeep()
    discretisation.solve([family.draw(generator(0, 0))], solve)
    first, last = solve.matrices[0].toarray(), solve.matrices[-1].toarray()
    eigenvalues = np.linalg.eigvalsh(last - first)
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()
    assert eigenvalues.max() > 0.1
    assert np.linalg.eigvalsh(first).min() > 0


def test_fields_are_the_same_on_a_finer_grid() -> None:
    coarse, fine = (reaction(points)[0].draw(generator(3, 1)) for points in (17, 33))
    for name in ("k", "f"):
        np.testing.assert_allclose(fine[name][::2, ::2], coarse[name], rtol=1e-10, atol=1e-10)


def test_bad_parameters_are_refused() -> None:
    dataset = DatasetConfig(
        family="reaction_diffusion", mesh={"points": 9}, parameters={"modes": 9}
    )
    with pytest.raises(ConfigError, match=r"parameters.modes 9 does not fit mesh.points 9"):
        load_family(dataset)
    dataset = DatasetConfig(family="reaction_diffusion", parameters={"reaction": -1})
    with pytest.raises(ConfigError, match="reaction: Input should be greater than 0"):
        load_family(dataset)
    family, discretisation = reaction(9)
    instance = family.draw(generator(0, 0))
    with pytest.raises(DataError, match=r"diffusivity.* must be positive"):
        discretisation.solve([{**instance, "k": -instance["k"]}], solve_directly)
    with pytest.raises(DataError, match="f has shape"):
        discretisation.solve([{**instance, "f": instance["f"][1:]}], solve_directly)
