# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The lanes of an ensemble are solved together, each as well as alone."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from ensembles import columns_of, refill, to_ensemble, to_rhs
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import refill as refill_one
from systems import sequence, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import (
    LaneError,
    Reason,
    SequenceSolver,
    SolverState,
    solve_or_escalate,
)
from kryloset.krylov.ensemble import solver as module
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.ensemble.solver import VECTORS
from kryloset.krylov.ensemble.vectors import Vectors

if PETSc.ScalarType is not np.float64:
    pytest.skip("ensembles have real numbers", allow_module_level=True)

SYMMETRIC = SequenceSolver(method="cg", preconditioner="jacobi", lanes=16)
GENERAL = SequenceSolver(method="gmres", preconditioner="jacobi", lanes=16)
EACH = {
    "cg jacobi": (SYMMETRIC, 0.0),
    "cg icc": (SYMMETRIC.change(preconditioner="icc"), 0.0),
    "cg cholesky": (SYMMETRIC.change(preconditioner="cholesky"), 0.0),
    "gmres jacobi": (GENERAL, 3.0),
    "gmres lu": (GENERAL.change(preconditioner="lu"), 3.0),
}
EVERY = pytest.mark.parametrize(("solver", "wind"), EACH.values(), ids=EACH)


def right_sides(rows, count, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, count))


def residuals(matrices, b, x):
    """Return relative residuals computed with SciPy."""
    return [
        np.linalg.norm(b[:, lane] - matrix @ x[:, lane]) / np.linalg.norm(b[:, lane])
        for lane, matrix in enumerate(matrices)
    ]


@EVERY
@settings(max_examples=15)
@given(
    order=st.permutations(range(7)),
    count=st.integers(1, 7),
    widths=st.sampled_from([(4, 4), (8, 4), (8, 8), (16, 4), (16, 8), (16, 16)]),
)
def test_a_lane_has_the_bits_that_it_has_alone(solver, wind, order, count, widths):
    width, lanes = widths
    systems = sequence(7, 7, wind)
    b = right_sides(49, 7)
    chosen = order[: min(count, width)]
    matrices = [systems[number] for number in chosen]
    mat = to_ensemble(matrices, width)
    narrow = solver.change(lanes=lanes)
    result, _ = narrow.solve(mat, to_rhs(mat, b[:, chosen]), narrow.init())
    assert result.converged
    x = columns_of(mat, result.solution)
    assert max(residuals(matrices, b[:, chosen], x)) <= solver.tolerance
    for lane, number in enumerate(chosen):
        alone = to_ensemble([systems[number]], lanes)
        found, _ = narrow.solve(alone, to_rhs(alone, b[:, [number]]), narrow.init())
        np.testing.assert_array_equal(columns_of(alone, found.solution)[:, 0], x[:, lane])
        assert result.lanes[lane].iterations == found.lanes[0].iterations


@EVERY
def test_the_result_tells_the_truth_of_each_lane(solver, wind):
    matrices = sequence(8, 5, wind)
    b = right_sides(64, 5)
    mat = to_ensemble(matrices)
    result, after = solver.solve(mat, to_rhs(mat, b), solver.init())
    expected = residuals(matrices, b, columns_of(mat, result.solution))
    found = [lane.true_residual for lane in result.lanes]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-13)
    assert len(result.lanes) == 5
    assert result.true_residual == max(found)
    assert result.iterations == sum(lane.iterations for lane in result.lanes)
    assert (after.systems, after.failures) == (5, 0)
    # Idle lanes hold nothing.
    assert not result.solution.array.reshape(-1, 16)[:, 5:].any()


def test_a_lane_takes_fewer_iterations_than_all_together():
    """CG takes a step for each eigenvalue: one in each lane, and one for each lane in PETSc's."""
    matrices = [sp.csr_array((lane + 1.0) * sp.eye_array(40)) for lane in range(8)]
    mat = to_ensemble(matrices, 8)
    b = to_rhs(mat, np.ones((40, 8)))
    solver = SYMMETRIC.change(lanes=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "analyse", lambda *_, **__: Identity())
        result, _ = solver.solve(mat, b, solver.init())
    assert [lane.iterations for lane in result.lanes] == [1] * 8
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setType("cg")
    ksp.getPC().setType("none")
    ksp.setTolerances(rtol=1e-12)
    ksp.solve(b, b.duplicate())
    assert ksp.getIterationNumber() == 8


def test_gmres_solves_in_as_many_steps_as_there_are_eigenvalues(rng):
    # Of lane l there are l + 1 different ones.
    values = [rng.choice(np.arange(1.0, lane + 2), 40) for lane in range(8)]
    matrices = [sp.csr_array(np.diag(v)) for v in values]
    mat = to_ensemble(matrices, 8)
    solver = GENERAL.change(lanes=8, tolerance=1e-10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "analyse", lambda *_, **__: Identity())
        result, _ = solver.solve(mat, to_rhs(mat, np.ones((40, 8))), solver.init())
    assert result.converged
    assert [lane.iterations for lane in result.lanes] == [len(np.unique(v)) for v in values]


class Identity:
    """No preconditioner."""

    bytes = 0

    def set_up(self, entries):
        """Take anything."""
        return np.ones(entries.shape[1], dtype=bool)

    def apply(self, x, y):
        """Do nothing."""
        y[:] = x


@EVERY
@pytest.mark.parametrize(
    "harm",
    ["nan in A", "inf in A", "nan in b", "inf in b", "zero diagonal", "singular", "indefinite"],
)
def test_a_bad_lane_harms_no_other(solver, wind, harm):
    matrices, b = sequence(7, 4, wind), right_sides(49, 4)
    good = to_ensemble(matrices)
    expected, _ = solver.solve(good, to_rhs(good, b), solver.init())
    bad = matrices[2].copy()
    match harm:
        case "nan in A":
            bad.data[3] = np.nan
        case "inf in A":
            bad.data[:] = np.inf
        case "nan in b":
            b[5, 2] = np.nan
        case "inf in b":
            b[:, 2] = np.inf
        case "zero diagonal":
            bad.setdiag(0.0)
        case "singular":
            bad.data[bad.indptr[9] : bad.indptr[10]] = 0.0
        case "indefinite":
            bad.setdiag(bad.diagonal() - 4.0)
    matrices[2] = bad
    mat = to_ensemble(matrices)
    result, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    x = columns_of(mat, result.solution)
    others = [0, 1, 3]
    np.testing.assert_array_equal(x[:, others], columns_of(good, expected.solution)[:, others])
    assert all(result.lanes[lane].converged for lane in others)
    assert np.isfinite(x).all()
    # Refinement by a factor, and GMRES, solve indefinite systems, too.
    general = solver.method == "gmres" or solver.preconditioner == "cholesky"
    if harm in ("zero diagonal", "indefinite") and general:
        assert result.lanes[2].true_residual <= 1.0
    else:
        assert not result.lanes[2].converged
        assert not result.converged
    if "in b" in harm:
        assert result.lanes[2].reason is Reason.NON_FINITE


def test_a_lane_that_misses_goes_alone_and_the_others_are_kept():
    matrices, b = sequence(7, 4), right_sides(49, 4)
    matrices[1] = matrices[1].copy()
    matrices[1].setdiag(matrices[1].diagonal() - 4.0)
    mat = to_ensemble(matrices)
    rhs = to_rhs(mat, b)
    alone, _ = SYMMETRIC.solve(mat, rhs, SYMMETRIC.init())
    result, after, attempts = solve_or_escalate(SYMMETRIC, mat, rhs, SYMMETRIC.init())
    assert result.converged
    x = columns_of(mat, result.solution)
    np.testing.assert_array_equal(x[:, [0, 2, 3]], columns_of(mat, alone.solution)[:, [0, 2, 3]])
    assert max(residuals(matrices, b, x)) <= SYMMETRIC.tolerance
    assert {attempt.lane for attempt in attempts} == {1}
    assert [attempt.method for attempt in attempts[:2]] == ["cg", "cg"]
    assert result.lanes[1].method != "cg"
    assert [lane.method for lane in result.lanes].count("cg") == 3
    assert after.failures == 1


@pytest.mark.parametrize("compiled", [True, False])
def test_a_failed_solve_is_recorded_once(compiled, monkeypatch):
    """Without compiled kernels the lanes are solved one after another already."""
    matrices, b = sequence(7, 4), right_sides(49, 4)
    matrices[1] = matrices[1].copy()
    matrices[1].setdiag(matrices[1].diagonal() - 4.0)
    mat = to_ensemble(matrices)
    if not compiled:
        monkeypatch.setattr("kryloset.krylov.solver.load_kernels", lambda: None)
    _, _, attempts = solve_or_escalate(SYMMETRIC, mat, to_rhs(mat, b), SYMMETRIC.init())
    assert [attempt.method for attempt in attempts].count("cg") == 1 + compiled


def test_the_error_names_the_lane():
    matrices, b = sequence(5, 3), right_sides(25, 3)
    b[7, 1] = np.nan
    mat = to_ensemble(matrices)
    with pytest.raises(LaneError, match="b of A x = b has entries that are NaN") as caught:
        solve_or_escalate(SYMMETRIC, mat, to_rhs(mat, b), SYMMETRIC.init())
    assert caught.value.lane == 1
    assert isinstance(caught.value, KrylosetError)


@EVERY
def test_a_solve_begins_from_guesses_that_are_better_than_zero(solver, wind):
    matrices, b = sequence(7, 6, wind), right_sides(49, 6)
    mat = to_ensemble(matrices)
    exact = np.stack(
        [sp.linalg.spsolve(A.tocsc(), c) for A, c in zip(matrices, b.T, strict=True)], axis=1
    )
    guess = np.ones((49, 16))
    guess[:, :6] = exact
    guess[:, 2] += 1e-4 * right_sides(49, 1)[:, 0]
    guess[:, 3], guess[5, 4], guess[:, 5] = 1e30, np.nan, 1e-9
    ensemble_of(mat).guess = guess
    result, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    assert result.converged
    x = columns_of(mat, result.solution)
    assert max(residuals(matrices, b, x)) <= solver.tolerance
    np.testing.assert_array_equal(x[:, :2], exact[:, :2])
    counts = [(lane.iterations, lane.operator_applications) for lane in result.lanes]
    assert counts[:2] == [(0, 1), (0, 1)]
    # What is no guess is none.
    ensemble_of(mat).guess = None
    expected, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    for lane in (3, 4):
        np.testing.assert_array_equal(x[:, lane], columns_of(mat, expected.solution)[:, lane])


def test_one_factor_for_all_lanes_takes_one_application_and_one_residual():
    solver = SYMMETRIC.change(preconditioner="cholesky")
    mat = to_ensemble(sequence(9, 1), constant=True)
    result, _ = solver.solve(mat, to_rhs(mat, right_sides(81, 16)), solver.init())
    for lane in result.lanes:
        counts = (lane.operator_applications, lane.preconditioner_applications)
        assert (lane.iterations, counts) == (1, (1, 1))
        assert lane.true_residual < 1e-13


@EVERY
def test_a_right_side_of_zero_has_the_solution_zero(solver, wind):
    matrices, b = sequence(6, 3, wind), right_sides(36, 3)
    b[:, 1] = 0.0
    mat = to_ensemble(matrices)
    result, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    assert result.converged
    assert (result.lanes[1].iterations, result.lanes[1].true_residual) == (0, 0.0)
    x = columns_of(mat, result.solution)
    assert not x[:, 1].any()
    assert x[:, [0, 2]].any(axis=0).all()


@EVERY
@pytest.mark.parametrize("of_matrix", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("of_rhs", [1e-290, 1e-30, 1.0, 1e30, 1e250])
def test_coefficients_and_right_sides_of_any_size(solver, wind, of_matrix, of_rhs):
    matrices, b = sequence(6, 4, wind), right_sides(36, 4)
    matrices[1] = matrices[1] * of_matrix
    b[:, 2] *= of_rhs
    b[:, 1] *= of_rhs if of_matrix == 1.0 else 1.0
    mat = to_ensemble(matrices)
    result, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    assert result.converged
    x = columns_of(mat, result.solution)
    size = np.abs(b).max(axis=0)
    for lane, matrix in enumerate(matrices):
        left = b[:, lane] / size[lane] - matrix @ (x[:, lane] / size[lane])
        assert np.linalg.norm(left) <= 1e-8 * np.linalg.norm(b[:, lane] / size[lane])


@EVERY
def test_one_matrix_of_all_lanes(solver, wind):
    matrix, b = sequence(6, 1, wind)[0], right_sides(36, 16)
    mat = to_ensemble([matrix], constant=True)
    result, _ = solver.solve(mat, to_rhs(mat, b), solver.init())
    assert result.converged
    assert max(residuals([matrix] * 16, b, columns_of(mat, result.solution))) <= 1e-8


@EVERY
def test_new_entries_are_seen_and_old_ones_are_kept(solver, wind, monkeypatch):
    taken = []
    analyse = module.analyse

    def counted(*given, **named):
        made = analyse(*given, **named)
        set_up = made.set_up
        made.set_up = lambda entries: taken.append(1) or set_up(entries)
        return made

    monkeypatch.setattr(module, "analyse", counted)
    systems = sequence(6, 8, wind)
    b = right_sides(36, 4)
    mat = to_ensemble(systems[:4], 4)
    state = solver.init()
    for number, matrices in enumerate((systems[:4], systems[4:])):
        refill(mat, matrices)
        for _ in range(3):
            result, state = solver.solve(mat, to_rhs(mat, b), state)
            assert max(residuals(matrices, b, columns_of(mat, result.solution))) <= 1e-8
        assert len(taken) == number + 1
    assert state.systems == 24


def test_a_preconditioner_that_does_not_fit_gets_fewer_lanes(monkeypatch):
    matrices, b = sequence(6, 16), right_sides(36, 16)
    mat = to_ensemble(matrices)
    rhs = to_rhs(mat, b)
    whole, _ = SYMMETRIC.solve(mat, rhs, SYMMETRIC.init())
    vector = 36 * 4 * 8
    monkeypatch.setattr(module, "memory_limit", lambda: vector * (1 + VECTORS))
    result, _ = SYMMETRIC.solve(mat, rhs, SYMMETRIC.init())
    assert result.converged
    np.testing.assert_allclose(result.solution.array, whole.solution.array, rtol=1e-6)
    monkeypatch.setattr(module, "memory_limit", lambda: 100)
    result, _ = SYMMETRIC.solve(mat, rhs, SYMMETRIC.init())
    assert {lane.reason for lane in result.lanes} == {Reason.OUT_OF_MEMORY}
    result, _, attempts = solve_or_escalate(SYMMETRIC, mat, rhs, SYMMETRIC.init())
    assert result.converged
    assert len(attempts) == 16


@pytest.mark.parametrize(("directions", "lanes"), [(9, 8), (3, 4)])
def test_the_vectors_of_gmres_count_as_memory(directions, lanes, monkeypatch):
    matrices, b = sequence(6, 16, 3.0), right_sides(36, 16)
    mat, restarts = to_ensemble(matrices), set()
    original = module.iterate_gmres

    def noted(matrix, *given):
        restarts.add((matrix.lanes, given[-1]))
        return original(matrix, *given)

    monkeypatch.setattr(module, "iterate_gmres", noted)
    # The diagonals, and what eight lanes need for some directions.
    room = 36 * 8 * 8 * (1 + VECTORS + 2 * directions)
    monkeypatch.setattr(module, "memory_limit", lambda: room)
    result, _ = GENERAL.solve(mat, to_rhs(mat, b), GENERAL.init())
    assert result.converged
    ((found, restart),) = restarts
    assert found == lanes
    assert 36 * 8 * lanes * (1 + VECTORS + 2 * restart) <= room < GENERAL.restart * 2 * 36 * 8 * 8


@EVERY
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_lane_takes_more_iterations_than_it_may(solver, wind, limit, monkeypatch):
    """Those of further runs count, too."""
    monkeypatch.setattr(module, "INNER", 1e3)
    matrices, b = sequence(7, 16, wind), right_sides(49, 16)
    mat = to_ensemble(matrices)
    limited = solver.change(max_iterations=limit)
    result, _ = limited.solve(mat, to_rhs(mat, b), limited.init())
    assert max(lane.iterations for lane in result.lanes) <= limit
    for lane in result.lanes:
        assert lane.converged or lane.reason is Reason.ITERATION_LIMIT
        assert lane.converged == (lane.true_residual <= solver.tolerance)


class Rounded:
    """A stand-in for a factor: the inverse, with a relative error of each lane."""

    bytes = 0

    def __init__(self, matrix, errors):
        """Take the pattern, and an error for each lane."""
        self.matrix, self.errors = matrix, errors

    def set_up(self, entries):
        """Invert."""
        csr = (self.matrix.pattern.columns, self.matrix.pattern.offsets)
        rng = np.random.default_rng(0)
        self.inverses = []
        for lane in range(self.matrix.lanes):
            inverse = np.linalg.inv(sp.csr_array((entries[:, lane], *csr)).toarray())
            error = rng.standard_normal(len(inverse))
            scale = 1 + self.errors[lane % len(self.errors)] * np.abs(error)
            self.inverses.append(scale[:, None] * inverse * scale)
        return np.ones(self.matrix.lanes, dtype=bool)

    def apply(self, x, y):
        """Multiply by the inverses."""
        for lane, inverse in enumerate(self.inverses):
            y[:, lane] = inverse @ x[:, lane]


@pytest.fixture
def factors(monkeypatch):
    """Let factors be inverses, whose errors in single precision the test chooses."""
    made = []
    chosen = {"errors": [1e-6]}
    monkeypatch.setitem(module.__dict__, "FACTORS", ("jacobi",))

    def analyse(_, matrix, *, double):
        made.append(double)
        return Rounded(matrix, [1e-13] if double else chosen["errors"])

    monkeypatch.setattr(module, "analyse", analyse)
    return made, chosen


@pytest.mark.parametrize(("error", "double"), [(1e-6, False), (1.0, True)])
def test_the_first_ensemble_decides_on_the_precision(factors, error, double, tmp_path):
    made, chosen = factors
    chosen["errors"] = [error]
    systems = sequence(7, 8)
    b = right_sides(49, 4)
    mat = to_ensemble(systems[:4], 4)
    result, state = SYMMETRIC.solve(mat, to_rhs(mat, b), SYMMETRIC.init())
    assert result.converged
    assert state.double is double
    assert made == ([False, True] if double else [False])
    # A loaded state goes on with the same bits.
    state.save(tmp_path / "state.npz")
    loaded = SolverState.load(tmp_path / "state.npz")
    assert loaded.double is double
    refill(mat, systems[4:])
    found = [SYMMETRIC.solve(mat, to_rhs(mat, b), one)[0].solution for one in (state, loaded)]
    np.testing.assert_array_equal(found[0].array, found[1].array)


def test_a_lane_that_single_precision_misses_gets_double(factors):
    made, chosen = factors
    systems = sequence(7, 8)
    b = right_sides(49, 4)
    solver = SYMMETRIC.change(max_iterations=5)
    mat = to_ensemble(systems[:4], 4)
    _, state = solver.solve(mat, to_rhs(mat, b), solver.init())
    assert not state.double
    chosen["errors"][:] = [1e-6, 3.0, 1e-6, 1e-6]
    refill(mat, systems[4:])
    result, state = solver.solve(mat, to_rhs(mat, b), state)
    assert result.converged
    assert state.double
    assert made == [False, True]


def test_a_lane_alone_is_not_waited_for():
    # The last lane takes as many iterations as it has rows.
    matrices = [sp.csr_array(np.diag(np.full(400, 1.0))) for _ in range(8)]
    matrices[7] = sp.csr_array(np.diag(np.geomspace(1, 1e12, 400)))
    mat = to_ensemble(matrices, 8)
    solver = SequenceSolver(method="cg", preconditioner="jacobi", lanes=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "analyse", lambda *_, **__: Identity())
        result, _ = solver.solve(mat, to_rhs(mat, np.ones((400, 8))), solver.init())
    assert [lane.iterations for lane in result.lanes[:7]] == [1] * 7
    assert result.lanes[7].reason is Reason.ITERATION_LIMIT
    assert result.lanes[7].iterations <= 20


@pytest.mark.parametrize("method", ["gcrodr", "rcg"])
def test_recycling_goes_from_lane_to_lane(method):
    systems, b = sequence(8, 6), right_sides(64, 6)
    solver = SequenceSolver(method=method, preconditioner="jacobi", restart=20, recycle=6)
    state, expected = solver.init(), []
    mat = to_mat(systems[0])
    for lane, system in enumerate(systems):
        refill_one(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b[:, lane]), state)
        expected.append(result)
    mat = to_ensemble(systems, 8)
    together, after = solver.solve(mat, to_rhs(mat, b), solver.init())
    columns = np.stack([one.solution.array for one in expected], axis=1)
    np.testing.assert_array_equal(columns_of(mat, together.solution), columns)
    assert [lane.iterations for lane in together.lanes] == [one.iterations for one in expected]
    assert [lane.recycled for lane in together.lanes] == [False] + [True] * 5
    np.testing.assert_array_equal(after.space, state.space)
    # What was learnt serves the next ensemble.
    assert after.for_operator(mat).space is not None


def test_without_a_compiler_lanes_are_solved_one_after_another(monkeypatch):
    systems, b = sequence(6, 3), right_sides(36, 3)
    mat = to_ensemble(systems, 4)
    monkeypatch.setattr("kryloset.krylov.solver.load_kernels", lambda: None)
    result, _ = SYMMETRIC.solve(mat, to_rhs(mat, b), SYMMETRIC.init())
    assert max(residuals(systems, b, columns_of(mat, result.solution))) <= 1e-8


def test_vectors_are_made_once():
    work = Vectors(3, 4)
    first = work[1]
    assert work[1] is first
    assert work[0] is not first
    assert work[7].shape == (3, 4)
