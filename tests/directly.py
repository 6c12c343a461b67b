# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A reliable direct solver for tests of families."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.ensemble.vectors import as_lanes


class SolveDirectly:
    """Solves A x = b by LU, or by CG almost to rounding if A is singular.

    The lanes of an ensemble are solved one after another.
    """

    tolerance = 1e-9

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Return x."""
        ensemble = ensemble_of(operator)
        if ensemble is None:
            return self._solve(operator, rhs)
        solution = rhs.duplicate()
        for lane in range(ensemble.active):
            matrix = ensemble.lane(lane)
            column = matrix.createVecLeft()
            column.array_w[:] = as_lanes(rhs, ensemble.lanes)[:, lane]
            x = self._solve(matrix, column).array_r
            solution.array_w.reshape(-1, ensemble.lanes)[:, lane] = x
        return solution

    def _solve(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
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
