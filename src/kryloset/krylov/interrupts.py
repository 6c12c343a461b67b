# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ctrl-C while PETSc calls a method in Python.

petsc4py turns it into a PETSc error. If that were taken for a failed solve, another method would
go on.
"""

from petsc4py import PETSc


def pass_interrupt(error: PETSc.Error) -> None:
    """Raise the exception behind a PETSc error, if that exception ends the program.

    Args:
        error: What PETSc raised. Its cause is the exception that a callback raised.

    Raises:
        BaseException: KeyboardInterrupt, or SystemExit.
    """
    cause = error.__cause__
    while cause is not None:
        if not isinstance(cause, Exception):
            raise cause
        cause = cause.__cause__
