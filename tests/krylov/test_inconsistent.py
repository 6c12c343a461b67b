# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Singular systems, most of them without a solution: what comes back is the best, and honest.

What is left of such a system is rounding, which differs between processors: the last test runs
the others on kernels of BLAS for other ones.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, to_mat, to_vec

from kryloset.krylov import Automatic, SequenceSolver
from kryloset.krylov.methods.gcrodr import GCRODR
from kryloset.krylov.methods.recycling_bicgstab import RecyclingBiCGStab
from kryloset.krylov.methods.recycling_cg import RecyclingCG
from kryloset.krylov.methods.recycling_minres import RecyclingMINRES
from kryloset.krylov.names import Method

SEEDS = range(25)

ZERO = 1 + 1e-12
"""The relative residual of x = 0, up to the order of a sum."""

METHODS = [method for method in get_args(Method) if method != "hpddm"]

LEAST = ("gcrodr", "gmresdr", "rminres", "minres", "rbicgstab")
"""Methods that, without a preconditioner, find the least residual of a symmetric matrix."""


def ring(n):
    """Return the periodic Laplacian in one dimension."""
    one = sp.diags_array(
        [-1.0, 2.0, -1.0, -1.0, -1.0], offsets=[-1, 0, 1, n - 1, 1 - n], shape=(n, n)
    )
    return sp.csr_array(one)


def insulated(n):
    """Return the Laplacian of n x n points, insulated."""
    ends = np.zeros(n)
    ends[[0, -1]] = 1.0
    one = sp.diags_array([-1.0, 2.0 - ends, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    return sp.csr_array(sp.kron(one, sp.eye_array(n)) + sp.kron(sp.eye_array(n), one))


def without_a_row(n):
    """Return the Laplacian of n x n points with one row and column of zeros."""
    keep = np.ones(n * n)
    keep[5] = 0.0
    matrix = sp.csr_array(sp.diags_array(keep) @ laplacian(n) @ sp.diags_array(keep))
    matrix.eliminate_zeros()
    return matrix


def windy(n):
    """Return the periodic Laplacian with a wind."""
    return sp.csr_array(
        ring(n) + sp.diags_array([-0.5, 0.5, 0.5], offsets=[0, 1, 1 - n], shape=(n, n))
    )


INDEFINITE = ring(40) - float(2 - 2 * np.cos(2 * np.pi * 5 / 40)) * sp.eye_array(40)

MATRICES = {
    "ring": ring(60),
    "insulated": insulated(8),
    "indefinite": sp.csr_array(INDEFINITE),
    "row of zeros": without_a_row(6),
    "windy": windy(40),
}


def least(matrix, b):
    """Return the least ||b - A x|| / ||b||."""
    dense = matrix.toarray()
    x = np.linalg.lstsq(dense, b, rcond=1e-10)[0]
    return np.linalg.norm(b - dense @ x) / np.linalg.norm(b)


@pytest.mark.parametrize("seeds", [SEEDS[:5], pytest.param(SEEDS[5:], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("method", METHODS)
def test_the_best_iterate_comes_back_with_a_reason(method, name, seeds, residual):
    matrix = MATRICES[name]
    mat, state = to_mat(matrix), None
    solver = SequenceSolver(method, "none", restart=20, recycle=5, max_iterations=600)
    for seed in seeds:
        b = np.random.default_rng(seed).standard_normal(matrix.shape[0]) + 1.0
        result, state = solver.solve(mat, to_vec(mat, b), state or solver.init())
        assert not result.converged
        assert np.isfinite(result.solution.array_r).all()
        computed = residual(matrix, result.solution, b)
        assert computed == pytest.approx(result.true_residual, rel=1e-6)
        assert computed <= ZERO
        if method in LEAST and name != "windy":
            assert computed <= 1.001 * least(matrix, b)


@pytest.mark.parametrize("name", ["ring", "insulated", "indefinite"])
def test_recycling_minres_finds_the_least_residual_whatever_was_kept(name):
    """A KSP made by the user: no sequence solver restarts it after a failure."""
    matrix = MATRICES[name]
    mat = to_mat(matrix)
    for seed in SEEDS:
        context = RecyclingMINRES(20, 5)
        ksp = PETSc.KSP().create(mat.comm)
        ksp.setOperators(mat)
        ksp.setType("python")
        ksp.setPythonContext(context)
        ksp.getPC().setType("none")
        ksp.setTolerances(rtol=1e-8, atol=0.0, divtol=1e30, max_it=20_000)
        rng = np.random.default_rng(seed)
        for _ in range(3):
            b = rng.standard_normal(matrix.shape[0]) + 1.0
            x = to_vec(mat, b)
            ksp.solve(to_vec(mat, b), x)
            assert ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_BREAKDOWN
            computed = np.linalg.norm(b - matrix @ x.array_r) / np.linalg.norm(b)
            assert computed <= 1.001 * least(matrix, b)


@pytest.mark.parametrize("context", [RecyclingCG, GCRODR, RecyclingMINRES, RecyclingBiCGStab])
def test_a_ksp_made_by_the_user_returns_nothing_worse_than_zero(context):
    for matrix in MATRICES.values():
        mat = to_mat(matrix)
        ksp = PETSc.KSP().create(mat.comm)
        ksp.setOperators(mat)
        ksp.setType("python")
        ksp.setPythonContext(context(20, 5))
        ksp.getPC().setType("none")
        ksp.setTolerances(rtol=1e-8, atol=0.0, divtol=1e30, max_it=2000)
        for seed in SEEDS[:3]:
            b = np.random.default_rng(seed).standard_normal(matrix.shape[0]) + 1.0
            x = to_vec(mat, b)
            ksp.solve(to_vec(mat, b), x)
            assert ksp.getConvergedReason() < 0
            if ksp.getConvergedReason() != PETSc.KSP.ConvergedReason.DIVERGED_MAX_IT:
                assert np.linalg.norm(b - matrix @ x.array_r) <= ZERO * np.linalg.norm(b)


PRECONDITIONERS = ("none", "jacobi", "ilu", "icc", "cholesky", "gamg")


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_of_zeros_is_not_solved(method, n, stored):
    matrix = sp.csr_array((np.zeros(n), (np.arange(n), np.arange(n)))) if stored else (n, n)
    matrix = sp.csr_array(matrix)
    csr = (matrix.indptr.astype("i4"), matrix.indices.astype("i4"), matrix.data.astype(float))
    for preconditioner in PRECONDITIONERS:
        mat = PETSc.Mat().createAIJ((n, n), csr=csr, comm=PETSc.COMM_SELF)
        solver = SequenceSolver(method, preconditioner)
        result, _ = solver.solve(mat, to_vec(mat, np.ones(n)), solver.init())
        assert not result.converged
        assert (result.true_residual, result.solution.norm()) == (1.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_system_of_one_equation_is_solved(method):
    mat, solver = to_mat(sp.csr_array([[2.0]])), SequenceSolver(method, "jacobi")
    result, _ = solver.solve(mat, to_vec(mat, np.ones(1)), solver.init())
    assert result.converged and result.solution.array_r == pytest.approx([0.5])


def test_a_system_without_equations_is_refused():
    mat = PETSc.Mat().createAIJ((0, 0), comm=PETSc.COMM_SELF)
    mat.assemble()
    for solver in (SequenceSolver(), Automatic()):
        with pytest.raises(ValueError, match="no rows"):
            solver.solve(mat, mat.createVecLeft(), solver.init())


NEEDED = {"SkylakeX": "avx512bw", "Prescott": "sse2"}
"""Instructions that OpenBLAS's kernels for a processor need.

Those for Haswell and Zen are not among them: with them NumPy's own OpenBLAS crashes in `eigh` of
400 rows on processors whose default is another one."""


@pytest.mark.slow
@pytest.mark.parametrize("core", NEEDED)
def test_on_the_kernels_for_another_processor(core):
    """NumPy, SciPy and PETSc each bring an OpenBLAS along, which reads this when it is loaded."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    if NEEDED[core] not in flags:
        pytest.skip(f"this processor has no {NEEDED[core]}, which kernels for {core} need")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "slow or not slow",
            "-k",
            "not kernels",
            __file__,
        ],
        env=os.environ | {"OPENBLAS_CORETYPE": core},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout
