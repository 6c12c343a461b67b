# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An ensemble is the block-diagonal matrix of its lanes, and no lane sees another."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from ensembles import refill, to_ensemble
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import sequence, to_mat

from kryloset.krylov.ensemble import matrix as module
from kryloset.krylov.ensemble.matrix import ensemble_of, make_ensemble
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import norms_of
from kryloset.krylov.revision import get_revision

if PETSc.ScalarType is not np.float64:
    pytest.skip("ensembles have real numbers", allow_module_level=True)

WIDTHS = st.sampled_from([4, 8, 16])


def random_matrices(count, rows, seed):
    """Return matrices with one pattern, which is not symmetric and has empty rows."""
    rng = np.random.default_rng(seed)
    pattern = sp.random_array((rows, rows), density=0.2, rng=rng, format="csr")
    pattern.sort_indices()
    csr = (pattern.indices, pattern.indptr)
    return [
        sp.csr_array((rng.standard_normal(pattern.nnz), *csr), pattern.shape) for _ in range(count)
    ]


@settings(max_examples=40)
@given(WIDTHS, st.integers(1, 16), st.integers(1, 30), st.booleans(), st.booleans(), st.integers(0))
def test_products_are_those_of_the_block_diagonal_matrix(
    lanes, active, rows, constant, compiled, seed
):
    matrices = random_matrices(1 if constant else min(active, lanes), rows, seed % 1000)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(module, "load_kernels", lambda: None)
        mat = to_ensemble(matrices, lanes, constant=constant)
    filled = matrices + [matrices[0]] * (lanes - len(matrices))
    # Interleaved: row i of lane l is number i * lanes + l.
    order = np.arange(rows * lanes).reshape(lanes, rows).T.ravel()
    whole = sp.csr_array(sp.block_diag(filled))[order][:, order]
    x, y = mat.createVecs()
    x.array = np.random.default_rng(0).standard_normal(rows * lanes)
    mat.mult(x, y)
    np.testing.assert_allclose(y.array, whole @ x.array, rtol=0, atol=1e-13)
    mat.multTranspose(x, y)
    np.testing.assert_allclose(y.array, whole.T @ x.array, rtol=0, atol=1e-13)
    mat.getDiagonal(y)
    np.testing.assert_array_equal(y.array, whole.diagonal())
    b, r = np.ones((rows, lanes)), np.empty((rows, lanes))
    ensemble_of(mat).subtract(x.array.reshape(rows, lanes), b, r)
    np.testing.assert_allclose(r.ravel(), 1 - whole @ x.array, rtol=0, atol=1e-13)


@settings(max_examples=30)
@given(st.integers(1, 40), st.floats(0, 0.5), st.integers(0, 99))
def test_a_pattern_finds_its_entries_and_no_others(n, density, seed):
    there = np.random.default_rng(seed).random((n, n)) < density
    there[0, 0] = True
    csr = sp.csr_array(there)
    found = Pattern(csr.indptr, csr.indices).find(np.arange(n)[:, None], np.arange(n))
    np.testing.assert_array_equal(found[there], np.arange(csr.nnz))
    assert (found[~there] == -1).all()


def test_a_lane_sees_no_other():
    matrices = sequence(6, 4)
    mat = to_ensemble(matrices, 4)
    rows = matrices[0].shape[0]
    b, x = mat.createVecs()
    b.array[:] = x.array[:] = np.random.default_rng(0).standard_normal(rows * 4)
    before = ensemble_of(mat).residuals(b, x)
    ensemble_of(mat).entries[:, 2] = np.nan
    x.array.reshape(rows, 4)[:, 2] = np.inf
    after = ensemble_of(mat).residuals(b, x)
    assert np.isnan(after[2])
    np.testing.assert_array_equal(np.delete(after, 2), np.delete(before, 2))


def test_residuals_are_those_of_each_lane_at_any_size():
    matrices = sequence(6, 4)
    mat = to_ensemble(matrices, 4)
    rows = matrices[0].shape[0]
    rng = np.random.default_rng(0)
    b, x = rng.standard_normal((2, rows, 4))
    expected = [
        np.linalg.norm(b[:, lane] - matrix @ x[:, lane]) / np.linalg.norm(b[:, lane])
        for lane, matrix in enumerate(matrices)
    ]
    rhs, solution = mat.createVecs()
    size = np.array([1e-200, 1.0, 1e200, 1e-290])
    rhs.array[:], solution.array[:] = (b * size).ravel(), (x * size).ravel()
    np.testing.assert_allclose(ensemble_of(mat).residuals(rhs, solution), expected, rtol=1e-12)
    np.testing.assert_allclose(norms_of(b * size), np.linalg.norm(b, axis=0) * size, rtol=1e-14)
    rhs.set(0.0)
    solution.set(0.0)
    np.testing.assert_array_equal(ensemble_of(mat).residuals(rhs, solution), 0.0)


def test_a_lane_is_its_matrix():
    matrices = sequence(5, 3)
    mat = to_ensemble(matrices, 4)
    for _ in range(2):
        for lane, matrix in enumerate([*matrices, matrices[0]]):
            found = ensemble_of(mat).lane(lane).getValuesCSR()
            expected = (matrix.indptr, matrix.indices, matrix.data)
            for part, whole in zip(found, expected, strict=True):
                np.testing.assert_array_equal(part, whole)
        matrices = [2 * matrix for matrix in matrices]
        refill(mat, matrices)


def test_a_solver_that_is_set_up_sees_new_entries():
    class Inverse:
        def setUp(self, pc):
            _, operator = pc.getOperators()
            self.inverse = 1 / operator.getDiagonal().array

        def apply(self, pc, x, y):
            y.array_w[:] = self.inverse * x.array_r

    matrices = [sp.csr_array(np.diag(np.arange(1.0, 4.0))) for _ in range(4)]
    mat = to_ensemble(matrices, 4)
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setType(PETSc.KSP.Type.PREONLY)
    ksp.setOperators(mat)
    ksp.getPC().setType(PETSc.PC.Type.PYTHON)
    ksp.getPC().setPythonContext(Inverse())
    b, x = mat.createVecs()
    b.set(1.0)
    for factor in (1.0, 2.0):
        ensemble_of(mat).entries[:] *= factor
        before = get_revision(mat)
        assert before == get_revision(mat)
        mat.assemble()
        assert factor == 1.0 or before != get_revision(mat)
        ksp.solve(b, x)
        np.testing.assert_allclose(ensemble_of(mat).residuals(b, x), 0.0, atol=1e-15)


def test_other_matrices_are_no_ensembles():
    matrix = to_mat(sp.csr_array(np.eye(3)))
    assert ensemble_of(matrix) is None
    shell = PETSc.Mat().createPython(3, object(), comm=PETSc.COMM_SELF)
    assert ensemble_of(shell) is None
    with pytest.raises(ValueError, match="4, 8 or 16 lanes, got 5"):
        make_ensemble(Pattern.of(matrix), matrix, 5)
