# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Solving sequences: reports are true, and nothing stale or failed is carried on."""

from dataclasses import replace
from typing import get_args

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import diffusion, laplacian, refill, sequence, to_mat, to_vec

from kryloset.errors import KrylosetError
from kryloset.krylov import Reason, SequenceSolver, SolveError, SolverState, solve_or_escalate
from kryloset.krylov.names import Method

PRECONDITIONERS = ("none", "jacobi", "bjacobi", "sor", "asm", "icc", "ilu")


def periodic(n: int) -> sp.csr_array:
    """Periodic 1-D Laplacian: singular, constants in the null space."""
    matrix = sp.lil_array(sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)))
    matrix[0, n - 1] = matrix[n - 1, 0] = -1.0
    return sp.csr_array(matrix)


def battery() -> dict[str, tuple[sp.csr_array, np.ndarray]]:
    """Return matrices that break careless solvers, with right-hand sides in their range."""
    rng = np.random.default_rng(1)
    lap = laplacian(15)
    mean_free = rng.standard_normal(100)
    rows = np.logspace(0, 12, 225)[rng.permutation(225)]
    grcar = sp.diags_array([-1.0, 1, 1, 1, 1], offsets=[-1, 0, 1, 2, 3], shape=(60, 60))
    return {
        "1x1": (sp.csr_array([[2.0]]), np.array([3.0])),
        "diagonal": (
            sp.csr_array(sp.diags_array(np.linspace(1, 1000, 200))),
            rng.standard_normal(200),
        ),
        "singular": (periodic(100), mean_free - mean_free.mean()),
        "nonnormal": (sp.csr_array(grcar), rng.standard_normal(60)),
        "indefinite": (sp.csr_array(lap - 1.5 * sp.eye_array(225)), rng.standard_normal(225)),
        "rows scaled": (sp.csr_array(sp.diags_array(rows) @ lap), rows * rng.standard_normal(225)),
        "scaled": (sp.csr_array(1e12 * lap), rng.standard_normal(225)),
    }


# Where the preconditioner is itself unfit: ILU(0) and ICC(0) of an indefinite matrix, ICC of
# a nonsymmetric one, no scaling of rows that differ by 1e12. There it depends on rounding
# whether the solve gets through, and what counts is that it says which.
UNFIT = {
    ("indefinite", "bjacobi"),
    ("indefinite", "asm"),
    ("indefinite", "icc"),
    ("indefinite", "ilu"),
    ("nonnormal", "icc"),
    ("rows scaled", "icc"),
    ("rows scaled", "none"),
}


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("name", battery())
def test_battery(name, preconditioner, residual):
    matrix, b = battery()[name]
    mat = to_mat(matrix)
    solver = SequenceSolver(preconditioner=preconditioner, max_iterations=2000)
    state = solver.init()
    another = matrix @ np.random.default_rng(2).standard_normal(len(b))
    for recycled, rhs in ((False, b), (True, another)):
        result, state = solver.solve(mat, to_vec(mat, rhs), state)
        computed = residual(matrix, result.solution, rhs)
        assert result.true_residual == pytest.approx(computed, rel=1e-3, abs=1e-15)
        if (name, preconditioner) in UNFIT:
            assert result.converged == (computed <= 1e-8)
            assert result.converged or state.space is None
        else:
            assert result.converged and computed <= 1e-8
            assert result.recycled == (recycled and len(b) > 1)


@pytest.mark.parametrize("name", battery())
@pytest.mark.parametrize("method", ["gmresdr", "rbicgstab", "rcg", "rminres"])
def test_battery_of_the_other_methods(method, name, residual):
    """Through five systems, so that BiCGStab gets its turn."""
    matrix = battery()[name][0]
    if method in ("rcg", "rminres") and name in ("nonnormal", "rows scaled"):
        pytest.skip("not symmetric")
    if (method, name) == ("rcg", "indefinite"):
        pytest.skip("not definite")
    rng = np.random.default_rng(2)
    for preconditioner in PRECONDITIONERS:
        solver = SequenceSolver(method, preconditioner, max_iterations=2000)
        mat, state = to_mat(matrix), solver.init()
        for _ in range(5):
            rhs = matrix @ rng.standard_normal(matrix.shape[0])
            result, state = solver.solve(mat, to_vec(mat, rhs), state)
            computed = residual(matrix, result.solution, rhs)
            assert result.true_residual == pytest.approx(computed, rel=1e-3, abs=1e-15)
            assert result.converged == (computed <= 1e-8)
            assert result.converged or (name, preconditioner) in UNFIT, preconditioner
            assert result.converged or state.space is None


@pytest.mark.parametrize("name", battery())
def test_the_ladder_solves_every_matrix_of_the_battery(name, residual):
    matrix, b = battery()[name]
    mat = to_mat(matrix)
    solver = SequenceSolver(preconditioner="icc", max_iterations=500)
    result, _, attempts = solve_or_escalate(solver, mat, to_vec(mat, b), solver.init())
    assert residual(matrix, result.solution, b) <= 1e-8
    assert len(attempts) <= (2 if (name, "icc") in UNFIT else 0)


METHODS = [m for m in get_args(Method) if m != "hpddm"]
RECYCLING = ("gcrodr", "rcg", "rminres", "rbicgstab")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preconditioner", ["none", "ilu", "gamg"])
def test_every_method_reaches_the_true_tolerance(method, preconditioner, rng, residual):
    solver = SequenceSolver(method, preconditioner, tolerance=1e-11)
    systems = sequence(20, 4)
    b = rng.standard_normal(400)
    mat = to_mat(systems[0])
    state = solver.init()
    for system in systems:
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        assert result.reason is Reason.CONVERGED
        assert residual(system, result.solution, b) <= 1e-11
    assert (state.systems, state.failures) == (4, 0)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "direct"])
def test_applications_are_counted_exactly(method, rng):
    """The counts equal those of a shell matrix and a shell preconditioner."""
    counted = {"mult": 0, "apply": 0}
    matrix = laplacian(25)

    class Operator:
        def mult(self, mat, x, y):
            counted["mult"] += 1
            y.setArray(matrix @ x.getArray(readonly=True))

    class Jacobi:
        def apply(self, pc, x, y):
            counted["apply"] += 1
            y.setArray(x.getArray(readonly=True) / 4)

    mat = PETSc.Mat().createPython((625, 625), Operator(), comm=PETSc.COMM_SELF)
    mat.setUp()
    solver = SequenceSolver(method, "none", restart=15, recycle=6)
    state = solver.init()
    rhs = to_vec(mat, rng.standard_normal(625))
    result, state = solver.solve(mat, rhs, state)
    # The same KSP, now with a preconditioner that counts.
    state.workspace.solver = solver = replace(solver, preconditioner="jacobi")
    pc = state.workspace.ksp.getPC()
    state.workspace.prepare = lambda: Reason.CONVERGED
    pc.setType("python")
    pc.setPythonContext(Jacobi())
    for _ in range(2):
        counted.update(mult=0, apply=0)
        rhs = to_vec(mat, rng.standard_normal(625))
        result, state = solver.solve(mat, rhs, state)
        assert result.operator_applications == counted["mult"] > result.iterations
        assert result.preconditioner_applications == counted["apply"] >= result.iterations
        assert result.recycled == (method in RECYCLING)


@pytest.mark.parametrize("method", ["gcrodr", "rcg", "rminres", "rbicgstab", "cg"])
def test_an_interrupt_within_a_solve_is_no_failure_of_the_method(method):
    """PETSc turns Ctrl-C into a PETSc error, which must not cause an escalation."""
    matrix = laplacian(10)

    class Operator:
        calls = 0

        def mult(self, mat, x, y):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            y.setArray(matrix @ x.getArray(readonly=True))

    mat = PETSc.Mat().createPython((100, 100), Operator(), comm=PETSc.COMM_SELF)
    mat.setUp()
    solver = SequenceSolver(method, "none")
    with pytest.raises(KeyboardInterrupt):
        solver.solve(mat, to_vec(mat, np.arange(100.0)), solver.init())


def test_a_zero_right_hand_side_has_the_zero_solution(rng):
    mat = to_mat(laplacian(10))
    solver = SequenceSolver()
    _, state = solver.solve(mat, to_vec(mat, rng.standard_normal(100)), solver.init())
    zero, after = solver.solve(mat, to_vec(mat, np.zeros(100)), state)
    assert zero.converged and zero.true_residual == 0.0 and zero.iterations == 0
    assert zero.solution.norm() == 0.0
    assert after.space is state.space and after.systems == 2


@pytest.mark.parametrize("where", ["matrix", "rhs"])
@pytest.mark.parametrize("method", METHODS)
def test_nan_is_found(method, where, rng):
    matrix, b = laplacian(10), rng.standard_normal(100)
    if where == "matrix":
        matrix.data[7] = np.nan
    else:
        b[7] = np.nan
    mat = to_mat(matrix)
    result, state = SequenceSolver(method, "jacobi").solve(mat, to_vec(mat, b), SolverState())
    assert result.reason in (Reason.NON_FINITE, Reason.PRECONDITIONER_FAILED)
    assert state.failures == 1


@pytest.mark.parametrize("method", ["cg", "gmres"])
def test_icc_of_infinite_entries_ends(method):
    matrix = laplacian(10)
    matrix.data *= np.inf
    mat, solver = to_mat(matrix), SequenceSolver(method, "icc")
    result, _ = solver.solve(mat, to_vec(mat, np.ones(100)), solver.init())
    assert result.reason is Reason.NON_FINITE


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["A", "b"])
@pytest.mark.parametrize("method", ["gcrodr", "cg", "direct"])
def test_the_ladder_names_what_is_not_finite(method, where, value, rng):
    matrix, b = laplacian(10), rng.standard_normal(100)
    (matrix.data if where == "A" else b)[7] = value
    mat, solver = to_mat(matrix), SequenceSolver(method, "ilu")
    with pytest.raises(KrylosetError, match=f"^{where} of A x = b has entries that are NaN"):
        solve_or_escalate(solver, mat, to_vec(mat, b), solver.init())


def test_cg_says_that_a_matrix_is_not_positive_definite(rng):
    cases = (
        (laplacian(10) - sp.eye_array(100), "jacobi"),
        (diffusion(10, rng, 50.0), "icc"),
    )
    for matrix, preconditioner in cases:
        mat = to_mat(matrix)
        solver = SequenceSolver("cg", preconditioner)
        result, _ = solver.solve(mat, to_vec(mat, rng.standard_normal(100)), solver.init())
        assert result.reason is Reason.NOT_POSITIVE_DEFINITE


def test_a_failure_drops_the_recycled_space_and_the_sequence_goes_on(rng):
    good, b = laplacian(20), rng.standard_normal(400)
    mat = to_mat(good)
    solver = SequenceSolver(preconditioner="jacobi", max_iterations=150)
    _, state = solver.solve(mat, to_vec(mat, b), solver.init())
    assert state.space is not None
    refill(mat, good @ sp.diags_array(np.logspace(0, 14, 400)))
    failed, state = solver.solve(mat, to_vec(mat, b), state)
    assert not failed.converged and state.space is None and state.failures == 1
    refill(mat, good)
    again, state = solver.solve(mat, to_vec(mat, b), state)
    assert again.converged and not again.recycled and state.space is not None


def test_the_ladder_climbs_to_the_direct_solve(rng, residual):
    """A cyclic shift: GMRES makes no progress before step n, whatever its restart."""
    n = 500
    matrix = sp.csr_array((np.ones(n), ((np.arange(n) + 1) % n, np.arange(n))), shape=(n, n))
    b = np.zeros(n)
    b[0] = 1.0
    mat = to_mat(matrix)
    solver = SequenceSolver("gcrodr", "none", max_iterations=1000)
    result, state, attempts = solve_or_escalate(solver, mat, to_vec(mat, b), solver.init())
    assert [a.method for a in attempts] == ["gcrodr", "gmres"]
    assert all(a.true_residual == pytest.approx(1.0) for a in attempts)
    assert result.method == "direct" and residual(matrix, result.solution, b) <= 1e-8
    assert state.space is None and state.failures == 1


def test_an_inconsistent_system_is_an_error_that_says_what_to_try():
    matrix = periodic(50)
    mat = to_mat(matrix)
    solver = SequenceSolver(preconditioner="jacobi", max_iterations=300)
    with pytest.raises(SolveError) as caught:
        solve_or_escalate(solver, mat, to_vec(mat, np.ones(50)), solver.init())
    assert [a.method for a in caught.value.attempts] == ["gcrodr", "gmres", "direct"]
    message = str(caught.value)
    for part in ("1e-08", "gcrodr with preconditioner jacobi", "direct", "singular", "residual"):
        assert part in message
    assert isinstance(caught.value, KrylosetError)


def test_two_mats_in_turn_and_one_refilled_never_meet_a_stale_preconditioner(rng, residual):
    """Matrices so different that the ILU of one is useless for the other."""
    first = laplacian(20)
    second = sp.csr_array(sp.diags_array(np.logspace(0, 6, 400)) @ first)
    b = rng.standard_normal(400)
    solver = SequenceSolver("gmres", "ilu")
    fresh = [solver.solve(m := to_mat(a), to_vec(m, b), solver.init())[0] for a in (first, second)]
    expected = [result.iterations for result in fresh]

    mats, state = [to_mat(first), to_mat(second)], solver.init()
    for i in (0, 1, 0, 1):
        result, state = solver.solve(mats[i], to_vec(mats[i], b), state)
        assert result.converged and result.iterations == expected[i]
    state = solver.init()
    for i in (0, 1, 0, 1):
        refill(mats[0], (first, second)[i])
        result, state = solver.solve(mats[0], to_vec(mats[0], b), state)
        assert result.converged and result.iterations == expected[i]
    for i in (0, 1, 0, 1):  # each Mat freed at once: the next can get its address
        mat = to_mat((first, second)[i])
        result, state = solver.solve(mat, to_vec(mat, b), state)
        mat.destroy()
        assert result.converged and result.iterations == expected[i]


@pytest.mark.parametrize(
    ("method", "preconditioner"),
    [
        ("gcrodr", "none"),
        ("gcrodr", "ilu"),
        ("gcrodr", "gamg"),
        ("gmresdr", "ilu"),
        ("rcg", "icc"),
        ("rminres", "jacobi"),
        ("rbicgstab", "ilu"),
    ],
)
def test_continuing_from_a_saved_state_is_bit_identical(method, preconditioner, rng, tmp_path):
    wind = 0.0 if method in ("rcg", "rminres") else 1.0
    systems, b = sequence(20, 6, wind), rng.standard_normal(400)
    solver = SequenceSolver(method, preconditioner, restart=15, recycle=7)
    mat, state, solutions = to_mat(systems[0]), solver.init(), []
    for i, system in enumerate(systems):
        if i == 3:
            state.save(tmp_path / "state.npz")
        refill(mat, system)
        result, state = solver.solve(mat, to_vec(mat, b), state)
        solutions.append(result.solution.getArray().copy())
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]

    loaded = SolverState.load(tmp_path / "state.npz")
    assert loaded.systems == 3
    mat = to_mat(systems[3])
    for i in (3, 4, 5):
        refill(mat, systems[i])
        result, loaded = solver.solve(mat, to_vec(mat, b), loaded)
        np.testing.assert_array_equal(result.solution.getArray(), solutions[i])
    assert loaded.iterations == state.iterations
    assert loaded.learnt == state.learnt
    for name in ("space", "solution"):
        one, other = getattr(loaded, name), getattr(state, name)
        assert (one is None) == (other is None) == (method == "gmresdr")
        if one is not None:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", RECYCLING)
def test_a_state_is_a_value(method, rng):
    """Two solves from one state give the same result, and leave the state unchanged."""
    systems, b = sequence(20, 3), rng.standard_normal(400)
    solver = SequenceSolver(method, "jacobi")
    mat = to_mat(systems[0])
    _, state = solver.solve(mat, to_vec(mat, b), solver.init())
    before, solution = state.space.copy(), state.solution.copy()
    refill(mat, systems[1])
    one, _ = solver.solve(mat, to_vec(mat, b), state)
    two, _ = solver.solve(mat, to_vec(mat, b), state)
    np.testing.assert_array_equal(one.solution.getArray(), two.solution.getArray())
    np.testing.assert_array_equal(state.space, before)
    np.testing.assert_array_equal(state.solution, solution)


@pytest.mark.parametrize("method", RECYCLING)
def test_a_system_solved_again_is_solved_at_once(method, rng, residual):
    matrix, b = laplacian(20), rng.standard_normal(400)
    mat, solver = to_mat(matrix), SequenceSolver(method, "jacobi")
    first, state = solver.solve(mat, to_vec(mat, b), solver.init())
    again, state = solver.solve(mat, to_vec(mat, b), state)
    assert first.iterations > 20 and again.iterations == 0 and again.operator_applications == 2
    assert residual(matrix, again.solution, b) <= 1e-8
    assert state.space is not None


def test_hpddm_is_refused_if_petsc_lacks_it():
    if PETSc.Sys.hasExternalPackage("hpddm"):
        solver = SequenceSolver("hpddm", "jacobi")
        mat = to_mat(laplacian(20))
        result, _ = solver.solve(mat, to_vec(mat, np.ones(400)), solver.init())
        assert result.converged
    else:
        with pytest.raises(ValueError, match="built without HPDDM"):
            SequenceSolver("hpddm")


def test_a_damaged_or_missing_state_is_named(tmp_path):
    path = tmp_path / "state.npz"
    for content in (None, b"", b"PK\x03\x04 cut short"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(KrylosetError, match=r"state\.npz is not a readable solver state"):
            SolverState.load(path)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"method": "sor"}, "use one of gcrodr, gmresdr, gmres"),
        ({"preconditioner": "ilut"}, "use one of none, jacobi"),
        ({"tolerance": 1.0}, "between 0 and 1"),
        ({"tolerance": float("nan")}, "between 0 and 1"),
        ({"restart": 0}, "restart must be at least 1"),
        ({"recycle": -1}, "recycle must be at least 0"),
        ({"recycle": 40}, "less than restart"),
        ({"max_iterations": 0}, "max_iterations must be at least 1"),
        ({"fill": -1}, "fill must be from 0 to 10"),
        ({"fill": 11}, "take preconditioner lu or cholesky"),
        ({"omega": 2.0}, "omega must lie between 0 and 2"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        SequenceSolver(**numbers)


def test_sizes_that_do_not_fit_are_refused(rng):
    small, large = to_mat(laplacian(5)), to_mat(laplacian(6))
    solver = SequenceSolver()
    with pytest.raises(ValueError, match="local sizes 25 x 25 and 36"):
        solver.solve(small, to_vec(large, np.ones(36)), solver.init())
    _, state = solver.solve(small, to_vec(small, np.ones(25)), solver.init())
    with pytest.raises(ValueError, match="25 local rows"):
        solver.solve(large, to_vec(large, np.ones(36)), state)


def test_a_factor_of_a_refilled_matrix_is_timed_and_judged_as_set_up(rng):
    """PETSc alone would factor only at the first application."""
    matrix, b = laplacian(10), rng.standard_normal(100)
    mat = to_mat(matrix)
    solver = SequenceSolver("gcrodr", "ilu")
    _, state = solver.solve(mat, to_vec(mat, b), solver.init())
    assert state.space is not None
    matrix.data[:] = 0.0
    refill(mat, matrix)
    result, state = solver.solve(mat, to_vec(mat, b), state)
    assert result.reason is Reason.PRECONDITIONER_FAILED
    assert result.iterations == result.operator_applications == 0
    assert result.true_residual == 1.0 and state.space is None
