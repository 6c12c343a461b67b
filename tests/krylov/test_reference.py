# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The preconditioner of one system used for its neighbours, and the rule that renews it."""

from dataclasses import replace
from itertools import pairwise

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import diffusion, laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov import Reason, SequenceSolver, SolverState, solve_or_escalate
from kryloset.krylov.reuse.reference import NEIGHBOUR_GROWTH, NEIGHBOUR_LIMIT
from kryloset.krylov.reuse.ski_rental import FIRST_NEIGHBOURS, SkiRental

STRATEGIES = [
    ("cg", "lu", 0.0),
    ("cg", "cholesky", 0.0),
    ("rcg", "cholesky", 0.0),
    ("cg", "gamg", 0.0),
    ("gmres", "lu", 1.0),
    ("gcrodr", "lu", 1.0),
    ("bicgstab", "ilu", 1.0),
]


def run(solver, systems, b, state=None, mat=None):
    """Return solutions, results and the last state; the systems refill one Mat."""
    mat = mat or to_mat(systems[0])
    state = state or solver.init()
    results = []
    for system in systems:
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        results.append(result)
    return [r.solution.getArray().copy() for r in results], results, state


@pytest.mark.parametrize(("method", "preconditioner", "wind"), STRATEGIES)
def test_neighbours_are_solved_with_the_first_ones_preconditioner(
    method, preconditioner, wind, rng, residual
):
    systems, b = sequence(20, 5, wind), rng.standard_normal(400)
    solver = SequenceSolver(method, preconditioner, tolerance=1e-10, refresh=())
    mat, state = to_mat(systems[0]), solver.init()
    for system in systems:
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        assert result.converged and residual(system, result.solution, b) <= 1e-10
        assert result.iterations > 1 or preconditioner in ("lu", "cholesky")
    assert state.refreshes == (0,)


@pytest.mark.parametrize(
    ("method", "preconditioner"), [("cg", "lu"), ("cg", "cholesky"), ("gmres", "lu")]
)
def test_a_factor_solves_its_own_matrix_in_two_iterations(method, preconditioner, rng):
    """The second is due to single precision. Equal entries in another Mat make no difference."""
    matrix = laplacian(20)
    solver = SequenceSolver(method, preconditioner, refresh=())
    state = solver.init()
    mat = to_mat(matrix)
    for again in range(4):
        if again == 2:
            refill(mat, matrix)
        if again == 3:
            mat = to_mat(matrix)
        result, state = solver.solve(mat, to_vec(mat, rng.standard_normal(400)), state)
        assert result.converged and result.iterations <= 2
    assert state.refreshes == (0,)


@pytest.mark.parametrize(
    ("method", "preconditioner"), [("cg", "lu"), ("cg", "cholesky"), ("gmres", "lu")]
)
def test_a_scaled_matrix_is_solved_in_two_iterations(method, preconditioner, rng):
    """With S A S the factor of A is exact; its condition number is 1e6 times as large."""
    matrix, b = laplacian(20), rng.standard_normal(400)
    scale = sp.diags_array(np.logspace(0, 3, 400)[rng.permutation(400)])
    solver = SequenceSolver(method, preconditioner, refresh=())
    systems = [matrix, sp.csr_array(7 * matrix), sp.csr_array(scale @ matrix @ scale)]
    _, results, state = run(solver, systems, b)
    assert max(r.iterations for r in results) <= 2
    assert state.refreshes == (0,)


def test_cg_needs_no_more_iterations_than_the_spread_of_the_spectrum_allows(rng):
    """The error in the A-norm falls at the rate of kappa(S^-1 A_o^-1 S^-1 A)."""
    first, second = sequence(15, 2)
    b = rng.standard_normal(225)
    scale = np.sqrt(second.diagonal() / first.diagonal())
    scaled = scale[:, None] * first.toarray() * scale
    values = np.linalg.eigvals(np.linalg.solve(scaled, second.toarray())).real
    kappa = values.max() / values.min()
    rate = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)
    solver = SequenceSolver("cg", "cholesky", refresh=(), tolerance=1e-8)
    _, results, _ = run(solver, [first, second], b)
    # The residual is within sqrt(kappa(A)) of the error.
    condition = np.sqrt(np.linalg.cond(second.toarray()))
    bound = np.log(1e-8 / (2 * condition)) / np.log(rate)
    assert 1 < results[1].iterations <= bound + 1


def test_systems_in_different_mats_use_the_same_reference(rng, residual):
    systems, b = sequence(20, 4), rng.standard_normal(400)
    solver = SequenceSolver("cg", "cholesky", refresh=(0, 2))
    _, refilled, _ = run(solver, systems, b)
    state = solver.init()
    for system, expected in zip(systems, refilled, strict=True):
        mat = to_mat(system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        mat.destroy()
        assert residual(system, result.solution, b) <= 1e-8
        assert result.iterations == expected.iterations
    assert state.refreshes == (0, 2)


def test_each_mesh_gets_its_own_reference(rng, residual):
    solver = SequenceSolver("cg", "cholesky", refresh=())
    state = solver.init()
    for size in (10, 12, 12, 10):
        matrix, b = laplacian(size), rng.standard_normal(size**2)
        mat = to_mat(matrix)
        result, state = solver.solve(mat, to_vec(mat, b), state.for_operator(mat))
        assert residual(matrix, result.solution, b) <= 1e-8
    assert state.refreshes == (0, 1, 3)


@pytest.mark.parametrize(("method", "preconditioner", "wind"), STRATEGIES)
def test_a_replay_is_bit_identical_and_so_is_a_resumed_one(
    method, preconditioner, wind, rng, tmp_path
):
    systems, b = sequence(20, 7, wind), rng.standard_normal(400)
    solver = SequenceSolver(method, preconditioner, restart=30, recycle=7, refresh="rental")
    _, _, state = run(solver, systems, b)
    again = replace(solver, refresh=(*state.refreshes, 5))
    solutions, _, whole = run(again, systems, b)
    assert whole.refreshes == tuple(sorted({*state.refreshes, 5}))
    _, _, half = run(again, systems[:3], b)
    half.save(tmp_path / "state.npz")
    resumed, _, last = run(again, systems[3:], b, SolverState.load(tmp_path / "state.npz"))
    assert last.refreshes == whole.refreshes
    for one, other in zip(solutions[3:], resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_is_a_value(rng):
    """An earlier state brings its own reference back, whatever the KSP has seen since."""
    systems, b = sequence(20, 4), rng.standard_normal(400)
    solver = SequenceSolver("cg", "cholesky", refresh=(0, 2))
    mat = to_mat(systems[0])
    _, _, early = run(solver, systems[:2], b, mat=mat)
    first, _, _ = run(replace(solver, refresh=()), systems[3:], b, early, mat)
    run(solver, systems[2:], b, early, mat)
    second, _, _ = run(replace(solver, refresh=()), systems[3:], b, early, mat)
    np.testing.assert_array_equal(first[0], second[0])


def test_a_reference_that_does_not_help_is_replaced_at_once(rng, residual):
    """The factor of one matrix is useless for the other, whose unknowns are in another order."""
    first = laplacian(50)
    order = rng.permutation(2500)
    second = sp.csr_array(first[order][:, order])
    b = rng.standard_normal(2500)
    solver = SequenceSolver("cg", "cholesky", refresh=(), tolerance=1e-7)
    _, _, state = run(solver, [first], b)
    _, results, state = run(solver, [second], b, state)
    assert results[0].converged and residual(second, results[0].solution, b) <= 1e-7
    assert state.refreshes == (0, 1)
    limit = NEIGHBOUR_LIMIT + NEIGHBOUR_GROWTH
    assert limit <= results[0].iterations <= limit + 10


def test_a_failure_leaves_no_reference_and_the_ladder_uses_none(rng, residual):
    matrix, b = diffusion(15, rng, 20.0), rng.standard_normal(225)
    solver = SequenceSolver("cg", "cholesky", refresh="rental")
    mat = to_mat(matrix)
    failed, state = solver.solve(mat, to_vec(mat, b), solver.init())
    assert failed.reason is Reason.NOT_POSITIVE_DEFINITE and state.reference is None
    result, state, attempts = solve_or_escalate(solver, mat, to_vec(mat, b), state)
    assert residual(matrix, result.solution, b) <= 1e-8
    assert attempts[0].reason is Reason.NOT_POSITIVE_DEFINITE


def test_a_direct_solver_factors_symmetric_matrices_by_cholesky(rng, residual):
    lap, b = laplacian(12), rng.standard_normal(144)
    indefinite = sp.csr_array(lap - 1.5 * sp.eye_array(144))
    solver = SequenceSolver("direct", "cholesky", tolerance=1e-12)
    for matrix in (lap, indefinite):
        solutions, results, _ = run(solver, [matrix], b)
        assert results[0].converged and results[0].iterations <= 2
        np.testing.assert_allclose(matrix @ solutions[0], b, atol=1e-10)
    mat = to_mat(diffusion(12, rng, 5.0))
    rhs = to_vec(mat, b)
    result, _, attempts = solve_or_escalate(solver, mat, rhs, solver.init())
    assert [(a.method, a.preconditioner) for a in attempts] == [("direct", "cholesky")]
    assert result.converged and result.method == "direct"


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="use always or rental"):
        SequenceSolver("cg", refresh="never")
    with pytest.raises(ValueError, match="reused by an iterative method"):
        SequenceSolver("direct", refresh="rental")
    shell = PETSc.Mat().createPython((4, 4), comm=PETSc.COMM_SELF)
    shell.setPythonContext(type("Identity", (), {"mult": lambda self, mat, x, y: x.copy(y)})())
    shell.setUp()
    solver = SequenceSolver("cg", "none", refresh="rental")
    rhs = shell.createVecLeft()
    rhs.set(1.0)
    with pytest.raises(ValueError, match="no entries to copy"):
        solver.solve(shell, rhs, solver.init())


# The rule, on made-up costs: iterations of 1 second, a refresh of PRICE seconds.

PRICE = 20.0


def spend(costs):
    """Return the refreshes of the rule and its total cost, own systems being free.

    Args:
        costs: (systems, systems), iterations of a system (row) with the preconditioner of an
            reference (column).
    """
    rental = SkiRental().after_refresh(0, PRICE, 0.0)
    # The first young ones cost nothing more than they must, so that the level is 1.
    for _ in range(FIRST_NEIGHBOURS):
        rental = rental.after_neighbour(1, 1.0)
    reference, total, refreshes = 0, 0.0, []
    for system in range(1, len(costs)):
        if rental.due:
            rental = replace(rental.after_refresh(0, PRICE, 0.0), age=FIRST_NEIGHBOURS)
            reference, total = system, total + PRICE
            refreshes.append(system)
        else:
            cost = costs[system, reference]
            rental = rental.after_neighbour(int(1 + cost), 1.0 + cost)
            total += cost
    return refreshes, total


def best(costs):
    """Return the least cost of any choice of refreshes, by dynamic programming."""
    count = len(costs)
    least = np.full(count, np.inf)  # with a refresh at that system and all before paid
    least[0] = 0.0
    for new in range(1, count):
        for old in range(new):
            rent = costs[old + 1 : new, old].sum()
            least[new] = min(least[new], least[old] + rent + PRICE)
    ends = [least[old] + costs[old + 1 :, old].sum() for old in range(count)]
    return min(ends)


@pytest.mark.parametrize("seed", range(20))
def test_the_rule_costs_at_most_twice_as_much_as_the_best_one(seed):
    """On costs of an adversary for whom a newer reference is never worse than an older one."""
    rng = np.random.default_rng(seed)
    count, largest = 120, 4
    # A system costs more, the longer ago its reference was made.
    happened = np.cumsum(rng.choice([0, 0, 0, 1, 2], count) * rng.integers(1, 3))
    costs = np.minimum(np.maximum(happened[:, None] - happened[None, :], 0), largest)
    refreshes, total = spend(costs.astype(float))
    ratio = 2 + largest / PRICE
    # The last rent has not been paid off when the sequence ends.
    assert total <= ratio * best(costs.astype(float)) + PRICE + largest
    for old, new in pairwise([0, *refreshes]):
        assert PRICE <= costs[old + 1 : new, old].sum() < PRICE + largest


def test_independent_systems_keep_their_reference():
    rng = np.random.default_rng(5)
    rental = SkiRental().after_refresh(1, PRICE, 1.0)
    for iterations in rng.integers(9, 12, 200):
        rental = rental.after_neighbour(int(iterations), float(iterations))
        assert not rental.due


def test_a_neighbour_that_costs_more_than_a_refresh_pays_for_one_at_once():
    rental = SkiRental().after_refresh(1, PRICE, 1.0).after_neighbour(50, 50.0)
    assert rental.due
