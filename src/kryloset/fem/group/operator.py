# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The operator of a group, which solvers take, and its entries, which assembly fills."""

from collections.abc import Callable

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.fem.group.values import Numbers
from kryloset.krylov.ensemble.matrix import EnsembleMatrix, ensemble_of, make_ensemble
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import zeros


def make_operator(
    pattern: Pattern,
    lanes: int,
    declare: Callable[[PETSc.Mat], None],
    *,
    constant: bool = False,
) -> tuple[PETSc.Mat, Numbers]:
    """Return an operator and the entries that it shares.

    Args:
        pattern: Of the matrix of one instance.
        lanes: Number of instances at once.
        declare: Declares to PETSc what solvers may know of such a matrix.
        constant: Whether all lanes of an ensemble share one matrix.

    Returns:
        An ensemble, or for one lane an AIJ matrix; and (nnz, lanes) numbers, or (nnz, 1) for a
        constant operator. Assemble the operator after they have changed.
    """
    own = zeros(pattern.size, 1)
    csr = pattern.offsets, pattern.columns, own.reshape(-1)
    size = (pattern.rows, pattern.rows)
    matrix = PETSc.Mat().createAIJWithArrays(size, csr, comm=PETSc.COMM_SELF)
    matrix.assemble()
    declare(matrix)
    if lanes == 1:
        return matrix, own
    operator = make_ensemble(pattern, matrix, lanes, constant=constant)
    ensemble: EnsembleMatrix = operator.getPythonContext()
    return operator, ensemble.entries


def activate(operator: PETSc.Mat, count: int, resting: NDArray[np.bool_] | bool = False) -> None:
    """Say how many lanes of an operator have an instance, and which of them have no system now."""
    ensemble = ensemble_of(operator)
    if ensemble is not None:
        ensemble.active = count
        ensemble.resting[:] = resting
