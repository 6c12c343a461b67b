# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The structure of a matrix, found from its entries."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import diffusion, laplacian, refill, to_mat

from kryloset.errors import KrylosetError
from kryloset.krylov.structure import (
    Structure,
    confirm_definite,
    confirm_structure,
    hash_entries,
    is_dominant,
    probe_structure,
)

EYE = sp.eye_array(144)

#: Of complex numbers PETSc has no inertia, so that definite ones are not known as such.
KNOWN = PETSc.ScalarType().dtype.kind != "c"


def smallest():
    """Return the smallest eigenvalue of the Laplacian on 12 x 12 points."""
    return 8 * np.sin(np.pi / 26) ** 2


def rough(rng):
    return diffusion(12, rng, 0.0)


@pytest.mark.parametrize(
    ("make", "symmetric", "definite"),
    [
        (lambda rng: laplacian(12), True, True),
        (rough, True, True),
        (lambda rng: diffusion(12, rng, 0.1), False, False),
        # One eigenvalue crosses zero, and no diagonal entry does.
        (lambda rng: laplacian(12) - 0.99 * smallest() * EYE, True, True),
        (lambda rng: laplacian(12) - 1.01 * smallest() * EYE, True, False),
        (lambda rng: -laplacian(12), True, False),
        (lambda rng: 1e-20 * laplacian(12), True, True),
        (lambda rng: sp.csr_array(np.array([[0.0, 1.0], [1.0, 0.0]])), True, False),
    ],
)
def test_structure_is_that_of_the_eigenvalues(make, symmetric, definite, rng):
    matrix = sp.csr_array(make(rng))
    dense = matrix.toarray()
    assert symmetric == np.allclose(dense, dense.T, rtol=1e-12, atol=0)
    if symmetric:
        assert definite == (np.linalg.eigvalsh(dense)[0] > 0)
    assert probe_structure(to_mat(matrix)) == Structure(symmetric, definite and KNOWN)


def test_diagonal_dominance_shows_that_a_matrix_is_definite(rng):
    dirichlet = sp.csr_array(laplacian(6))
    neumann = dirichlet - sp.diags_array(dirichlet.sum(axis=1))
    apart = sp.csr_array(sp.block_diag([dirichlet, neumann]))
    fixed = sp.csr_array(sp.block_diag([dirichlet, sp.eye_array(3)]))
    for matrix, dominant in (
        (dirichlet, True),
        (fixed, True),
        (sp.csr_array(neumann), False),
        (apart, False),
        (sp.csr_array(dirichlet - 0.01 * sp.eye_array(36)), False),
        # Its parts are connected only by rounding errors.
        (sp.csr_array(apart - 1e-15 * sp.csr_array(np.ones(apart.shape))), False),
    ):
        assert is_dominant(to_mat(matrix)) == dominant
        if dominant:
            assert np.linalg.eigvalsh(matrix.toarray())[0] > 0


def test_a_refilled_mat_is_probed_anew(rng):
    mat = to_mat(rough(rng))
    assert probe_structure(mat) == Structure(True, KNOWN)
    refill(mat, diffusion(12, rng, 1.0))
    assert probe_structure(mat) == Structure(False, False)


def test_rounding_does_not_hide_symmetry(rng):
    matrix = laplacian(12)
    matrix.data *= 1 + 1e-14 * rng.standard_normal(len(matrix.data))
    assert probe_structure(to_mat(matrix)).symmetric


def test_different_entries_have_different_hashes(rng):
    one, other = rough(rng), rough(rng)
    mats = [to_mat(one), to_mat(other), to_mat(one), to_mat(sp.csr_array(one @ one))]
    entries = [hash_entries(mat) for mat in mats]
    assert entries[0] == entries[2] and len(set(entries)) == 3


@pytest.mark.parametrize(
    ("matrix", "claimed", "message"),
    [
        (np.array([[2.0, 1.0], [0.0, 2.0]]), Structure(True, False), "declared symmetric"),
        pytest.param(
            *(
                np.array([[1.0, 2.0], [2.0, 1.0]]),
                Structure(True, True),
                "declared positive definite",
            ),
            marks=pytest.mark.skipif(not KNOWN, reason="of complex numbers no inertia is known"),
        ),
        (np.diag([1.0, -1.0]), Structure(True, True), "declared positive definite"),
        (
            np.array([[1.0, -1.0], [-1.0, 2.0]]),
            Structure(True, True, singular=True),
            "declared singular",
        ),
    ],
)
def test_a_false_claim_is_named_also_where_petsc_was_told_it(matrix, claimed, message):
    mat = to_mat(sp.csr_array(matrix))
    mat.setOption(PETSc.Mat.Option.SYMMETRIC, True)
    mat.setOption(PETSc.Mat.Option.SPD, claimed.definite)
    mat.setNullSpace(PETSc.NullSpace().create(constant=True))
    with pytest.raises(KrylosetError, match=message):
        confirm_structure(mat, claimed)
        confirm_definite(mat, claimed)


def test_a_true_claim_is_confirmed():
    singular = np.array([[1.0, -1.0], [-1.0, 1.0]])
    mat = to_mat(sp.csr_array(singular))
    mat.setNullSpace(PETSc.NullSpace().create(constant=True))
    confirm_structure(mat, Structure(True, True, singular=True))
    confirm_definite(mat, Structure(True, True, singular=True))
    confirm_structure(to_mat(laplacian(12)), Structure(True, True))
    confirm_definite(to_mat(laplacian(12)), Structure(True, True))


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e12, 1e200])
def test_units_change_no_answer(size):
    ring = sp.csr_array([[2.0, -1.0, -1.0], [-1.0, 2.1, -1.1], [-1.0, -1.1, 2.1]])
    mat, shifted = to_mat(size * ring), to_mat(size * (ring + 1e-3 * sp.eye_array(3)))
    for operator in (mat, shifted):
        operator.setNullSpace(PETSc.NullSpace().create(constant=True, comm=operator.comm))
    confirm_structure(mat, Structure(True, True, singular=True))
    with pytest.raises(KrylosetError, match="declared singular"):
        confirm_structure(shifted, Structure(True, True, singular=True))
    confirm_structure(shifted, Structure(True, True))
    skewed = to_mat(size * sp.csr_array([[2.0, 1e-3], [0.0, 2.0]]))
    with pytest.raises(KrylosetError, match="declared symmetric"):
        confirm_structure(skewed, Structure(True, False))
