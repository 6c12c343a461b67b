# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What only a PETSc of complex numbers can show (`make complex`)."""

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from systems import gaussian_field, laplacian, refill, to_mat, to_vec

from kryloset.krylov import SequenceSolver
from kryloset.krylov.ensemble.matrix import make_ensemble
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.methods.dense import combine, harmonic_subspace, inner, orthonormalise

pytestmark = pytest.mark.skipif(
    np.dtype(PETSc.ScalarType).kind != "c", reason="PETSc of real numbers: see `make complex`"
)


def normal(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def helmholtz(size, rng):
    """-Laplace(u) - (1 - 0.3 i) k^2 u, h = 1, about two wavelengths a side: not Hermitian."""
    square = (4 * np.pi / size) ** 2 * np.exp(gaussian_field(size, rng).ravel())
    return sp.csr_array(laplacian(size) - (1 - 0.3j) * sp.diags_array(square))


def hermitian(size, rng, shift):
    """The Laplacian in a magnetic field: complex phases on the links, shifted."""
    phase = np.exp(0.3j * gaussian_field(size, rng).ravel())
    gauge = sp.diags_array(phase)
    twist = sp.csr_array(laplacian(size) * 1.0)
    upper = sp.triu(twist, 1) * np.exp(0.2j)
    return sp.csr_array(
        gauge.conj() @ (upper + upper.conj().T + (4 - shift) * sp.eye_array(size**2)) @ gauge
    )


def solve_all(solver, systems, rng, residual):
    mat, state, iterations = to_mat(systems[0]), solver.init(), []
    for system in systems:
        refill(mat, system)
        b = normal(rng, system.shape[0])
        result, state = solver.solve(mat, to_vec(mat, b), state)
        assert result.converged
        assert residual(system, result.solution, b) <= solver.tolerance
        iterations.append(result.iterations)
    return iterations


@pytest.mark.parametrize("preconditioner", ["none", "jacobi", "ilu"])
def test_gcrodr_recycles_on_helmholtz_systems(preconditioner, rng, residual):
    systems = [helmholtz(30, rng) for _ in range(6)]
    recycled, fresh = (
        solve_all(
            SequenceSolver(method, preconditioner, restart=30, recycle=15), systems, rng, residual
        )
        for method in ("gcrodr", "gmres")
    )
    assert np.mean(recycled[2:]) < 0.8 * np.mean(fresh[2:])


@pytest.mark.parametrize(
    ("method", "plain", "shift"), [("rcg", "cg", 0.0), ("rminres", "minres", 0.05)]
)
def test_short_recurrences_recycle_on_hermitian_systems(method, plain, shift, rng, residual):
    systems = [hermitian(30, rng, shift) for _ in range(6)]
    recycled, fresh = (
        solve_all(SequenceSolver(name, "none", restart=60, recycle=15), systems, rng, residual)
        for name in (method, plain)
    )
    assert np.mean(recycled[2:]) < 0.9 * np.mean(fresh[2:])


def test_the_harmonic_space_is_that_of_the_eigenvectors(rng):
    g, wv = normal(rng, 13, 12), normal(rng, 13, 12)
    theta, vectors = scipy.linalg.eig(g.conj().T @ g, g.conj().T @ wv)
    wanted = vectors[:, np.argsort(abs(theta))[:4]]
    space = harmonic_subspace(g, wv, 4)
    assert abs(space.conj().T @ space - np.eye(4)).max() < 1e-13
    assert np.linalg.norm(wanted - space @ (space.conj().T @ wanted)) < 1e-10


def test_products_of_blocks(rng):
    a, b = (np.asfortranarray(normal(rng, 500, n)) for n in (7, 3))
    np.testing.assert_allclose(inner(a, b), a.conj().T @ b, rtol=1e-12)
    s, t = normal(rng, 7, 4), normal(rng, 3, 4)
    expected = a @ s + b @ t
    combine(a[:, :4], (a, s), (b, t))
    np.testing.assert_allclose(a[:, :4], expected, rtol=1e-10)


def test_orthonormalisation_sees_a_complex_multiple(rng):
    block = np.asfortranarray(normal(rng, 300, 4))
    block[:, 2] = (2 - 3j) * block[:, 0]
    before = block.copy()
    transform = orthonormalise(block, MPI.COMM_SELF)
    ortho = block[:, :3]
    assert transform.shape == (4, 3)
    assert abs(ortho.conj().T @ ortho - np.eye(3)).max() < 1e-14
    np.testing.assert_allclose(before @ transform, ortho, atol=1e-13)


def test_ensembles_have_real_numbers():
    with pytest.raises(ValueError, match="take lanes 1"):
        SequenceSolver("cg", "cholesky", lanes=16)
    template = to_mat(sp.csr_array(laplacian(4)))
    with pytest.raises(ValueError, match="real numbers"):
        make_ensemble(Pattern.of(template), template, 16)
