# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The residual that a check computes does not depend on units."""

from types import SimpleNamespace

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import pytest

from kryloset.fem.linear_system import LinearSystem


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1.0, 1e200, 1e300])
def test_the_residual_is_one_for_zero_and_zero_for_the_solution(size):
    matrix = PETSc.Mat().createAIJ((3, 3), nnz=1, comm=PETSc.COMM_SELF)
    matrix.setDiagonal(PETSc.Vec().createWithArray(np.full(3, 2.0), comm=PETSc.COMM_SELF))
    matrix.assemble()
    b = size * np.array([1.0, 2.0, 3.0])
    system = SimpleNamespace(
        matrix=matrix, rhs=PETSc.Vec().createWithArray(b, comm=PETSc.COMM_SELF)
    )
    assert LinearSystem.residual(system, np.zeros(3)) == pytest.approx(1.0)
    assert LinearSystem.residual(system, b / 2) <= 1e-12
    assert LinearSystem.residual(system, b) == pytest.approx(1.0)
