# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""For an unchanged matrix, earlier work is used again, and results stay the same."""

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, refill, sequence, to_mat, to_vec

from kryloset.krylov import SequenceSolver
from kryloset.krylov.revision import get_revision
from kryloset.krylov.state import SolverState


def test_changes_are_noticed_and_products_are_none():
    matrix = laplacian(5)
    mat = to_mat(matrix)
    before = get_revision(mat)
    mat.mult(to_vec(mat, np.ones(25)), mat.createVecLeft())
    mat.norm()
    assert get_revision(mat) == before
    assert get_revision(to_mat(matrix)) != before
    refill(mat, 2 * matrix)
    assert get_revision(mat) != before


def test_entries_written_to_shared_arrays_are_noticed():
    matrix = laplacian(5)
    entries = matrix.data.copy()
    indices = matrix.indptr.astype("i4"), matrix.indices.astype("i4")
    mat = PETSc.Mat().createAIJWithArrays(matrix.shape, (*indices, entries), comm=MPI.COMM_SELF)
    before = get_revision(mat)
    entries *= 2
    mat.assemble()
    assert get_revision(mat) != before


def test_a_matrix_without_entries_is_never_known():
    class Twice:
        def mult(self, mat, x, y):
            x.copy(y)
            y.scale(2.0)

    mat = PETSc.Mat().createPython((4, 4), Twice(), comm=MPI.COMM_SELF)
    mat.setUp()
    assert get_revision(mat) is None


@pytest.mark.parametrize(
    "method, preconditioner",
    [("rcg", "icc"), ("cg", "gamg"), ("direct", "lu"), ("gcrodr", "ilu"), ("bicgstab", "sor")],
)
def test_a_kept_setup_changes_no_bit(rng, tmp_path, method, preconditioner):
    """Twenty systems of one matrix, against states that are saved and loaded each time."""
    solver = SequenceSolver(method, preconditioner, restart=30, recycle=8)
    mat = to_mat(sequence(30, 1)[0])
    kept = fresh = solver.init()
    for _ in range(20):
        b = to_vec(mat, rng.standard_normal(900))
        result, kept = solver.solve(mat, b, kept)
        fresh.save(tmp_path / "state.npz")
        again, fresh = solver.solve(mat, b, SolverState.load(tmp_path / "state.npz"))
        assert result.converged and result.iterations == again.iterations
        assert np.array_equal(result.solution.getArray(), again.solution.getArray())
        assert kept.learnt == fresh.learnt


def test_the_image_of_a_recycled_space_is_kept_until_the_matrix_changes(rng):
    solver = SequenceSolver("rcg", "icc", restart=40, recycle=10)
    first, second = sequence(30, 2)
    mat = to_mat(first)
    state = solver.init()
    products = []
    for _ in range(20):
        result, state = solver.solve(mat, to_vec(mat, rng.standard_normal(900)), state)
        products.append(result.operator_applications - result.iterations)
    assert max(products) > 10 > products[-1]
    refill(mat, second)
    b = rng.standard_normal(900)
    result, state = solver.solve(mat, to_vec(mat, b), state)
    assert result.operator_applications - result.iterations > 10
    residual = b - sp.csr_array(second) @ result.solution.getArray()
    assert np.linalg.norm(residual) <= solver.tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("preconditioner", ["gamg", "icc"])
def test_another_matrix_gets_another_preconditioner(rng, preconditioner):
    """The solution is, bit for bit, that of a solver which has seen no other matrix."""
    solver = SequenceSolver("cg", preconditioner)
    first, second = laplacian(30), sequence(30, 1, seed=3)[0]
    mat = to_mat(first)
    b = to_vec(mat, rng.standard_normal(900))
    _, state = solver.solve(mat, b, solver.init())
    refill(mat, second)
    kept, _ = solver.solve(mat, b, state)
    alone, _ = solver.solve(to_mat(second), b, solver.init())
    assert np.array_equal(kept.solution.getArray(), alone.solution.getArray())
