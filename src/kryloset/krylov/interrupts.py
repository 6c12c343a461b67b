# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ctrl-C while PETSc calls a method in Python.

petsc4py turns it into an error of PETSc's. Taken for a failed solve, it would only make another
method go on.
"""

from petsc4py import PETSc


def pass_interrupt(error: PETSc.Error) -> None:
    """Raise the exception behind an error of PETSc's, if it is to end the program.

    Args:
        error: What PETSc raised; petsc4py names what a callback raised as its cause.

    Raises:
        BaseException: KeyboardInterrupt, or SystemExit.
    """
    cause = error.__cause__
    while cause is not None:
        if not isinstance(cause, Exception):
            raise cause
        cause = cause.__cause__
