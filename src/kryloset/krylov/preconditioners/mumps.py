# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Factors of MUMPS: more memory where its estimate was too small, and what its errors mean.

P. Amestoy, I. Duff, J. Koster and J.-Y. L'Excellent, SIAM J. Matrix Anal. Appl. 23 (2001) 15-41.
The numbers are those of its Users' Guide, sections "Control parameters" and "Error diagnostics".
"""

import logging
import math
from collections.abc import Mapping

from petsc4py import PETSc

from kryloset.krylov.reason import Reason

PERCENT = 14
"""ICNTL(14): percentage by which work arrays exceed the estimate of the analysis; 20 by default."""

ROOM = (100, 500, 2500)
"""The values that ICNTL(14) is raised to, one after another."""

TOO_SMALL = (-8, -9, -11, -12, -14, -15, -17, -20)
"""Values of INFOG(1) that ask for a larger ICNTL(14), since pivoting needs more than estimated."""

SINGULAR_CODES = (-2, -6, -10)
"""Values for a matrix without entries, an empty row or column, and a zero pivot."""

NO_MEMORY = (-5, -7, -13, -19)

type Settings = Mapping[int, int]
"""Values of ICNTL by number."""


def set_up_mumps(pc: PETSc.PC, settings: Settings | None = None) -> Reason:
    """Factor the present entries of a PC's operator, with as much memory as it takes. Collective.

    Args:
        pc: of type lu or cholesky, MUMPS its solver.
        settings: of MUMPS, before the first factor of a pattern.

    Returns:
        CONVERGED, SINGULAR, NON_FINITE, OUT_OF_MEMORY or PRECONDITIONER_FAILED.
    """
    if settings:
        _control(pc, settings)
    pc.setUp()
    for percent in ROOM:
        if pc.getFailedReason() == PETSc.PC.FailedReason.NOERROR:
            return Reason.CONVERGED
        if _code(pc) not in TOO_SMALL:
            break
        # PETSc would keep the failed factor. A reset forgets it, and the operator, too.
        operators, name = pc.getOperators(), pc.getType()
        pc.reset()
        pc.setOperators(*operators)
        pc.setType(name)
        pc.setFactorSolverType("mumps")
        _control(pc, {**(settings or {}), PERCENT: percent})
        pc.setUp()
    return _explain(pc)


def _control(pc: PETSc.PC, settings: Settings) -> None:
    pc.setFactorSetUpSolverType()
    factor = pc.getFactorMatrix()
    for number, value in settings.items():
        factor.setMumpsIcntl(number, value)


def _code(pc: PETSc.PC) -> int:
    """Return INFOG(1), which is the same on all ranks."""
    return int(pc.getFactorMatrix().getMumpsInfog(1))


def _explain(pc: PETSc.PC) -> Reason:
    if pc.getFailedReason() == PETSc.PC.FailedReason.NOERROR:
        return Reason.CONVERGED
    code = _code(pc)
    if code in SINGULAR_CODES:
        # If entries are NaN, no pivot is large enough either.
        finite = math.isfinite(pc.getOperators()[0].norm())
        return Reason.SINGULAR if finite else Reason.NON_FINITE
    if code in (*NO_MEMORY, *TOO_SMALL):
        return Reason.OUT_OF_MEMORY
    logging.getLogger(__name__).warning(
        "MUMPS gave up with INFOG(1) = %d, INFOG(2) = %d: see its Users' Guide",
        code,
        pc.getFactorMatrix().getMumpsInfog(2),
    )
    return Reason.PRECONDITIONER_FAILED
