# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""States and recordings saved by version 0.1.0 still load, and continue their sequences.

`saved/` holds states after the first systems of `sequence(8, ...)` with right-hand sides
b, 2b, 3b, ...: of each recycling method with the preconditioner of an earlier system
(`*_owner.npz`) and with projected initial guesses (`*_guess.npz`), and of automatic selection.
"""

from pathlib import Path

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
from systems import refill, sequence, to_mat, to_vec

from kryloset.krylov import Automatic, AutomaticState, Recording, SequenceSolver, SolverState

SAVED = Path(__file__).with_name("saved")

pytestmark = pytest.mark.skipif(
    PETSc.ScalarType is not np.float64, reason="saved by a PETSc with real double precision"
)


def proceed(solver, state, systems):
    """Solve further systems; return the results and the last state."""
    mat, results = to_mat(systems[0]), []
    b = np.random.default_rng(1).standard_normal(64)
    for number, system in enumerate(systems, start=state.systems):
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b * (1 + number)), state)
        assert result.converged
        results.append(result)
    return results, state


def assert_saves_the_same(state, path, copy):
    """Assert that a loaded state is saved under the names and with the values it came from."""
    state.save(copy)
    with np.load(path) as old, np.load(copy) as new:
        assert set(old) == set(new)
        for name in old:
            assert old[name].dtype == new[name].dtype
            np.testing.assert_array_equal(old[name], new[name])


@pytest.mark.parametrize("method", ["gcrodr", "rcg", "rminres"])
def test_a_state_with_a_shared_preconditioner(method, tmp_path):
    path = SAVED / f"{method}_owner.npz"
    state = SolverState.load(path)
    assert_saves_the_same(state, path, tmp_path / "copy.npz")
    factor = "lu" if method == "gcrodr" else "cholesky"
    solver = SequenceSolver(method=method, preconditioner=factor, restart=10, recycle=4,
                            refresh=(0,))  # fmt: skip
    results, after = proceed(solver, state, sequence(8, 6)[3:])
    # The first uses what was loaded, without a preconditioner of its own.
    assert results[0].recycled
    assert (after.systems, after.failures) == (6, 0)
    assert after.refreshes[: len(state.refreshes)] == state.refreshes
    assert state.systems not in after.refreshes


@pytest.mark.parametrize("method", ["gcrodr", "rcg", "rminres"])
def test_a_state_with_guesses(method, tmp_path):
    path = SAVED / f"{method}_guess.npz"
    state = SolverState.load(path)
    assert_saves_the_same(state, path, tmp_path / "copy.npz")
    solver = SequenceSolver(
        method=method, preconditioner="jacobi", restart=10, recycle=4, guess="projection"
    )
    (result,), _ = proceed(solver, state, sequence(8, 1))
    # The right-hand side is a multiple of those before.
    assert result.recycled and result.iterations == 0


def test_a_state_of_automatic_selection(tmp_path):
    path = SAVED / "automatic.npz"
    state = AutomaticState.load(path)
    assert_saves_the_same(state, path, tmp_path / "copy.npz")
    _, after = proceed(Automatic(), state, sequence(8, 9)[6:])
    assert (after.systems, after.failures) == (9, 0)
    assert after.recording.choices[:6] == state.recording.choices


def test_a_recording():
    text = (SAVED / "recording.json").read_text()
    recording = Recording.from_json(text)
    assert recording.to_json() == text.strip()
    assert recording == AutomaticState.load(SAVED / "automatic.npz").recording
    _, state = proceed(Automatic(replay=recording), Automatic().init(), sequence(8, 6))
    assert state.recording.choices == recording.choices
