# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A solver that no test of a family need doubt."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc


def solve_directly(matrix: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
    """Solve A x = b by LU."""
    ksp = PETSc.KSP().create(matrix.comm)
    ksp.setOperators(matrix)
    ksp.setType("preonly")
    ksp.pc.setType("lu")
    solution = rhs.duplicate()
    ksp.solve(rhs, solution)
    return solution
