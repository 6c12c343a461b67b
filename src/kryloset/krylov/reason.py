# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Why a solve ended."""

from enum import IntEnum


class Reason(IntEnum):
    """Why a solve ended: positive for success, as in PETSc. Stored in datasets by number."""

    CONVERGED = 1
    ITERATION_LIMIT = -1
    STAGNATION = -2
    BREAKDOWN = -3
    NON_FINITE = -4
    PRECONDITIONER_FAILED = -5
    TRUE_RESIDUAL_ABOVE_TOLERANCE = -6
    NOT_POSITIVE_DEFINITE = -7
    SINGULAR = -8
    OUT_OF_MEMORY = -9

    @property
    def message(self) -> str:
        """What happened and what to try, in a sentence."""
        return _MESSAGES[self]


MEANINGS = {int(reason): reason.name.lower() for reason in Reason}
"""The name of each reason by its number, as datasets tell it."""

_MESSAGES = {
    Reason.CONVERGED: "the true residual is within the tolerance",
    Reason.ITERATION_LIMIT: (
        "the iteration limit was reached: try a stronger preconditioner (ilu, gamg), a larger "
        "restart, or more iterations"
    ),
    Reason.STAGNATION: (
        "the residual no longer falls: try a larger restart, another preconditioner or method "
        "direct; if A is singular, b must lie in its range"
    ),
    Reason.BREAKDOWN: (
        "the Krylov space cannot grow any more: A or the preconditioner is singular; try "
        "another preconditioner or method direct"
    ),
    Reason.NON_FINITE: "NaN or infinity appeared: check A and b, then the preconditioner",
    Reason.PRECONDITIONER_FAILED: (
        "the preconditioner or factorisation could not be set up (a zero pivot or diagonal "
        "entry): try jacobi, none, or method direct"
    ),
    Reason.TRUE_RESIDUAL_ABOVE_TOLERANCE: (
        "rounding keeps ||b - A x|| above the tolerance although the method's own estimate is "
        "below: scale the equations, or ask for less; if A is singular, b must lie in its range"
    ),
    Reason.NOT_POSITIVE_DEFINITE: (
        "A or the preconditioner is not symmetric positive definite, which cg and rcg ask of "
        "both, minres and rminres of the preconditioner: try gcrodr or gmres"
    ),
    Reason.SINGULAR: (
        "the factorisation found A singular: say what A maps to zero (`nullspace` of a family), or "
        "check how it was assembled, boundary conditions too"
    ),
    Reason.OUT_OF_MEMORY: (
        "the factorisation ran out of memory: ask for more, use more processes, or an iterative "
        "method"
    ),
}
