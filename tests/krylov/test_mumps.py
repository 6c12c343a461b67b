# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""MUMPS gets the memory that it asks for, and its errors are understood."""

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from systems import laplacian, refill, to_mat, to_vec

from kryloset.krylov import Reason, SequenceSolver, solve_or_escalate
from kryloset.krylov.preconditioners import mumps as module
from kryloset.krylov.structure import is_positive_definite

pytestmark = pytest.mark.skipif(
    not PETSc.Sys.hasExternalPackage("mumps"), reason="this PETSc was built without MUMPS"
)


def saddle(n):
    """Return (0, I; I, L): regular, of condition 65 for n = 14, and with pivots to be delayed."""
    one = sp.eye_array(n * n)
    return sp.csr_array(sp.block_array([[None, one], [one, laplacian(n)]]))


def test_a_regular_matrix_that_needs_more_room_is_solved(residual):
    matrix = saddle(14)
    mat, solver = to_mat(matrix), SequenceSolver("direct", "lu")
    state = solver.init()
    for factor in (1.0, 2.0):
        refill(mat, factor * matrix)
        result, state = solver.solve(mat, to_vec(mat, np.ones(392)), state)
        assert result.converged
        assert residual(factor * matrix, result.solution, np.ones(392)) <= 1e-12


def test_the_last_rung_of_the_ladder_does_too(residual):
    matrix = saddle(14)
    mat, solver = to_mat(matrix), SequenceSolver("cg", "jacobi", max_iterations=3)
    result, _, attempts = solve_or_escalate(solver, mat, to_vec(mat, np.ones(392)), solver.init())
    assert result.converged and result.method == "direct"
    assert attempts[0].method == "cg"


@pytest.mark.skipif(PETSc.ScalarType().dtype.kind == "c", reason="of these no inertia is known")
def test_a_claim_is_judged_by_a_factor_that_had_room(monkeypatch):
    """Too little memory for the first factor of a definite matrix does not make it indefinite."""
    matrix = sp.csr_array(laplacian(12) - 0.05 * sp.eye_array(144))
    tried = []
    code = module._code

    def first_fails(pc):
        tried.append(code(pc))
        return -9 if len(tried) == 1 else tried[-1]

    monkeypatch.setattr(module, "_code", first_fails)
    monkeypatch.setattr(PETSc.PC, "getFailedReason", lambda pc: 3 if not tried else 0)
    assert is_positive_definite(to_mat(matrix))
    assert tried == [0]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-6, Reason.SINGULAR),
        (-10, Reason.SINGULAR),
        (-9, Reason.OUT_OF_MEMORY),
        (-13, Reason.OUT_OF_MEMORY),
        (-37, Reason.PRECONDITIONER_FAILED),
    ],
)
def test_each_error_has_its_reason(code, reason, monkeypatch, caplog):
    mat = to_mat(laplacian(3))
    monkeypatch.setattr(module, "_code", lambda _: code)
    monkeypatch.setattr(PETSc.PC, "getFailedReason", lambda _: 4)
    result, _ = SequenceSolver("direct").solve(
        mat, to_vec(mat, np.ones(9)), SequenceSolver("direct").init()
    )
    assert result.reason is reason
    assert ("INFOG(1) = -37" in caplog.text) == (code == -37)


@pytest.mark.parametrize("matrix", [np.ones((4, 4)), np.diag([1.0, 2.0, 0.0, 3.0])])
def test_a_singular_matrix_is_called_that(matrix):
    mat, solver = to_mat(sp.csr_array(matrix)), SequenceSolver("direct")
    result, _ = solver.solve(mat, to_vec(mat, np.arange(4.0)), solver.init())
    assert result.reason is Reason.SINGULAR and "singular" in result.reason.message
    assert (result.true_residual, result.solution.norm()) == (1.0, 0.0)
