# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether matrices have the traits that a family declares."""

from collections.abc import Sequence

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from directly import SolveDirectly
from kryloset.problems import OperatorTraits


class SolveAndKeep(SolveDirectly):
    """A direct solver that keeps the matrices it was handed.

    Attributes:
        matrices: A copy of each matrix.
        handles: What PETSc knows each by.
        states: How often PETSc had seen each change.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.matrices: list[sp.csr_array] = []
        self.handles: list[int] = []
        self.states: list[int] = []

    def __call__(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> PETSc.Vec:
        """Keep A, and return x."""
        rows, columns, entries = operator.getValuesCSR()
        copy = sp.csr_array((entries.copy(), columns, rows), shape=operator.size)
        self.matrices.append(copy)
        self.handles.append(operator.handle)
        self.states.append(operator.stateGet())
        return super().__call__(operator, rhs)


def false_claims(traits: OperatorTraits, matrices: Sequence[sp.csr_array]) -> list[str]:
    """Return the traits that do not hold for the matrices of several instances."""
    false = []
    for a in matrices:
        scale = abs(a).max()
        symmetric = abs(a - a.T).max() <= 1e-12 * scale
        if traits.symmetric and not symmetric:
            false.append("symmetric")
        ones, whole = np.ones(a.shape[0]), a
        if traits.nullspace == "constants":
            if abs(a @ ones).max() > 1e-12 * scale:
                false.append("nullspace")
            # A matrix that is definite but for the constants is definite with the projector added.
            whole = sp.csr_array(a + scale * np.outer(ones, ones) / len(ones))
        if traits.definite and not _is_positive_definite((whole + whole.T) / 2):
            false.append("definite")
        if traits.saddle_point and a.diagonal().min() > 0:
            false.append("saddle_point")
        if traits.constant and not _are_equal(a, matrices[0]):
            false.append("constant")
    return false


def _is_positive_definite(a: sp.csr_array) -> bool:
    """Whether all pivots on the diagonal are positive, by a sparse factor of a symmetric matrix."""
    try:
        factor = splu(
            a.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:  # singular
        return False
    # A row is exchanged only for a pivot of zero, which no definite matrix has.
    return bool((factor.perm_r == factor.perm_c).all() and factor.U.diagonal().min() > 0)


def _are_equal(a: sp.csr_array, b: sp.csr_array) -> bool:
    return a.shape == b.shape and abs(a - b).max() == 0
