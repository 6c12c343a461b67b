# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ensembles of SciPy matrices."""

from collections.abc import Sequence

from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
from systems import to_mat

from kryloset.krylov.ensemble.matrix import ensemble_of, make_ensemble
from kryloset.krylov.ensemble.pattern import Pattern


def to_ensemble(
    matrices: Sequence[sp.csr_array], lanes: int = 16, *, constant: bool = False
) -> PETSc.Mat:
    """Return an ensemble of matrices with one pattern; if `constant`, of one for all lanes."""
    template = to_mat(matrices[0])
    active = lanes if constant else len(matrices)
    mat = make_ensemble(Pattern.of(template), template, lanes, active=active, constant=constant)
    refill(mat, matrices)
    return mat


def refill(mat: PETSc.Mat, matrices: Sequence[sp.csr_array]) -> None:
    """Put new matrices into an ensemble."""
    ensemble = ensemble_of(mat)
    for lane, matrix in enumerate(matrices):
        ensemble.entries[:, lane] = matrix.data
    ensemble.fill_idle()
    mat.assemble()


def to_rhs(mat: PETSc.Mat, columns: np.ndarray) -> PETSc.Vec:
    """Return columns (n, active) as a right-hand side; that of an idle lane is 0."""
    rhs = mat.createVecLeft()
    lanes = ensemble_of(mat).lanes
    rhs.array_w.reshape(-1, lanes)[:, : columns.shape[1]] = columns
    rhs.array_w.reshape(-1, lanes)[:, columns.shape[1] :] = 0.0
    return rhs


def columns_of(mat: PETSc.Mat, vector: PETSc.Vec) -> np.ndarray:
    """Return the active lanes of a vector, (n, active)."""
    ensemble = ensemble_of(mat)
    return vector.array.reshape(-1, ensemble.lanes)[:, : ensemble.active].copy()
