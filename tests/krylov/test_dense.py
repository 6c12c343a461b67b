# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dense kernels against the theorems of linear algebra."""

from mpi4py import MPI

import numpy as np
import scipy.linalg

from kryloset.krylov.methods.dense import combine, harmonic_subspace, orthonormalise

COMM = MPI.COMM_SELF


def sine(space: np.ndarray, of: np.ndarray) -> float:
    """Return the sine of the largest angle between two spaces of one dimension."""
    return float(np.sin(scipy.linalg.subspace_angles(space, of).max()))


def test_orthonormalise_factors_badly_conditioned_columns(rng):
    block = np.asfortranarray(rng.standard_normal((5000, 20)))
    block[:, 19] = block[:, 3] + 1e-5 * block[:, 19]
    block *= np.logspace(-12, 12, 20)
    old = block.copy()
    transform = orthonormalise(block, COMM)
    assert transform.shape == (20, 20)
    assert abs(block.T @ block - np.eye(20)).max() < 5e-15
    assert abs(old @ transform - block).max() < 1e-11  # rounding x condition number 1e5


def test_orthonormalise_drops_dependent_columns(rng):
    block = np.asfortranarray(rng.standard_normal((300, 8)))
    block[:, 2] = block[:, 0] - 3 * block[:, 1]
    block[:, 4] = 0
    block[:, 6] = np.nan
    span = block[:, [0, 1, 3, 5, 7]].copy()
    transform = orthonormalise(block, COMM)
    assert transform.shape == (8, 5)
    ortho = block[:, :5]
    assert abs(ortho.T @ ortho - np.eye(5)).max() < 5e-15
    assert sine(ortho, span) < 1e-12


def test_orthonormalise_drops_columns_of_zeros():
    assert orthonormalise(np.zeros((10, 3), order="F"), COMM).shape == (3, 0)


def test_combine_may_overwrite_its_own_block(rng):
    block = np.asfortranarray(rng.standard_normal((5000, 6)))
    c, d = rng.standard_normal((6, 3)), rng.standard_normal((2, 3))
    expected = block @ c + block[:, 4:] @ d
    combine(block[:, :3], (block, c), (block[:, 4:], d))
    np.testing.assert_allclose(block[:, :3], expected, rtol=0, atol=1e-12)


def test_harmonic_ritz_over_everything_is_the_eigenspace(rng):
    # With V = W = I the harmonic Ritz pairs are the eigenpairs.
    vectors = rng.standard_normal((12, 12))
    values = np.array([5, -0.1, 3, 0.2, 7, 8, -0.4, 9, 2, 6, 4, 10.0])
    matrix = vectors @ np.diag(values) @ np.linalg.inv(vectors)
    basis = harmonic_subspace(matrix, np.eye(12), 3)
    assert sine(basis, vectors[:, [1, 3, 6]]) < 1e-10


def test_a_complex_pair_is_taken_whole_or_left_out(rng):
    blocks = [np.array([[0.1, 1.0], [-1.0, 0.1]]), np.array([[0.5]]), np.diag([4.0, 5.0, 6.0])]
    vectors = rng.standard_normal((6, 6))
    matrix = vectors @ scipy.linalg.block_diag(*blocks) @ np.linalg.inv(vectors)
    for size, found in ((1, [2]), (2, [2]), (3, [0, 1, 2])):
        basis = harmonic_subspace(matrix, np.eye(6), size)
        assert basis.shape[1] == len(found)
        assert sine(basis, vectors[:, found]) < 1e-10


def test_the_null_vector_of_a_singular_matrix_comes_last(rng):
    vectors = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    matrix = vectors @ np.diag([0, 1, 2, 3, 4, 5.0]) @ vectors.T
    assert sine(harmonic_subspace(matrix, np.eye(6), 1), vectors[:, [1]]) < 1e-10
