# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Block GCRO-DR: the theorems of the method, and blocks that are not of full rank."""

import math
import os
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov import Reason, SequenceSolver, SolverState, block_gcrodr
from kryloset.krylov.block_gcrodr import BlockSolver, _BlockGCRODR


def to_dense(mat, columns):
    """Return the columns as a dense Mat laid out like the rows of `mat`."""
    block = np.asfortranarray(columns)
    return PETSc.Mat().createDense((len(block), block.shape[1]), array=block, comm=mat.comm)


def solve(solver, mat, columns, state=None):
    """Solve, and check what is claimed with NumPy alone; the X comes back as an array."""
    result, state = solver.solve(mat, to_dense(mat, columns), state or solver.init())
    solutions = result.solutions.getDenseArray()
    claimed = [b - apply_to(mat, x) for b, x in zip(columns.T, solutions.T, strict=True)]
    norms = np.linalg.norm(columns, axis=0)
    true = np.linalg.norm(claimed, axis=1) / np.where(norms > 0, norms, 1)
    np.testing.assert_allclose(result.true_residuals, true, rtol=1e-5, atol=1e-14)
    assert result.converged == (true <= solver.tolerance).all()
    return solutions, result, state


def apply_to(mat, values):
    """Return A times the values."""
    x, y = mat.createVecs()
    x.setArray(values)
    mat.mult(x, y)
    return y.getArray()


# Theorems


@pytest.mark.parametrize("pc", ["none", "ilu"])
@pytest.mark.parametrize("steps", [1, 7, 20, 45])
def test_one_right_hand_side_gives_the_iterates_of_gcrodr(rng, pc, steps):
    """Through two systems, the second from the first's space; over several cycles."""
    systems = sequence(20, 2, wind=1.0)
    mat = to_mat(systems[0])
    b = rng.standard_normal((400, 2))
    numbers = {"restart": 12, "recycle": 5, "tolerance": 1e-12, "max_iterations": steps}
    one, block = SequenceSolver("gcrodr", pc, **numbers), BlockSolver(pc, **numbers)
    first = SequenceSolver("gcrodr", pc, restart=12, recycle=5)
    _, state = first.solve(mat, to_vec(mat, b[:, 0]), first.init())
    refill(mat, systems[1])
    theirs, _ = one.solve(mat, to_vec(mat, b[:, 1]), state)
    x, ours, _ = solve(block, mat, b[:, 1:], state)
    assert ours.recycled and ours.iterations == theirs.iterations
    error = np.linalg.norm(x[:, 0] - theirs.solution.getArray())
    assert error <= 1e-9 * theirs.solution.norm()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_minimises_over_the_block_krylov_space(rng, steps):
    """It is min ||M^-1 (b_j - A x_j)|| over x_j in span{Z, B Z, ..., B^(steps-1) Z}, Z = M^-1 b."""
    matrix = sequence(8, 1, wind=3.0)[0].toarray() + np.diag(np.arange(64) % 7)
    b = rng.standard_normal((64, 3))
    solver = BlockSolver("jacobi", 1e-12, restart=30, recycle=0, max_iterations=steps)
    x, result, _ = solve(solver, to_mat(matrix), b)
    assert result.reason is Reason.ITERATION_LIMIT
    z, preconditioned = (part / matrix.diagonal()[:, None] for part in (b, matrix))
    powers = [z]
    for _ in range(steps - 1):
        powers.append(preconditioned @ powers[-1])
    space = np.linalg.qr(np.hstack(powers))[0]
    best = space @ np.linalg.lstsq(preconditioned @ space, z, rcond=None)[0]
    np.testing.assert_allclose(x, best, rtol=0, atol=1e-11 * abs(best).max())


@pytest.mark.parametrize("columns", [3, 7])
@pytest.mark.parametrize("pc", ["none", "ilu"])
def test_arnoldi_relation_and_orthogonality_through_a_sequence(monkeypatch, rng, pc, columns):
    """B [U V] = [C V_+] G and [C V_+]'[C V_+] = I at the end of every cycle."""
    systems = sequence(20, 8, wind=1.0)
    mat = to_mat(systems[0])
    orthogonality, arnoldi, drift, shapes = [], [], [], set()
    update = _BlockGCRODR._update_space

    def watch(self, images: bool):
        held, applied, filled = self._held, self._applied, self._filled
        w, u = (b.copy(order="F") for b in (self._block[:, :filled], self._u[:, :held]))
        orthogonality.append(abs(w.conj().T @ w - np.eye(filled)).max())

        def b_times(vectors):
            image = np.zeros_like(vectors)
            for first in range(0, vectors.shape[1], columns):
                part = slice(first, first + columns)
                self._apply(vectors[:, part], image[:, part])
            return image

        if applied:
            bv = b_times(w[:, held : held + applied])
            g = self._coefficients[:filled, :applied]
            arnoldi.append(abs(bv - w @ g).max() / np.linalg.norm(bv))
        if held:
            drift.append(abs(b_times(u) - w[:, :held]).max())
            # What is known of them without a product.
            np.testing.assert_allclose(
                self._uu, u.conj().T @ u, atol=1e-11 * np.linalg.norm(u) ** 2
            )
            cu = w[:, :held].conj().T @ u
            np.testing.assert_allclose(self._cu, cu, atol=1e-11 * np.linalg.norm(u))
        shapes.add((held, applied))
        update(self, images)

    monkeypatch.setattr(_BlockGCRODR, "_update_space", watch)
    solver = BlockSolver(pc, restart=25, recycle=5)
    state = solver.init()
    b = to_dense(mat, rng.standard_normal((400, columns)))
    for system in systems:
        refill(mat, system)
        result, state = solver.solve(mat, b, state)
        assert result.converged
    assert (5, 20) in shapes and len(orthogonality) > 10
    assert max(orthogonality) < 1e-13
    assert max(arnoldi) < 1e-14
    assert max(drift) < 1e-11


def test_an_invariant_recycled_space_removes_its_eigenvalues(rng):
    """The iterates are those of the problem that has the other eigenvalues only."""
    small, others = np.logspace(-6, -3, 6), np.linspace(1, 30, 94)
    b = rng.standard_normal((100, 3))
    space = np.asfortranarray(np.eye(100)[:, :6] @ rng.standard_normal((6, 6)))
    mat = to_mat(sp.diags_array(np.concatenate([small, others])))
    numbers = {"tolerance": 1e-12, "max_iterations": 10}
    x, result, _ = solve(
        BlockSolver("none", restart=66, recycle=6, **numbers), mat, b, SolverState(space)
    )
    deflated = to_mat(sp.diags_array(others))
    y, _, _ = solve(BlockSolver("none", restart=60, recycle=0, **numbers), deflated, b[6:])
    assert result.recycled and result.reason is Reason.ITERATION_LIMIT
    np.testing.assert_allclose(x[6:], y, rtol=0, atol=1e-11)
    np.testing.assert_allclose(x[:6], b[:6] / small[:, None], rtol=1e-8)


def test_the_size_of_right_hand_sides_does_not_matter(rng):
    """Not even to the last bit but few, for sizes that are powers of two."""
    mat, b = to_mat(laplacian(20)), rng.standard_normal((400, 3))
    sizes = np.array([2.0**-30, 1.0, 2.0**40])
    solver = BlockSolver("jacobi", 1e-12, restart=30, recycle=10, max_iterations=25)
    x, even, _ = solve(solver, mat, b)
    y, uneven, _ = solve(solver, mat, b * sizes)
    np.testing.assert_allclose(y / sizes, x, rtol=0, atol=1e-10 * abs(x).max())
    assert even.operator_applications == uneven.operator_applications


def test_a_block_takes_fewer_steps_than_each_right_hand_side_alone(rng):
    mat, b = to_mat(laplacian(25)), rng.standard_normal((625, 6))
    solver = BlockSolver("none", restart=400, recycle=0)
    _, together, _ = solve(solver, mat, b)
    alone = [solve(solver, mat, b[:, i : i + 1])[1] for i in range(6)]
    assert together.iterations < 0.7 * min(result.iterations for result in alone)
    assert together.converged and all(result.converged for result in alone)


def test_recycling_shortens_the_next_system(rng):
    systems, b = sequence(30, 3), rng.standard_normal((900, 4))
    mat = to_mat(systems[0])
    solver = BlockSolver("jacobi", restart=60, recycle=20)
    state, steps = solver.init(), []
    for system in systems:
        refill(mat, system)
        _, result, state = solve(solver, mat, b, state)
        steps.append(result.iterations)
    assert state.space.shape == (900, 20) and state.systems == 3
    assert state.iterations == sum(steps) and max(steps[1:]) < 0.7 * steps[0]


# Blocks that are not of full rank


def test_dependent_right_hand_sides_cost_what_their_rank_does(rng):
    mat, b = to_mat(laplacian(20)), rng.standard_normal((400, 2))
    mixed = np.column_stack([b[:, 0], b[:, 0], 2 * b[:, 1], np.zeros(400), b @ [1, -3], b[:, 1]])
    solver = BlockSolver("ilu", restart=60, recycle=10)
    x, six, _ = solve(solver, mat, mixed)
    y, two, _ = solve(solver, mat, b)
    assert six.converged and six.iterations <= two.iterations + 1
    # Beside the steps, two wide, there are the residuals of five columns at the end of a cycle.
    assert six.operator_applications <= 2 * six.iterations + 5 * 3
    assert np.linalg.norm(x[:, 0] - x[:, 1]) <= 1e-6 * np.linalg.norm(x[:, 0])
    np.testing.assert_allclose(x[:, 4], y @ [1, -3], atol=1e-5 * abs(y).max())
    assert not x[:, 3].any() and six.true_residuals[3] == 0.0


def test_a_column_that_has_converged_leaves_the_block(monkeypatch, rng):
    """An eigenvector among the right-hand sides takes part in the first cycle only."""
    begin, blocks = _BlockGCRODR._begin_cycle, []

    def watch(self):
        blocks.append(list(self._active))
        return begin(self)

    monkeypatch.setattr(_BlockGCRODR, "_begin_cycle", watch)
    matrix = laplacian(20)
    vectors = np.linalg.eigh(matrix.toarray())[1]
    b = np.column_stack([vectors[:, 300], rng.standard_normal((400, 2))])
    _, result, _ = solve(BlockSolver("none", restart=12, recycle=4), to_mat(matrix), b)
    assert result.converged
    assert blocks[0] == [0, 1, 2] and blocks[1] == [1, 2] and len(blocks) > 5
    assert all(0 not in block for block in blocks[1:])


def test_nearly_equal_columns_are_told_apart_as_far_as_the_tolerance_asks(rng):
    b = rng.standard_normal(400)
    apart = [1e-5, 1e-12] * rng.standard_normal((400, 2))
    block = np.column_stack([b, b + apart[:, 0], b + apart[:, 1]])
    solver = BlockSolver("ilu", 1e-8, restart=100, recycle=0)
    x, result, _ = solve(solver, to_mat(laplacian(20)), block)
    assert result.converged
    exact = sp.linalg.spsolve(laplacian(20).tocsc(), block)
    assert np.linalg.norm((x - exact)[:, 1]) < 0.1 * np.linalg.norm(exact[:, 1] - exact[:, 0])
    # Two wide, since the third column is known as well as it has to be; and one residual.
    assert result.operator_applications == 2 * result.iterations + 3


@pytest.mark.parametrize("size", [1e-6, 1e-13])
def test_what_little_is_new_in_a_block_is_made_orthonormal(rng, size):
    """Columns in the span of those before but for `size`, and of two nearly equal ones."""
    mat = to_mat(laplacian(10))
    method = _BlockGCRODR(BlockSolver("none", restart=40), mat, 4)
    basis = np.linalg.qr(rng.standard_normal((100, 20)))[0]
    new = basis @ rng.standard_normal((20, 4)) + size * rng.standard_normal((100, 4))
    new[:, 3] = new[:, 1] + 1e-3 * size * new[:, 0]
    method._block[:, :20], method._block[:, 20:24] = basis, new
    coefficients = method._extend(20, 4, np.zeros(4))
    found = method._block[:, : len(coefficients)]
    assert len(coefficients) in (23, 24)
    np.testing.assert_allclose(found.T @ found, np.eye(len(coefficients)), atol=1e-14)
    np.testing.assert_allclose(found @ coefficients, new, atol=1e-13)


def test_rounding_is_not_taken_for_a_direction(monkeypatch, rng):
    """Even where nothing says how small rounding is: it does not stay orthogonal."""
    monkeypatch.setattr(block_gcrodr, "ROUNDING", 1e-300)
    method = _BlockGCRODR(BlockSolver("none", restart=40), to_mat(laplacian(4)), 3)
    method._block[:, :16] = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    method._block[:, 16:19] = rng.standard_normal((16, 3))
    assert method._extend(16, 3, np.zeros(3)).shape == (16, 3)


def test_a_space_that_has_drifted_is_made_again(monkeypatch, rng):
    """B U = C no longer holds, as after a great many cycles."""
    mat, b = to_mat(laplacian(20)), rng.standard_normal((400, 3))
    solver = BlockSolver("jacobi", restart=40, recycle=10)
    _, cold, state = solve(solver, mat, b)
    rebuild, calls = _BlockGCRODR._rebuild, []

    def spoil(self, y):
        rebuild(self, y)
        if not calls:
            self._u += 0.1 * rng.standard_normal(self._u.shape)
        calls.append(self._held)

    monkeypatch.setattr(_BlockGCRODR, "_rebuild", spoil)
    _, result, _ = solve(solver, mat, b, state)
    assert result.converged and result.iterations <= 1.2 * cold.iterations and len(calls) == 2


def test_zero_right_hand_sides_have_zero_solutions_and_keep_the_space(rng):
    mat, solver = to_mat(laplacian(10)), BlockSolver()
    _, _, state = solve(solver, mat, rng.standard_normal((100, 3)))
    x, result, after = solve(solver, mat, np.zeros((100, 3)), state)
    assert result.converged and result.iterations == 0 and not x.any()
    assert after.space is state.space and after.systems == 2


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_more_directions_than_rows(rng, rows, columns):
    matrix = rng.standard_normal((rows, rows)) + 4 * np.eye(rows)
    b = rng.standard_normal((rows, columns))
    solver = BlockSolver("none", 1e-12)
    x, result, state = solve(solver, to_mat(matrix), b)
    assert result.converged and result.iterations <= rows
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=1e-9, atol=1e-11)
    # The space holds everything: one step without a product of Arnoldi's.
    _, again, _ = solve(solver, to_mat(matrix), rng.standard_normal((rows, columns)), state)
    assert again.converged and again.iterations == 1


def test_more_right_hand_sides_than_room_for_directions(rng):
    b = rng.standard_normal((225, 12))
    _, result, _ = solve(BlockSolver("ilu", restart=8, recycle=3), to_mat(laplacian(15)), b)
    assert result.converged


def test_a_singular_system_that_has_solutions(rng):
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(60, 60)).tolil()
    line[0, 0] = line[59, 59] = 1.0
    b = rng.standard_normal((60, 3))
    solver = BlockSolver("jacobi", restart=40, recycle=10)
    state = solver.init()
    for _ in range(3):
        _, result, state = solve(solver, to_mat(line), b - b.mean(axis=0), state)
        assert result.converged


def test_a_singular_system_without_solutions_ends(rng):
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(60, 60)).tolil()
    line[0, 0] = line[59, 59] = 1.0
    _, result, state = solve(BlockSolver("jacobi"), to_mat(line), rng.standard_normal((60, 3)))
    assert result.reason is Reason.STAGNATION and state.space is None and state.failures == 1


HARD = {
    "one by one": np.array([[-3.0]]),
    "diagonal": np.diag(np.logspace(-4, 4, 50)),
    "nonnormal": np.eye(50) + np.diag(np.full(49, 1.0), 1) + np.diag(np.full(48, 0.5), 2),
    "indefinite": laplacian(7).toarray() - 2.7 * np.eye(49),
    "badly scaled": np.diag(np.logspace(0, 12, 49)) @ laplacian(7).toarray(),
    "cyclic": np.roll(np.eye(50), 1, axis=0),
}


@pytest.mark.parametrize("pc", ["none", "jacobi", "ilu"])
@pytest.mark.parametrize("name", HARD)
def test_hard_matrices_are_solved_or_said_not_to_be(rng, name, pc):
    """With room for all directions; the badly scaled one is at the mercy of rounding."""
    if name == "cyclic" and pc != "none":
        pytest.skip("its diagonal is zero")
    matrix = HARD[name]
    b = rng.standard_normal((len(matrix), 3))
    solver = BlockSolver(pc, restart=60, recycle=10, max_iterations=2000)
    state = solver.init()
    for _ in range(2):
        _, result, state = solve(solver, to_mat(matrix), b, state)
        if name != "badly scaled":
            assert result.converged and result.iterations <= math.ceil(len(matrix) / 3) + 1


# Counts


@pytest.mark.parametrize("columns", [1, 3])
def test_counts_are_exact_and_any_operator_will_do(monkeypatch, rng, columns):
    """An operator without block products is applied column by column."""
    matrix, applied = laplacian(20), {"operator": 0, "preconditioner": 0}

    class Operator:
        def mult(self, _mat, x, y):
            applied["operator"] += 1
            y.setArray(matrix @ x.getArray(readonly=True))

        def getDiagonal(self, _mat, diagonal):
            diagonal.setArray(matrix.diagonal())

    class Counting:
        def __init__(self, pc):
            self.pc = pc

        def apply(self, source, target):
            applied["preconditioner"] += 1
            self.pc.apply(source, target)

    prepare = _BlockGCRODR.prepare

    def count(self):
        reason = prepare(self)
        self._pc = Counting(self._pc)
        return reason

    monkeypatch.setattr(_BlockGCRODR, "prepare", count)
    mat = PETSc.Mat().createPython((400, 400), context=Operator(), comm=MPI.COMM_SELF)
    mat.setUp()
    solver = BlockSolver("jacobi", restart=25, recycle=5)
    state = solver.init()
    for system in range(1, 4):
        b = to_dense(mat, rng.standard_normal((400, columns)))
        before = dict(applied)
        result, state = solver.solve(mat, b, state)
        assert result.converged and result.recycled == (system > 1)
        assert result.operator_applications == applied["operator"] - before["operator"]
        assert (
            result.preconditioner_applications
            == applied["preconditioner"] - before["preconditioner"]
        )
        assert state.operator_applications == applied["operator"]
        assert state.systems == system


def test_the_iteration_limit_is_kept(rng):
    solver = BlockSolver("none", restart=30, recycle=5, max_iterations=17)
    _, result, state = solve(solver, to_mat(laplacian(30)), rng.standard_normal((900, 4)))
    assert result.reason is Reason.ITERATION_LIMIT and result.iterations == 17
    assert (state.failures, state.space) == (1, None)


# States, failures and refusals


def test_the_space_serves_gcrodr_and_back_and_a_saved_state_goes_on_alike(rng, tmp_path):
    systems, b = sequence(30, 3), rng.standard_normal((900, 3))
    mat = to_mat(systems[0])
    one, block = SequenceSolver("gcrodr", "jacobi"), BlockSolver("jacobi", restart=60)
    alone, _ = one.solve(mat, to_vec(mat, b[:, 0]), one.init())
    _, first, state = solve(block, mat, b)
    refill(mat, systems[1])
    result, state = one.solve(mat, to_vec(mat, b[:, 0]), state)
    assert result.recycled and result.iterations < 0.8 * alone.iterations
    refill(mat, systems[2])
    state.save(tmp_path / "state.npz")
    x, result, _ = solve(block, mat, b, state)
    assert result.recycled and result.iterations < first.iterations
    y, _, _ = solve(block, mat, b, SolverState.load(tmp_path / "state.npz"))
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("where", ["matrix", "right-hand side"])
@pytest.mark.parametrize("warm", [False, True])
def test_nan_is_found(rng, where, warm):
    matrix, b = laplacian(10), rng.standard_normal((100, 3))
    solver, mat = BlockSolver("none"), to_mat(matrix)
    state = solve(solver, mat, b)[2] if warm else solver.init()
    if where == "matrix":
        matrix.data[7] = np.nan
        refill(mat, matrix)
    else:
        b[7, 1] = np.inf
    result, state = solver.solve(mat, to_dense(mat, b), state)
    assert result.reason is Reason.NON_FINITE and state.space is None
    assert np.isnan(result.true_residuals).any()


def test_a_preconditioner_that_overflows_is_found():
    mat = to_mat(np.array([[1e-310, 1.0], [1.0, 1.0]]))
    solver = BlockSolver("jacobi")
    result, _ = solver.solve(mat, to_dense(mat, np.eye(2)), solver.init())
    assert result.reason is Reason.NON_FINITE and result.iterations == 0


def test_a_preconditioner_that_fails_is_a_result(rng):
    matrix, b = laplacian(10), rng.standard_normal((100, 3))
    mat, solver = to_mat(matrix), BlockSolver("ilu")
    _, _, state = solve(solver, mat, b)
    matrix.data[:] = 0.0
    refill(mat, matrix)
    result, state = solver.solve(mat, to_dense(mat, b), state)
    assert result.reason is Reason.PRECONDITIONER_FAILED
    assert (result.iterations, state.space, state.workspace) == (0, None, None)


@pytest.mark.parametrize("pc", ["none", "jacobi", "bjacobi", "sor", "asm", "icc", "ilu", "gamg"])
def test_every_preconditioner_is_applied_to_blocks(rng, pc):
    _, result, _ = solve(
        BlockSolver(pc, 1e-10), to_mat(laplacian(15)), rng.standard_normal((225, 3))
    )
    assert result.converged


def test_misfits_are_refused(rng):
    mat, solver = to_mat(laplacian(10)), BlockSolver()
    with pytest.raises(ValueError, match="local sizes 100 x 100 and 90"):
        solver.solve(mat, to_dense(mat, np.ones((90, 2))), solver.init())
    with pytest.raises(ValueError, match="type seqaij: convert it to dense"):
        solver.solve(mat, mat, solver.init())
    with pytest.raises(ValueError, match="90 local rows"):
        solver.solve(mat, to_dense(mat, np.ones((100, 2))), SolverState(np.ones((90, 2))))
    for numbers in ({"restart": 20}, {"preconditioner": "qr"}, {"tolerance": 0.0}):
        with pytest.raises(ValueError):
            BlockSolver(**numbers)


def test_memory_is_m_plus_k_plus_four_blocks(rng):
    mat, solver = to_mat(laplacian(30)), BlockSolver("none", restart=40, recycle=20)
    _, _, state = solve(solver, mat, rng.standard_normal((900, 5)))
    blocks = [a for a in vars(state.workspace).values() if isinstance(a, np.ndarray)]
    assert sum(a.shape[1] for a in blocks if len(a) == 900) == 40 + 20 + 4 * 5


@pytest.mark.mpi
def test_serial_and_two_ranks_agree(tmp_path):
    mpiexec = Path(sys.executable).parent / "mpiexec"
    script = [sys.executable, Path(__file__).with_name("block_two_ranks.py"), tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for command in (script, [mpiexec, "-n", "2", *script]):
        subprocess.run(command, check=True, timeout=120, env=environment)
    one, two = (np.load(tmp_path / f"ranks-{n}.npz") for n in (1, 2))
    assert sorted(one) == sorted(two)
    for name in one:
        if name.endswith("solutions"):
            error = np.linalg.norm(one[name] - two[name]) / np.linalg.norm(one[name])
            assert error < 1e-6, name  # tolerance 1e-8 x the condition number, some hundreds
        elif "ilu" not in name:  # which becomes blocks, one a rank
            assert abs(one[name] - two[name]).max() <= 1, name
