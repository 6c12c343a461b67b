# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Automatic selection on ensembles: few trials, and a replay with the same bits."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from ensembles import columns_of, refill, to_ensemble, to_rhs
from systems import sequence, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import (
    Automatic,
    AutomaticState,
    Recording,
    Structure,
    solve_or_escalate,
)
from kryloset.krylov.automatic import selection
from kryloset.krylov.automatic.policy import INTERVAL
from kryloset.krylov.automatic.strategies import FALLBACKS, choose_strategies

if PETSc.ScalarType is not np.float64:
    pytest.skip("ensembles have real numbers", allow_module_level=True)

COUNT, LANES = 9, 4


def run(solver, systems, b, state=None):
    """Solve groups of systems; return the columns of their solutions and the states."""
    mat = to_ensemble(systems[:LANES], LANES)
    state = solver.init() if state is None else state
    columns, states = [], []
    for first in range(0, len(systems), LANES):
        refill(mat, systems[first : first + LANES])
        rhs = to_rhs(mat, b[:, first : first + LANES])
        result, state = solver.solve(mat, rhs, state)
        assert result.converged
        columns.append(columns_of(mat, result.solution))
        states.append(state)
    return np.concatenate(columns, axis=1), states


@pytest.mark.parametrize("wind", [0.0, 3.0])
def test_ensembles_are_solved_together_and_replayed_bit_for_bit(wind, tmp_path):
    systems = sequence(8, COUNT * LANES, wind)
    b = np.random.default_rng(0).standard_normal((64, COUNT * LANES))
    solver = Automatic()
    x, states = run(solver, systems, b)
    for lane, matrix in enumerate(systems):
        left = b[:, lane] - matrix @ x[:, lane]
        assert np.linalg.norm(left) <= 1e-8 * np.linalg.norm(b[:, lane])
    last = states[-1]
    assert last.systems == COUNT
    assert last.strategies[0].lanes == LANES
    assert solver.used(last).lanes == LANES
    # A replay, from the beginning and from a saved state in its middle.
    recording = Recording.from_json(last.recording.to_json())
    replay = Automatic(replay=recording)
    again, followed = run(replay, systems, b)
    np.testing.assert_array_equal(again, x)
    followed[3].save(tmp_path / "state.npz")
    loaded = AutomaticState.load(tmp_path / "state.npz")
    rest, _ = run(replay, systems[4 * LANES :], b[:, 4 * LANES :], loaded)
    np.testing.assert_array_equal(rest, x[:, 4 * LANES :])


def test_a_strategy_of_one_lane_is_tried_on_two_lanes_and_forgotten(monkeypatch):
    asked = []
    timed = selection._time

    def counted(strategy, operator, rhs, held):
        asked.append((strategy.lanes, operator.getSize()[0]))
        result, after, _ = timed(strategy, operator, rhs, held)
        # The one is quick, the other a hundred times slower for each system.
        return result, after, 1.0 if strategy.lanes > 1 else 100.0 / LANES

    monkeypatch.setattr(selection, "_time", counted)
    monkeypatch.setattr("kryloset.krylov.automatic.policy.ALLOWANCE", 1e9)
    systems = sequence(6, 5 * LANES)
    b = np.random.default_rng(0).standard_normal((36, 5 * LANES))
    strategies = choose_strategies(
        Structure(True, True), factors="sparse", tolerance=1e-8, max_iterations=99, lanes=LANES
    )
    _, states = run(Automatic(strategies=strategies), systems, b)
    last = states[-1]
    assert set(last.choices) == {0}
    assert [held.workspace is not None for held in last.states] == [True, False, False]
    alone = [number for number, one in enumerate(strategies) if one.lanes == 1]
    assert len(alone) == FALLBACKS
    assert [last.usual[number] for number in alone] == [100.0, 100.0]
    # The closest of them once more.
    assert asked.count((1, 36)) == 2 * FALLBACKS + 2
    assert (1, 36 * LANES) not in asked


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1), (1e3, INTERVAL + 2)])
def test_the_second_strategy_waits_unless_the_first_takes_many_iterations(shift, expected):
    count = (INTERVAL + 3) * LANES
    systems = [sp.csr_array(one + shift * sp.eye_array(81)) for one in sequence(9, count)]
    strategies = choose_strategies(
        Structure(True, True), factors="dense", tolerance=1e-8, max_iterations=99, lanes=LANES
    )
    b = np.random.default_rng(0).standard_normal((81, count))
    _, states = run(Automatic(strategies=strategies), systems, b)
    assert [one.preconditioner for one in strategies[:2]] == ["icc", "cholesky"]
    assert next(turn for turn, state in enumerate(states) if state.trials[1]) == expected


def test_one_system_is_solved_by_the_strategies_of_ensembles(residual):
    systems = sequence(7, 9)
    b = np.random.default_rng(0).standard_normal((49, 9))
    solver = Automatic()
    _, states = run(solver, systems[:8], b[:, :8])
    mat = to_mat(systems[8])
    result, _, attempts = solve_or_escalate(solver, mat, to_vec(mat, b[:, 8]), states[-1])
    assert residual(systems[8], result.solution, b[:, 8]) <= 1e-8
    assert attempts == ()


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_a_false_claim_of_definite_matrices_is_named_or_does_no_harm(shift):
    systems = [sp.csr_array(one - shift * sp.eye_array(225)) for one in sequence(15, 4)]
    b = np.random.default_rng(0).standard_normal((225, 4))
    mat, solver = to_ensemble(systems, 4), Automatic(structure=Structure(True, True))
    try:
        result, _, _ = solve_or_escalate(solver, mat, to_rhs(mat, b), solver.init())
    except KrylosetError as error:
        assert shift and "declared positive definite" in str(error)
        return
    for system, x, one in zip(systems, columns_of(mat, result.solution).T, b.T, strict=True):
        assert np.linalg.norm(one - system @ x) <= 1e-8 * np.linalg.norm(one)


def test_a_false_claim_is_named_where_a_method_fails():
    # Its determinant is -1, and its second pivot 0.
    matrix = sp.csr_array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    mat, solver = to_ensemble([matrix] * 4, 4), Automatic(structure=Structure(True, True))
    with pytest.raises(KrylosetError, match="declared positive definite"):
        solver.solve(mat, to_rhs(mat, np.ones((3, 4))), solver.init())


def test_a_lane_that_fails_goes_alone_and_the_strategy_stays():
    systems = sequence(7, 8)
    b = np.random.default_rng(0).standard_normal((49, 8))
    solver = Automatic(structure=Structure(True, True))
    _, states = run(solver, systems[:4], b[:, :4])
    systems[5] = sequence(7, 1, wind=30.0)[0]
    mat = to_ensemble(systems[4:], 4)
    rhs = to_rhs(mat, b[:, 4:])
    result, after, attempts = solve_or_escalate(solver, mat, rhs, states[-1])
    assert result.converged
    assert {attempt.lane for attempt in attempts} == {1}
    assert after.choices[-1] == 0
    assert after.failures == 1


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (Structure(True, True), "cg + cholesky, 8 lanes"),
        (Structure(True, True, singular=True), "cg + cholesky, 8 lanes"),
        (Structure(True, False), "gmres + cholesky, 8 lanes"),
        (Structure(True, False, saddle_point=True), "gmres + cholesky, 8 lanes"),
        (Structure(False, False), "gmres + lu, 8 lanes"),
    ],
)
def test_factors_of_ensembles_are_tried_first_in_a_plane(structure, expected):
    given = {"tolerance": 1e-8, "max_iterations": 100, "lanes": 8}
    strategies = choose_strategies(structure, factors="light", multigrid=True, **given)
    assert strategies[0].label == expected
    lanes = [one.lanes for one in strategies]
    assert lanes == sorted(lanes, reverse=True)
    assert 1 <= lanes.count(1) <= 2


@pytest.mark.parametrize(
    ("constant", "multigrid", "expected"),
    [
        (False, True, ["multigrid"]),
        (True, True, ["multigrid", "cholesky"]),
        (False, False, ["icc", "cholesky"]),
    ],
)
def test_sweeps_of_ensembles_are_tried_first_in_space(constant, multigrid, expected):
    given = {"tolerance": 1e-8, "max_iterations": 100, "lanes": 16, "multigrid": multigrid}
    structure = Structure(True, True, constant=constant)
    strategies = choose_strategies(structure, factors="dense", **given)
    together = [one.preconditioner for one in strategies if one.lanes == 16]
    assert together == expected


def test_of_large_factors_and_multigrid_the_latter_is_tried_first():
    given = {"tolerance": 1e-8, "max_iterations": 100, "lanes": 16, "multigrid": True}
    for factors, expected in (
        ("light", ["cholesky", "multigrid"]),
        ("sparse", ["multigrid", "cholesky"]),
    ):
        strategies = choose_strategies(Structure(True, True), factors=factors, **given)
        assert [one.preconditioner for one in strategies if one.lanes == 16] == expected
