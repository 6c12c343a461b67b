# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether a matrix has changed, judged as PETSc does when it keeps a factor."""

from typing import NamedTuple

from petsc4py import PETSc

from kryloset.krylov.ensemble.matrix import ensemble_of


class Revision(NamedTuple):
    """A matrix and its count of changes: equal as long as its entries are the same.

    Attributes:
        operator: held, so that no other matrix can get its address.
        state: PETSc's count of changes. Assembly raises it, even if the entries were written
            to arrays that the matrix shares.
    """

    operator: PETSc.Mat
    state: int


def get_revision(operator: PETSc.Mat) -> Revision | None:
    """Return the revision, or None if entries may change unseen.

    Those of rows and of an ensemble change when the matrix is assembled.
    """
    if not operator.getType().endswith("aij") and ensemble_of(operator) is None:
        return None
    return Revision(operator, operator.stateGet())
