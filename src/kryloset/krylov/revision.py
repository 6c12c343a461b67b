# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether a matrix is the one that it was, as PETSc itself judges when it keeps a factor."""

from typing import NamedTuple

from petsc4py import PETSc


class Revision(NamedTuple):
    """A matrix and how often it had been changed; equal while its entries are the same.

    Attributes:
        operator: held, so that no other matrix can get its address.
        state: PETSc's count of changes. Assembly raises it, also of entries that were written
            to arrays which the matrix shares.
    """

    operator: PETSc.Mat
    state: int


def get_revision(operator: PETSc.Mat) -> Revision | None:
    """Return the revision, None where entries are not stored in rows: those may change unseen."""
    if not operator.getType().endswith("aij"):
        return None
    return Revision(operator, operator.stateGet())
