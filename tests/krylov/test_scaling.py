# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Systems whose norms leave the range of double precision when they are squared."""

from typing import get_args

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import diffusion, laplacian, to_mat, to_vec

from kryloset.krylov import Automatic, Reason, SequenceSolver, solve_or_escalate
from kryloset.krylov.methods.recycling_minres import RecyclingMINRES
from kryloset.krylov.names import Method
from kryloset.krylov.scaling import norm_of, shift

METHODS = [method for method in get_args(Method) if method != "hpddm"]

EXPONENTS = [-1040, -1000, -700, -500, 500, 900]
"""Of two: from 8e-314, which has few digits, to 8e270."""


def times(values, exponent):
    """Return an array times a power of two."""
    scaled = np.array(values)
    shift(scaled, exponent)
    return scaled


def solve_twice(solver, mat, b):
    """Return the results for two systems, so that what recycles does."""
    first, state = solver.solve(mat, to_vec(mat, b), solver.init())
    second, _ = solver.solve(mat, to_vec(mat, b[::-1].copy()), state)
    return first, second


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_power_of_two_changes_no_digit(method, exponent, rng):
    """Numbers at the end of the range may lose digits, which the reason then says."""
    mat = to_mat(laplacian(10))
    # Digits to spare, so that a right-hand side of few digits is the same one.
    b = np.round(rng.standard_normal(100), 2) if exponent > -1040 else rng.integers(-99, 99, 100)
    solver = SequenceSolver(method, "jacobi", restart=15, recycle=5)
    expected = solve_twice(solver, mat, b.astype(float))
    found = solve_twice(solver, mat, times(b.astype(float), exponent))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.solution.array_r, times(other.solution.array_r, exponent))
        assert one.iterations == other.iterations
        if exponent > -1040:
            assert one.converged
            assert one.true_residual == pytest.approx(other.true_residual, rel=1e-3, abs=1e-15)


@pytest.mark.parametrize("size", [1e-320, 1e-310])
def test_a_solution_without_digits_is_not_called_solved(size):
    mat = to_mat(sp.csr_array(sp.diags_array([3.0] * 8)))
    solver = SequenceSolver("cg", "none")
    result, _ = solver.solve(mat, to_vec(mat, np.full(8, size)), solver.init())
    x = result.solution.array_r.real
    exact = np.array([int(v / 5e-324) for v in 3.0 * x]) / int(size / 5e-324) - 1.0
    assert result.true_residual == pytest.approx(np.abs(exact).max(), rel=1e-6, abs=1e-16)
    assert result.converged == (result.true_residual <= 1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("exponents", [(-600, 0), (600, 0), (-600, -600), (500, -400), (0, 700)])
def test_a_matrix_far_from_one_is_scaled_too(method, exponents, rng):
    of_matrix, of_rhs = exponents
    matrix, b = laplacian(10), rng.standard_normal(100)
    mat = to_mat(matrix * 2.0**of_matrix)
    solver = SequenceSolver(method, "ilu" if method == "gcrodr" else "none")
    for result in solve_twice(solver, mat, b * 2.0**of_rhs):
        assert result.converged
        size = times(result.solution.array_r, of_matrix - of_rhs)
        assert np.abs(size).max() > 0.1
    np.testing.assert_allclose(matrix @ size, b[::-1], atol=1e-6)


def test_a_solution_beyond_the_range_is_named(rng):
    mat = to_mat(laplacian(5) * 1e-200)
    solver = SequenceSolver("cg", "jacobi")
    result, _ = solver.solve(mat, to_vec(mat, 1e200 * np.ones(25)), solver.init())
    assert result.reason is Reason.NON_FINITE
    assert (result.true_residual, result.solution.norm()) == (1.0, 0.0)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_ladder_and_the_automatic_choice_take_any_scale(size, rng):
    matrix = diffusion(12, rng, 1.0)
    mat, b = to_mat(matrix), size * rng.standard_normal(144)
    for solver in (SequenceSolver("cg", "jacobi"), Automatic(tolerance=1e-8, max_iterations=1000)):
        result, _, _ = solve_or_escalate(solver, mat, to_vec(mat, b), solver.init())
        np.testing.assert_allclose(matrix @ result.solution.array_r, b, atol=1e-6 * size)


def test_guesses_do_not_depend_on_the_scale_of_the_first_system(rng):
    mat = to_mat(laplacian(10))
    solver = SequenceSolver("cg", "jacobi", guess="projection")
    b = rng.standard_normal(100)
    state, counts = solver.init(), []
    for size in (1e-200, 1.0, 1e200):
        result, state = solver.solve(mat, to_vec(mat, size * b), state)
        counts.append(result.iterations)
        assert result.converged
    assert counts[0] > 10 and counts[1:] == [0, 0]


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_a_recycling_ksp_made_by_the_user_refuses_norms_it_cannot_measure(size):
    mat = to_mat(laplacian(5))
    ksp = PETSc.KSP().create(mat.comm)
    ksp.setOperators(mat)
    ksp.setType("python")
    ksp.setPythonContext(RecyclingMINRES(10, 4))
    ksp.setTolerances(rtol=1e-8, atol=0.0)
    b = to_vec(mat, np.full(25, size))
    ksp.solve(b, b.duplicate())
    assert ksp.getConvergedReason() == PETSc.KSP.ConvergedReason.DIVERGED_NANORINF


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1.0, 1e200, 1e300])
def test_a_norm_is_right_at_every_scale(size):
    assert norm_of(np.array([3.0, 4.0]) * size) == pytest.approx(5.0 * size, rel=1e-2)
    assert norm_of(np.array([3.0 + 4.0j]) * size) == pytest.approx(5.0 * size, rel=1e-2)
    assert norm_of(np.zeros(3)) == 0.0
