# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Initial guesses from earlier solutions: exact in their span, of least residual outside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, refill, to_mat, to_vec

from kryloset.krylov import AutomaticState, SequenceSolver, SolverState, Structure
from kryloset.krylov.automatic.selection import choose_strategies
from kryloset.krylov.reuse.guess import MOST_DIRECTIONS

METHODS = [
    ("direct", "lu"),
    ("direct", "cholesky"),
    ("cg", "icc"),
    ("minres", "jacobi"),
    ("gmres", "ilu"),
    ("bicgstab", "ilu"),
    ("gcrodr", "ilu"),
    ("gmresdr", "ilu"),
    ("rcg", "icc"),
    ("rminres", "jacobi"),
    ("rbicgstab", "ilu"),
]


def make(method: str, preconditioner: str) -> SequenceSolver:
    return SequenceSolver(method, preconditioner, restart=20, recycle=8, guess="projection")


def smooth_sequence(count: int) -> list[np.ndarray]:
    """Right-hand sides that turn smoothly in a space of 400 dimensions."""
    base = np.random.default_rng(3).standard_normal((3, 400))
    return [base[0] + np.sin(t) * base[1] + np.exp(-t) * base[2] for t in 0.1 * np.arange(count)]


@pytest.mark.parametrize(("method", "preconditioner"), METHODS)
def test_a_solution_in_the_span_of_earlier_ones_takes_no_iteration(
    method, preconditioner, residual
):
    matrix = laplacian(20)
    mat, solver = to_mat(matrix), make(method, preconditioner)
    state, iterations = solver.init(), []
    # Stricter, so that combinations are within the tolerance of the last system.
    sharp = replace(solver, tolerance=1e-11)
    sides = smooth_sequence(4)
    for b in sides[:3]:
        result, state = sharp.solve(mat, to_vec(mat, b), state)
        assert result.converged
        iterations.append(result.iterations)
    result, after = solver.solve(mat, to_vec(mat, sides[3]), state)
    assert all(iterations)
    assert (result.iterations, result.preconditioner_applications) == (0, 0)
    assert result.operator_applications == 1
    assert result.recycled
    assert residual(matrix, result.solution, sides[3]) <= 1e-8
    assert len(after.guess.directions) == 3


@pytest.mark.parametrize(("method", "preconditioner"), METHODS)
def test_the_tolerance_is_on_the_right_hand_side(method, preconditioner, residual):
    matrix = laplacian(20)
    mat, solver = to_mat(matrix), make(method, preconditioner)
    plain = replace(solver, guess="none")
    state, plain_state, rng = solver.init(), plain.init(), np.random.default_rng(4)
    b, saved = rng.standard_normal(400), 0
    for _ in range(6):
        b = b + 1e-4 * rng.standard_normal(400)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        other, plain_state = plain.solve(mat, to_vec(mat, b), plain_state)
        assert result.converged
        assert residual(matrix, result.solution, b) <= 1e-8
        assert result.true_residual == pytest.approx(
            residual(matrix, result.solution, b), rel=1e-4, abs=1e-15
        )
        saved += other.iterations - result.iterations
    # Four of the eight digits are there; a factor needs one application either way.
    assert saved == 0 if method == "direct" else saved > 0


def test_the_guess_has_the_least_residual_and_images_are_orthonormal():
    matrix, rng = laplacian(20) + 0.1 * sp.eye_array(400), np.random.default_rng(5)
    mat, solver = to_mat(matrix), make("direct", "lu")
    state, solutions = solver.init(), []
    for _ in range(5):
        result, state = solver.solve(mat, to_vec(mat, rng.standard_normal(400)), state)
        solutions.append(result.solution.getArray().copy())
    b, images = rng.standard_normal(400), state.guess.images
    np.testing.assert_allclose(images @ images.T, np.eye(5), atol=1e-13)
    np.testing.assert_allclose(matrix @ state.guess.directions.T, images.T, atol=1e-12)
    found = matrix @ state.guess.combine(to_vec(mat, b))
    span = matrix @ np.array(solutions).T
    np.testing.assert_allclose(found, span @ np.linalg.lstsq(span, b)[0], atol=1e-11)


def test_applications_of_the_operator_are_counted():
    mat, solver = to_mat(laplacian(20)), make("direct", "lu")
    rng, state, counts = np.random.default_rng(6), solver.init(), []
    for _ in range(2):
        result, state = solver.solve(mat, to_vec(mat, rng.standard_normal(400)), state)
        counts.append(result.operator_applications)
    # The check and the new direction; then also the residual of the guess.
    assert counts == [2, 3]


def test_a_full_basis_begins_again_with_the_last_solution():
    mat, solver = to_mat(laplacian(20)), make("direct", "lu")
    rng, state, sizes = np.random.default_rng(7), solver.init(), []
    for _ in range(MOST_DIRECTIONS + 2):
        _, state = solver.solve(mat, to_vec(mat, rng.standard_normal(400)), state)
        sizes.append(len(state.guess.directions))
    assert sizes == [*range(1, MOST_DIRECTIONS + 1), 1, 2]


def test_another_matrix_gets_no_guess_and_the_same_entries_again_do():
    matrix = laplacian(20)
    mat, solver, b = to_mat(matrix), make("cg", "icc"), np.ones(400)
    _, state = solver.solve(mat, to_vec(mat, b), solver.init())
    refill(mat, matrix)
    again, _ = solver.solve(mat, to_vec(mat, b), state)
    assert (again.iterations, again.recycled) == (0, True)
    refill(mat, matrix + sp.eye_array(400))
    other, after = solver.solve(mat, to_vec(mat, b), state)
    assert other.converged
    assert other.iterations > 0
    assert not other.recycled
    assert len(after.guess.directions) == 1


@pytest.mark.parametrize(("method", "preconditioner"), [("cg", "icc"), ("rcg", "icc")])
def test_a_saved_state_goes_on_bit_for_bit(method, preconditioner, tmp_path: Path):
    mat, solver = to_mat(laplacian(20)), make(method, preconditioner)
    rng = np.random.default_rng(8)
    sides = [rng.standard_normal(400) for _ in range(6)]
    state = solver.init()
    for b in sides[:3]:
        _, state = solver.solve(mat, to_vec(mat, b), state)
    state.save(tmp_path / "state.npz")
    loaded, mat_again = SolverState.load(tmp_path / "state.npz"), to_mat(laplacian(20))
    for b in sides[3:]:
        one, state = solver.solve(mat, to_vec(mat, b), state)
        other, loaded = solver.solve(mat_again, to_vec(mat_again, b), loaded)
        np.testing.assert_array_equal(one.solution.getArray(), other.solution.getArray())
        assert one.operator_applications == other.operator_applications
    np.testing.assert_array_equal(state.guess.images, loaded.guess.images)


def test_a_failure_drops_the_guess():
    mat, solver = to_mat(laplacian(20)), make("cg", "icc")
    rng = np.random.default_rng(9)
    _, state = solver.solve(mat, to_vec(mat, rng.standard_normal(400)), solver.init())
    short = replace(solver, max_iterations=1)
    result, state = short.solve(mat, to_vec(mat, rng.standard_normal(400)), state)
    assert not result.converged
    assert state.guess is None


def test_time_steps_with_a_saddle_point_get_guesses_and_only_they():
    def guesses(**traits: bool) -> set[str]:
        structure = Structure(symmetric=True, definite=False, **traits)
        strategies = choose_strategies(
            structure, factors="sparse", tolerance=1e-8, max_iterations=9
        )
        return {strategy.guess for strategy in strategies}

    assert guesses(saddle_point=True, constant=True) == {"projection"}
    assert guesses(saddle_point=True) == guesses(constant=True) == {"none"}


def test_the_label_names_it_and_the_state_of_automatic_keeps_it(tmp_path: Path):
    solver = make("direct", "cholesky")
    assert solver.label == "direct + cholesky, guessed"
    AutomaticState(strategies=(solver,), states=(None,)).save(tmp_path / "state.npz")
    assert AutomaticState.load(tmp_path / "state.npz").strategies == (solver,)


def test_wrong_settings_of_guesses_are_refused():
    with pytest.raises(ValueError, match="use one of none, projection"):
        SequenceSolver(guess="pod")
    with pytest.raises(ValueError, match="use refresh always"):
        SequenceSolver("cg", "cholesky", refresh="rental", guess="projection")
