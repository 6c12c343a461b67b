# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Learned help for solvers: what it does where the prediction is exact, and its losses."""

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("torch")

from mpi4py import MPI
from petsc4py import PETSc

import torch

from kryloset.bench.sequences import Operator, Sequence, make_sequence
from kryloset.krylov import SequenceSolver, SolverState
from kryloset.learn.solving.deflation import PredictedSpace, projection_loss
from kryloset.learn.solving.directions import (
    DeepConjugateDirections,
    DirectionNetwork,
    DirectionState,
    direction_loss,
    draw_residuals,
    learn_directions,
    ritz_vectors,
)
from kryloset.learn.solving.guess import GuessedSolver, PredictedGuess
from kryloset.learn.solving.policy import Statistics, StatisticsPolicy, replay


@pytest.fixture
def generator() -> np.random.Generator:
    """Return the same random numbers for each test; those of torch are the same, too."""
    torch.manual_seed(0)
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def darcy() -> Sequence:
    return make_sequence("darcy", 9, 6, drawn=6)


def told(values: np.ndarray) -> torch.nn.Module:
    """Return an operator that predicts these functions (K, x, y), whatever it is given."""

    class Told(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(values)[None]

    return Told()


@pytest.mark.parametrize("refresh", ["always", "rental"])
def test_nothing_is_left_to_solve_by_a_multiple_of_the_solution(darcy, generator, refresh):
    matrix, rhs = Operator(darcy, MPI.COMM_SELF).load(0)
    exact = sp.linalg.spsolve(darcy.matrices[0].tocsc(), darcy.rhs).reshape(9, 9)
    solver = GuessedSolver(SequenceSolver("cg", "icc", refresh=refresh))
    alone, state = solver.solve(matrix, rhs, solver.init())
    kept = state.held.workspace
    iterations = []
    for values in (-3 * exact, 1e-3 * exact.max() * generator.standard_normal((9, 9)) + exact):
        helped = PredictedGuess(told(values[None]))(darcy.parameters[0], matrix, state)
        result, state = solver.solve(matrix, rhs, helped)
        assert result.converged
        iterations.append(result.iterations)
        residual = darcy.rhs - darcy.matrices[0] @ result.solution.getArray()
        assert result.true_residual == pytest.approx(
            np.linalg.norm(residual) / np.linalg.norm(darcy.rhs), abs=1e-14
        )
        # Each correction has a tolerance of its own, for which nothing is set up again.
        assert state.held.workspace is kept
    assert iterations[0] <= 1 < iterations[1] < alone.iterations


def test_gcrodr_with_the_space_of_all_other_eigenvalues_takes_one_iteration(generator):
    eigenvalues = np.array([1e-3, 2e-3, 5e-3, *[1.0] * 13])
    vectors = np.linalg.qr(generator.standard_normal((16, 16)))[0]
    matrix = PETSc.Mat().createDense((16, 16), array=vectors * eigenvalues @ vectors.T)
    matrix.assemble()
    rhs = matrix.createVecLeft()
    rhs.setArray(generator.standard_normal(16))
    solver = SequenceSolver("gcrodr", "none", restart=8, recycle=4)
    # In another basis.
    columns = vectors[:, :3] @ generator.standard_normal((3, 3))
    predicted = PredictedSpace(told(columns.T.reshape(3, 4, 4)))
    helped = predicted(np.ones((4, 4)), matrix, solver.init())
    result, _ = solver.solve(matrix, rhs, helped)
    alone, _ = solver.solve(matrix, rhs, SolverState())
    assert result.converged and result.iterations == 1 < alone.iterations


@pytest.mark.usefixtures("generator")
def test_the_projection_loss_measures_spaces():
    wanted = torch.linalg.qr(torch.randn(2, 12, 3, dtype=torch.float64))[0]
    same = wanted @ torch.randn(2, 3, 3, dtype=torch.float64)
    assert projection_loss(same, wanted) < 1e-12
    outside = torch.linalg.qr(torch.cat((wanted, torch.randn_like(wanted)), dim=2))[0][..., 3:]
    assert projection_loss(outside, wanted).item() == pytest.approx(3)
    columns = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda c: projection_loss(c, wanted[:1, :6, :2]), columns)


@pytest.mark.usefixtures("generator")
def test_the_loss_of_a_direction_is_zero_for_multiples_of_the_solution_alone(darcy):
    matrix = torch.from_numpy(darcy.matrices[0].toarray())
    r, d = torch.randn(2, 81, dtype=torch.float64)
    best = torch.linalg.solve(matrix, r)
    assert direction_loss(matrix, r, -5 * best) < 1e-20
    found = direction_loss(matrix, r, d)
    assert found > 0 and direction_loss(matrix, 3 * r, -2 * d).item() == pytest.approx(found.item())
    torch.autograd.gradcheck(
        lambda one: direction_loss(matrix, r, one), d.clone().requires_grad_(True)
    )


def test_ritz_vectors_of_the_whole_krylov_space_are_eigenvectors(darcy):
    matrix = darcy.matrices[0]
    vectors = ritz_vectors(matrix, 81, np.random.default_rng(0))
    assert np.allclose(vectors.T @ vectors, np.eye(vectors.shape[1]), atol=1e-8)
    values = np.linalg.eigvalsh(matrix.toarray())
    assert np.allclose(np.diag(vectors.T @ (matrix @ vectors)), values[: vectors.shape[1]])
    # The Krylov space of a multiple of the identity ends at once.
    assert ritz_vectors(sp.eye_array(9).tocsr(), 4, np.random.default_rng(0)).shape == (9, 1)


def test_smooth_ritz_vectors_lead_in_residuals_to_learn_from():
    residuals = draw_residuals(np.eye(40), 500, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(residuals, axis=1), 1)
    sizes = residuals.std(axis=0)
    assert sizes[:22].min() > 4 * sizes[22:].max()


def test_directions_that_are_exact_take_one_iteration_and_residuals_those_of_cg(darcy, generator):
    matrix, rhs = Operator(darcy, MPI.COMM_SELF).load(0)
    rhs.setArray(generator.standard_normal(81))
    inverse = torch.from_numpy(np.linalg.inv(darcy.matrices[0].toarray()))
    state = DirectionState(darcy.parameters[0, 1:-1, 1:-1])

    def exact(residual: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        return -(inverse @ residual.double().flatten()).reshape(residual.shape)

    # The residual is rounded to single precision, so that each direction is exact to seven digits.
    result, _ = DeepConjugateDirections(exact, 1e-5).solve(matrix, rhs, state)
    assert result.converged and result.iterations == 1
    result, _ = DeepConjugateDirections(exact, 1e-10).solve(matrix, rhs, state)
    assert result.converged and result.iterations == 2
    plain, _ = DeepConjugateDirections(lambda residual, _: residual).solve(matrix, rhs, state)
    cg, _ = SequenceSolver("cg", "none").solve(matrix, rhs, SolverState())
    assert plain.converged and abs(plain.iterations - cg.iterations) <= 1
    with pytest.raises(ValueError, match="needs the coefficient"):
        DeepConjugateDirections(exact).solve(matrix, rhs, DirectionState())


@pytest.mark.usefixtures("generator")
@pytest.mark.parametrize("shape", [(8, 8), (9, 7)])
def test_the_network_of_directions_is_homogeneous_in_the_residual(shape):
    network = DirectionNetwork(0.0, 1.0).double()
    residual, field = torch.randn(2, *shape, dtype=torch.float64), torch.ones(2, *shape)
    found = network(residual, field.double())
    assert found.shape == residual.shape
    assert torch.allclose(network(1e-6 * residual, field.double()), 1e-6 * found)


def test_directions_are_learned_without_solutions_and_hold_for_another_matrix(darcy):
    fields, matrices = darcy.parameters[:, 1:-1, 1:-1], darcy.matrices
    matrix = torch.from_numpy(matrices[5].toarray()).float()
    vectors = ritz_vectors(matrices[5], 30, np.random.default_rng(0))
    residuals = torch.from_numpy(draw_residuals(vectors, 20, np.random.default_rng(1))).float()
    field = torch.from_numpy(fields[5]).float().expand(20, -1, -1)
    losses = []
    for steps in (4, 30):
        given = {"vectors": 30, "residuals": 16, "batch": 8, "seed": 0, "steps": steps}
        network = learn_directions(fields[:5], matrices[:5], **given)
        with torch.no_grad():
            found = network(residuals.unflatten(1, (9, 9)), field).flatten(1)
        each = [direction_loss(matrix, r, d) for r, d in zip(residuals, found, strict=True)]
        losses.append(float(torch.stack(each).mean()))
    assert losses[1] < 0.5 * losses[0] and losses[1] < 0.5


def test_statistics_tell_how_the_residual_fell():
    assert Statistics.of(4, 1.0, [1.0, 1e-2, 1e-4, 1e-6, 1e-8]).bend == 0.5
    assert Statistics.of(4, 1.0, [1.0, 0.5, 0.2, 1e-1, 1e-8]).bend == 1.0
    assert Statistics.of(1, 1.0, []).bend == 0.5


def test_a_policy_with_statistics_follows_what_changes_and_one_without_does_not():
    table = []
    for turn in range(600):
        hard = turn // 30 % 2
        iterations = (10, 200)[hard]
        rows = ((0.1, 1.0)[hard], (0.3, 0.3)[hard])
        table.append([Statistics(iterations, seconds, 0.5) for seconds in rows])
    best = sum(min(one.seconds for one in row) for row in table)
    choices, seconds = replay(StatisticsPolicy.start(2), table)
    _, blind = replay(StatisticsPolicy.start(2, blind=True), table)
    assert seconds < 1.3 * best and blind > 1.45 * best
    assert replay(StatisticsPolicy.start(2), table) == (choices, seconds)


def test_a_strategy_that_is_always_slower_is_soon_left_alone():
    table = [[Statistics(5, 1.0, 0.5), Statistics(5, 2.0, 0.5)] for _ in range(100)]
    choices, _ = replay(StatisticsPolicy.start(2), table)
    assert choices[:6].count(1) == 3 and choices[20:].count(1) == 0
