# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a triangular solve costs at the least: all right-hand sides of a matrix in one block."""

import math
from collections.abc import Iterable
from contextlib import suppress
from statistics import median
from typing import Any

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.bench.goals import timed
from kryloset.bench.making import Sequential
from kryloset.bench.peers import by_factor
from kryloset.krylov import Solver, State
from kryloset.problems import Discretisation, Instance

LARGEST_BLOCK = 64
"""Right-hand sides in a block, at most."""


class _Full(Exception):
    """There are enough right-hand sides."""


def measure_block(
    check: Discretisation, instances: Iterable[Instance], singular: bool, tolerance: float
) -> float:
    """Return the seconds of a triangular solve, a right-hand side, all in one block.

    The factor is MUMPS's or PETSc's own in the order of nested dissection, whichever is quicker.
    All instances have one matrix. Of one that is singular one unknown is prescribed, which is as
    much work. The tolerance is that of the solves on the way to further right-hand sides.
    """
    matrix: PETSc.Mat | None = None
    columns: list[NDArray[np.float64]] = []

    def collect(solver: Solver[Any], operator: PETSc.Mat, rhs: PETSc.Vec, state: State) -> Any:
        nonlocal matrix
        matrix = matrix or operator.copy()
        columns.append(rhs.array_r.copy())
        if len(columns) == LARGEST_BLOCK:
            raise _Full
        return *solver.solve(operator, rhs, state), ()

    solve = Sequential(by_factor("mumps", "LDLᵀ", tolerance), collect)
    with suppress(_Full):
        for instance in instances:
            check.solve([instance], solve)
    assert matrix is not None
    if singular:
        matrix.setNullSpace(PETSc.NullSpace().create(comm=matrix.comm))
        matrix.zeroRowsColumns([0])
    shape = (matrix.getSize()[0], len(columns))
    block = PETSc.Mat().createDense(shape, array=np.array(columns).T.copy("F"), comm=matrix.comm)
    block.assemble()
    return min(_time(matrix, block, package) for package in ("mumps", "petsc")) / shape[1]


def _time(matrix: PETSc.Mat, block: PETSc.Mat, package: str) -> float:
    """Return the median seconds of three solves, infinite where there is no such factor."""
    pc = PETSc.PC().create(matrix.comm)
    solution = block.duplicate()
    try:
        pc.setOperators(matrix)
        pc.setType("cholesky")
        pc.setFactorSolverType(package)
        if package == "petsc":
            pc.setFactorOrdering("nd")
        pc.setUp()
        if pc.getFailedReason() != PETSc.PC.FailedReason.NOERROR:
            return math.inf
        factor = pc.getFactorMatrix()
        factor.matSolve(block, solution)
        return median(timed(lambda: factor.matSolve(block, solution))[1] for _ in range(3))
    except PETSc.Error:
        return math.inf
    finally:
        pc.destroy()
