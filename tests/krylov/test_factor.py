# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Factors in single precision against dense solves, and matrices that they are not good for."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import laplacian, sequence, to_mat, to_vec

from kryloset.krylov import Reason, SequenceSolver
from kryloset.krylov.native.factor import Supernodes, can_factor, make_factor

pytestmark = pytest.mark.skipif(
    not can_factor(PETSc.COMM_SELF), reason="needs real numbers and a C compiler"
)


def matrix_of(n, density, seed, *, symmetric):
    """Return a random sparse matrix, diagonally dominant."""
    rng = np.random.default_rng(seed)
    a = sp.random_array((n, n), density=density, rng=rng, format="csr")
    a.data = rng.standard_normal(a.nnz)
    a = a + a.T if symmetric else a
    sums = np.abs(a).sum(axis=1) + np.abs(a).sum(axis=0)
    return sp.csr_array(a + sp.diags_array(sums + 1.0))


def factor_of(matrix, *, symmetric):
    return make_factor(matrix, Supernodes.of(matrix), symmetric=symmetric)


def solve(factor, b):
    x = np.empty_like(b)
    factor.apply(b, x)
    return x


@settings(max_examples=80)
@given(
    st.integers(1, 150),
    st.floats(0, 0.2),
    st.integers(0, 99),
    st.booleans(),
    st.integers(-200, 200),
)
def test_a_factor_solves(n, density, seed, symmetric, exponent):
    """Right-hand sides may also be far outside the range of single precision."""
    matrix = matrix_of(n, density, seed, symmetric=symmetric)
    b = np.random.default_rng(seed).standard_normal(n) * 10.0**exponent
    expected = np.linalg.solve(matrix.toarray(), b)
    x = solve(factor_of(matrix, symmetric=symmetric), b)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [9, 40])
def test_the_operator_of_a_symmetric_matrix_is_symmetric_and_linear(size, rng):
    matrix = sequence(size, 1)[0]
    factor = factor_of(matrix, symmetric=True)
    x, y = rng.standard_normal((2, size**2))
    one, other = solve(factor, x), solve(factor, y)
    size_of = np.linalg.norm(x) * np.linalg.norm(other)
    assert abs(x @ other - y @ one) <= 1e-6 * size_of
    np.testing.assert_array_equal(solve(factor, 4 * x), 4 * one)
    np.testing.assert_allclose(
        solve(factor, x + y), one + other, rtol=0, atol=1e-5 * np.abs(one).max()
    )


def test_scaling_a_matrix_by_powers_of_two_changes_no_bit(rng):
    """T A T is the same for A and D A D."""
    matrix, b = laplacian(20), rng.standard_normal(400)
    scale = 2.0 ** rng.integers(-60, 60, 400)
    d = sp.diags_array(scale)
    scaled = factor_of(sp.csr_array(d @ matrix @ d), symmetric=True)
    factor = factor_of(matrix, symmetric=True)
    np.testing.assert_array_equal(scale * solve(scaled, scale * b), solve(factor, b))
    factor.fit(1 / scale)
    np.testing.assert_array_equal(solve(factor, scale * b), solve(scaled, scale * b))


def test_an_indefinite_matrix_has_a_factor_and_unsuitable_ones_are_refused(rng):
    indefinite = sp.csr_array(laplacian(12) - 1.5 * sp.eye_array(144))
    b = rng.standard_normal(144)
    x = solve(factor_of(indefinite, symmetric=True), b)
    np.testing.assert_allclose(indefinite @ x, b, atol=1e-3)
    rotation = sp.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert factor_of(rotation, symmetric=True) is None
    ones = sp.csr_array(np.ones((2, 2)))
    assert factor_of(ones, symmetric=False) is None
    assert factor_of(sp.csr_array(np.full((2, 2), np.nan)), symmetric=False) is None
    # Single precision does not see the small eigenvalue.
    close = sp.csr_array(np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]]))
    assert factor_of(close, symmetric=True) is None


def test_petscs_factor_is_used_if_single_precision_is_not_enough():
    block = np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]])
    matrix = sp.csr_array(sp.kron(sp.eye_array(30), block))
    mat = to_mat(matrix)
    solver = SequenceSolver("cg", "cholesky", refresh=())
    result, _ = solver.solve(mat, to_vec(mat, np.arange(60.0)), solver.init())
    assert result.converged and result.iterations <= 2


def test_a_singular_matrix_fails_as_with_petscs_factor():
    mat = to_mat(sp.csr_array(np.ones((2, 2))))
    solver = SequenceSolver("gmres", "lu", refresh=())
    result, state = solver.solve(mat, to_vec(mat, np.array([1.0, 0.0])), solver.init())
    assert result.reason is Reason.PRECONDITIONER_FAILED and state.reference is None
