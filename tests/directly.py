# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A reliable direct solver for tests of families."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc


class SolveDirectly:
    """Solves A x = b by LU, or by CG almost to rounding if A is singular."""

    tolerance = 1e-9

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x."""
        ksp = PETSc.KSP().create(operator.comm)
        ksp.setOperators(operator)
        if operator.getNullSpace().handle:
            ksp.setType("cg")
            ksp.pc.setType("icc")
            ksp.setTolerances(rtol=1e-13)
        else:
            ksp.setType("preonly")
            ksp.pc.setType("lu")
            ksp.pc.setFactorSolverType("mumps")
        solution = rhs.duplicate()
        ksp.solve(rhs, solution)
        ksp.destroy()
        return solution


solve_directly = SolveDirectly()
