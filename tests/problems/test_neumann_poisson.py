# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Poisson's equation in an insulated square against its cosine series."""

from typing import Any

from mpi4py import MPI  # isort: skip

import numpy as np
import pytest
import scipy.fft
import ufl

from convergence import l2_error, observed_orders, solve_instance
from directly import solve_directly
from kryloset.config import DatasetConfig, MeshConfig, SolverConfig
from kryloset.errors import ConfigError
from kryloset.krylov.ensemble.factor import can_factor
from kryloset.krylov.solver import SequenceSolver
from kryloset.problems import Instance, load_family
from kryloset.problems.neumann_poisson import NeumannPoisson, NeumannPoissonSettings
from kryloset.sampling import generator


def family_of(cells: int, degree: int = 1, modes: int = 6) -> NeumannPoisson:
    mesh = MeshConfig(points=cells * degree + 1, degree=degree)
    return NeumannPoisson(NeumannPoissonSettings(modes=modes, smoothness=4.0), mesh)


def exact(f: np.ndarray) -> np.ndarray:
    """Return the solution at the points of the grid: each cosine of f over its eigenvalue."""
    points = f.shape[0]
    i = np.arange(points)
    eigenvalues = np.pi**2 * (i[:, None] ** 2 + i**2)
    series = scipy.fft.dctn(f, type=1)
    series[0, 0] = 0
    eigenvalues[0, 0] = 1
    return np.asarray(scipy.fft.idctn(series / eigenvalues, type=1))


@pytest.mark.parametrize("degree", [1, 2])
def test_order_of_a_product_of_cosines(degree: int) -> None:
    errors = []
    for cells in (8, 16, 32):
        family = family_of(cells, degree)
        x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
        instance: Instance = {"f": np.cos(np.pi * x) * np.cos(2 * np.pi * y)}
        u = solve_instance(family, instance)

        def solution(x: Any) -> Any:
            return ufl.cos(ufl.pi * x[0]) * ufl.cos(2 * ufl.pi * x[1]) / (5 * np.pi**2)

        errors.append(l2_error(u, solution, u.function_space.mesh))
    assert observed_orders(errors)[-1] > degree + 1 - 0.1


@pytest.mark.parametrize("degree", [1, 2])
def test_a_drawn_instance_approaches_its_cosine_series(degree: int) -> None:
    differences = []
    for cells in (16, 32):
        family = family_of(cells, degree)
        instance = family.draw(generator(0, 0))
        u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
        other = exact(instance["f"])
        other -= other.mean()
        differences.append(np.linalg.norm(u - other) / np.linalg.norm(other))
    assert differences[1] < 0.3 * differences[0] < 0.03


def test_solution_has_the_mean_zero_and_solves_the_singular_system() -> None:
    family = family_of(16)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    instance = family.draw(generator(0, 1))
    stored = discretisation.solve([instance], solve_directly)[0]
    assert abs(stored["u"].mean()) < 1e-14
    assert discretisation.residual(instance, stored) < 1e-9
    # An added constant keeps the equation satisfied, and any other change does not.
    assert discretisation.residual(instance, {"u": stored["u"] + 7}) < 1e-9
    tilted = stored["u"] + 1e-3 * np.linspace(0, 1, 17)
    assert discretisation.residual(instance, {"u": tilted}) > 1e-5


@pytest.mark.parametrize("method", ["cg", "rcg", "gcrodr", "gmres", "rminres"])
def test_krylov_methods_solve_the_singular_system(method: Any) -> None:
    family = family_of(16)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    solver = SequenceSolver(method=method, preconditioner="icc", restart=20, recycle=8)
    state = solver.init()
    for index in range(3):
        system = discretisation.assemble(family.draw(generator(0, index)))
        result, state = solver.solve(*system, state)
        assert result.converged and result.true_residual <= solver.tolerance


@pytest.mark.skipif(not can_factor(), reason="needs real numbers and a C compiler")
@pytest.mark.parametrize("preconditioner", ["cholesky", "lu"])
def test_factors_of_ensembles_solve_the_singular_system(preconditioner: Any) -> None:
    config = SolverConfig(method="gmres", preconditioner=preconditioner, lanes=16)
    family = load_family(
        DatasetConfig(
            family="neumann_poisson", parameters={"modes": 8}, mesh={"points": 17}, solver=config
        )
    )
    instances = [family.draw(generator(0, index)) for index in range(3)]
    solver = SequenceSolver("gmres", preconditioner, lanes=16)
    results = []

    def solve(operator: Any, rhs: Any) -> Any:
        results.append(solver.solve(operator, rhs, solver.init())[0])
        return results[-1].solution

    discretisation: Any = family.discretise(MPI.COMM_SELF)
    for instance, stored in zip(instances, discretisation.solve(instances, solve), strict=True):
        assert abs(stored["u"].mean()) < 1e-12
        assert discretisation.residual(instance, stored) <= 1.01 * solver.tolerance
    assert len(results) == 1 and results[0].converged


@pytest.mark.parametrize("source", ["drawn", "one"])
def test_the_right_hand_side_lies_in_the_range(source: str) -> None:
    family = family_of(16)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    f = family.draw(generator(0, 1))["f"] if source == "drawn" else np.ones((17, 17))
    # The sum of a source of one sign is removed, since no flux leaves the square.
    _, rhs = discretisation.assemble({"f": f})
    assert abs(rhs.sum()) < 1e-13
    assert rhs.norm() > 0


def test_a_direct_solver_is_refused() -> None:
    direct = SolverConfig(method="direct")
    with pytest.raises(ConfigError, match="is singular"):
        load_family(DatasetConfig(family="neumann_poisson", solver=direct))
    with pytest.raises(ConfigError, match="modes 40"):
        load_family(
            DatasetConfig(
                family="neumann_poisson", parameters={"modes": 40}, mesh={"points": 33},
                solver={"method": "cg", "preconditioner": "icc"},
            )
        )  # fmt: skip
