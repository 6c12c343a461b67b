# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A direct solver for the many systems of one matrix."""

from mpi4py import MPI  # isort: skip
from petsc4py import PETSc


class SolveFactored:
    """Solves A x = b by LU; PETSc factors again only if A has changed."""

    tolerance = 1e-9

    def __init__(self) -> None:
        """Make a solver without a matrix."""
        self._ksp = PETSc.KSP().create(MPI.COMM_SELF)
        self._ksp.setType("preonly")
        self._ksp.pc.setType("lu")
        self._ksp.pc.setFactorSolverType("mumps")

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x."""
        self._ksp.setOperators(operator)
        solution = rhs.duplicate()
        self._ksp.solve(rhs, solution)
        return solution
