# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The quickest strategy, found while solving: no unsuitable one is chosen, and replays agree."""

from dataclasses import replace
from typing import ClassVar

from mpi4py import MPI  # noqa: F401  (before petsc4py)

import numpy as np
import pytest
import scipy.sparse as sp
from systems import diffusion, laplacian, refill, sequence, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import SequenceSolver, SolveError, solve_or_escalate
from kryloset.krylov.automatic.policy import ALLOWANCE, PROMPT, TRIAL_SYSTEMS
from kryloset.krylov.automatic.recording import Recording
from kryloset.krylov.automatic.selection import Automatic
from kryloset.krylov.automatic.state import AutomaticState
from kryloset.krylov.automatic.strategies import choose_strategies, judge_factors
from kryloset.krylov.structure import Structure


def run(solver, systems, b, state=None):
    """Return the solutions and the last state; the systems refill one Mat."""
    mat, state, solutions = to_mat(systems[0]), state or solver.init(), []
    for system in systems:
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        assert result.converged
        solutions.append(result.solution.getArray().copy())
    return solutions, state


@pytest.mark.parametrize("wind", [0.0, 1.0])
def test_every_system_is_solved_and_the_best_strategy_is_used(wind, rng, residual):
    systems, b = sequence(20, 30, wind), rng.standard_normal(400)
    solutions, state = run(Automatic(tolerance=1e-10), systems, b)
    for system, x in zip(systems, solutions, strict=True):
        assert np.linalg.norm(b - system @ x) <= 1e-10 * np.linalg.norm(b)
    assert (state.systems, state.failures) == (30, 0)
    # Except the direct one, which the time of a reused factor may have ruled out.
    prompt = [i for i in range(PROMPT) if state.states[i] is not None]
    assert all(state.trials[i] >= 2 for i in prompt if state.strategies[i].method != "direct")
    assert state.best in prompt


class Timed(SequenceSolver):
    """A solver that reports made-up seconds, so that the choice is known in advance."""

    SECONDS: ClassVar = {"icc": 1.0, "sor": 1.2, "jacobi": 1.4, "none": 1.6}

    def solve(self, operator, rhs, state):
        """Solve, in the seconds of the preconditioner."""
        result, after = super().solve(operator, rhs, state)
        return replace(result, seconds_processor=self.SECONDS[self.preconditioner]), after


def test_trials_take_no_more_than_their_allowance(rng):
    strategies = tuple(Timed("cg", preconditioner) for preconditioner in Timed.SECONDS)
    _, state = run(Automatic(strategies=strategies), sequence(10, 300), rng.standard_normal(100))
    assert state.best == 0 and len(set(state.choices[PROMPT * TRIAL_SYSTEMS :])) > 1
    assert 0 < state.overhead <= ALLOWANCE * state.spent


def test_indefinite_systems_are_not_given_to_cg(rng, residual):
    matrix = sp.csr_array(laplacian(15) - 1.5 * sp.eye_array(225))
    b = rng.standard_normal(225)
    solutions, state = run(Automatic(), [matrix] * 8, b)
    assert not {strategy.method for strategy in state.strategies} & {"cg", "rcg"}
    for x in solutions:
        assert np.linalg.norm(b - matrix @ x) <= 1e-8 * np.linalg.norm(b)


@pytest.mark.parametrize("wind", [0.0, 1.0])
def test_a_replay_is_bit_identical(wind, rng, tmp_path):
    systems, b = sequence(20, 25, wind), rng.standard_normal(400)
    expected, state = run(Automatic(), systems, b)
    recording = Recording.from_json(state.recording.to_json())
    assert recording == state.recording and len(recording.choices) == 25
    assert all(strategy.refresh != "rental" for strategy in recording.strategies)
    again, last = run(Automatic(replay=recording), systems, b)
    for one, other in zip(expected, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert last.recording.choices == recording.choices

    _, half = run(Automatic(replay=recording), systems[:11], b)
    half.save(tmp_path / "state.npz")
    resumed, _ = run(
        Automatic(replay=recording), systems[11:], b, AutomaticState.load(tmp_path / "state.npz")
    )
    for one, other in zip(expected[11:], resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    mat = to_mat(systems[0])
    with pytest.raises(KrylosetError, match="selection is for 25 systems"):
        Automatic(replay=recording).solve(mat, to_vec(mat, b), last)


def test_a_run_continues_from_a_saved_state(rng, tmp_path):
    systems, b = sequence(15, 12), rng.standard_normal(225)
    _, state = run(Automatic(), systems, b)
    state.save(tmp_path / "state.npz")
    loaded = AutomaticState.load(tmp_path / "state.npz")
    for name in (
        "strategies",
        "trials",
        "recent",
        "usual",
        "choices",
        "spent",
        "iterations",
        "until",
    ):
        assert getattr(loaded, name) == getattr(state, name)
    assert loaded.recording == state.recording
    _, after = run(Automatic(), systems, b, loaded)
    assert after.systems == 24
    (tmp_path / "state.npz").write_bytes(b"cut")
    with pytest.raises(KrylosetError, match="not a readable solver state"):
        AutomaticState.load(tmp_path / "state.npz")


def test_the_quicker_of_two_strategies_is_chosen(rng):
    """GMRES without a preconditioner takes fifty times as long as CG with one factor for all."""
    systems, b = sequence(60, 24), rng.standard_normal(3600)
    slow = SequenceSolver("gmres", "none", max_iterations=100_000)
    quick = SequenceSolver("cg", "cholesky", refresh="rental")
    for strategies in ((slow, quick), (quick, slow)):
        _, state = run(Automatic(strategies=strategies), systems, b)
        assert state.strategies[state.best] == quick
        assert state.choices.count(strategies.index(quick)) >= 24 - 2 * TRIAL_SYSTEMS
    # The slow strategy was given up in its first trial, and solved nothing.
    assert slow not in state.recording.strategies and set(state.recording.choices) == {0}


@pytest.mark.parametrize(("factor", "tried"), [(1.0, True), (1e9, False)])
def test_direct_is_not_tried_first_if_a_factor_takes_long(factor, tried, rng):
    """The factor of a reference has shown how long one takes."""
    strategies = (
        SequenceSolver("cg", "cholesky", refresh="rental"),
        SequenceSolver("direct", "cholesky"),
    )
    systems, b = sequence(20, TRIAL_SYSTEMS + 1), rng.standard_normal(400)
    solver = Automatic(strategies=strategies)
    _, state = run(solver, systems[:TRIAL_SYSTEMS], b)
    held = state.states[0]
    assert state.choices == (0,) * TRIAL_SYSTEMS and held.ski_rental.price > 0
    price = factor * state.usual[0]
    held = replace(held, ski_rental=replace(held.ski_rental, price=price))
    state = replace(state, states=(held, *state.states[1:]))
    _, after = run(solver, systems[TRIAL_SYSTEMS:], b, state)
    assert after.choices[-1] == int(tried)


def test_a_strategy_that_fails_is_replaced_in_the_same_system(rng, residual):
    matrix, b = diffusion(15, rng, 30.0), rng.standard_normal(225)
    strategies = (SequenceSolver("cg", "icc"), SequenceSolver("gmres", "ilu"))
    solutions, state = run(Automatic(strategies=strategies), [matrix] * 4, b)
    assert state.choices == (1, 1, 1, 1) and state.states[0] is None
    assert np.linalg.norm(b - matrix @ solutions[0]) <= 1e-8 * np.linalg.norm(b)


def test_the_ladder_takes_over_when_all_strategies_fail(rng, residual):
    matrix, b = diffusion(15, rng, 30.0), rng.standard_normal(225)
    mat = to_mat(matrix)
    solver = Automatic(strategies=(SequenceSolver("cg", "icc"),))
    result, state, attempts = solve_or_escalate(solver, mat, to_vec(mat, b), solver.init())
    assert residual(matrix, result.solution, b) <= 1e-8
    assert [a.method for a in attempts] == ["cg"] and state.failures == 1
    result, state, _ = solve_or_escalate(solver, mat, to_vec(mat, b), state)
    assert result.converged and state.systems == 2
    ones = sp.csr_array(np.ones((3, 3)))
    with pytest.raises(SolveError):
        mat = to_mat(ones)
        solve_or_escalate(solver, mat, to_vec(mat, np.arange(3.0)), solver.init())


def test_zero_right_hand_sides_say_nothing_about_a_strategy(rng):
    matrix = laplacian(10)
    mat, solver = to_mat(matrix), Automatic()
    state = solver.init()
    for _ in range(5):
        result, state = solver.solve(mat, to_vec(mat, np.zeros(100)), state)
        assert result.converged and result.solution.norm() == 0.0
    assert set(state.trials) == {0}
    result, state = solver.solve(mat, to_vec(mat, rng.standard_normal(100)), state)
    assert result.converged


def test_every_system_may_have_its_own_mesh(rng, residual):
    solver = Automatic()
    state = solver.init()
    for size in (10, 12, 11, 12, 10, 13, 14, 15):
        matrix, b = laplacian(size), rng.standard_normal(size**2)
        mat = to_mat(matrix)
        result, state = solver.solve(mat, to_vec(mat, b), state.for_operator(mat))
        assert residual(matrix, result.solution, b) <= 1e-8


def test_factors_are_tried_if_they_are_sparse():
    """The factors of a cube are less sparse than those of a square."""
    assert judge_factors(to_mat(laplacian(60))) == "light"
    assert judge_factors(to_mat(laplacian(90))) == "sparse"
    side = 16
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(side, side))
    eye = sp.eye_array(side)
    cube = sum(
        sp.kron(sp.kron(*parts[:2]), parts[2])
        for parts in ((line, eye, eye), (eye, line, eye), (eye, eye, line))
    )
    assert judge_factors(to_mat(sp.csr_array(cube))) == "dense"
    for structure in (Structure(True, True), Structure(True, False), Structure(False, False)):
        strategies = choose_strategies(structure, factors="dense", tolerance=1e-8, max_iterations=9)
        assert "rental" not in {
            one.refresh for one in strategies if one.preconditioner in ("lu", "cholesky")
        }
        assert {strategy.max_iterations for strategy in strategies} == {9}


def test_a_file_that_does_not_hold_a_recording_is_named():
    for text in ("", "{}", '{"ways": [], "choices": [0]}'):
        with pytest.raises(KrylosetError, match="not a recorded selection"):
            Recording.from_json(text)


def test_a_solve_leaves_its_earlier_state_unchanged(rng):
    systems, b = sequence(15, 3), rng.standard_normal(225)
    solver = Automatic()
    _, state = run(solver, systems, b)
    before = replace(state)
    run(solver, systems, b, state)
    for name in ("trials", "recent", "usual", "choices", "spent"):
        assert getattr(state, name) == getattr(before, name)


@pytest.mark.parametrize(
    ("structure", "methods"),
    [
        (Structure(True, False, saddle_point=True), {"direct"}),
        (Structure(True, True, singular=True, constant=True), {"cg"}),
        (Structure(False, False, singular=True), {"bicgstab", "rbicgstab", "gcrodr", "gmres"}),
    ],
)
@pytest.mark.parametrize("factors", ["light", "sparse", "dense"])
def test_strategies_fit_the_structure(structure, methods, factors):
    strategies = choose_strategies(structure, factors=factors, tolerance=1e-8, max_iterations=100)
    assert {strategy.method for strategy in strategies} == methods
    if structure.singular:
        # Except a factor that is made once: its first use shows at once whether it works.
        kept = strategies[1:] if structure.constant else strategies
        assert not {strategy.preconditioner for strategy in kept} & {"lu", "cholesky"}


@pytest.mark.parametrize("wind", [0.0, 1.0])
def test_a_constant_matrix_is_factored_once_and_applied_in_one_iteration(wind, rng):
    (system,), mat = sequence(20, 1, wind), None
    mat = to_mat(system)
    structure = Structure(wind == 0.0, wind == 0.0, constant=True)
    given = {"factors": "light", "tolerance": 1e-8, "max_iterations": 99}
    solver = Automatic(strategies=choose_strategies(structure, **given)[:1])
    state = solver.init()
    for _ in range(20):
        result, state = solver.solve(mat, to_vec(mat, rng.standard_normal(400)), state)
        assert result.converged and result.iterations <= 2
    first = state.strategies[0]
    assert first.preconditioner in ("cholesky", "lu") and first.refresh == "always"


def test_a_single_strategy_is_not_on_trial(rng):
    """The only strategy may take many more iterations on one system than on those before."""
    easy, hard = sp.csr_array(laplacian(15) + 100 * sp.eye_array(225)), sp.csr_array(laplacian(15))
    strategy = SequenceSolver("cg", "none", 1e-10, refresh="rental")
    _, state = run(
        Automatic(strategies=(strategy,)), [easy, easy, hard, hard], rng.standard_normal(225)
    )
    assert state.failures == 0 and state.choices == (0, 0, 0, 0)
