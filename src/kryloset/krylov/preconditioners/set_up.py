# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""PETSc's preconditioners by name, set up to fit the method and the matrix."""

import math

from petsc4py import PETSc

from kryloset.krylov.collective import any_rank
from kryloset.krylov.interrupts import pass_interrupt
from kryloset.krylov.names import FACTORS, FILLED, Preconditioner
from kryloset.krylov.options import read_user_options, require_known_types, set_from_options
from kryloset.krylov.preconditioners.multigrid import set_multigrid
from kryloset.krylov.preconditioners.mumps import set_up_mumps
from kryloset.krylov.reason import Reason

SYMMETRY_TOLERANCE = 1e-8
"""Difference between a_ij and a_ji, relative to the matrix norm, that counts as rounding."""


def set_up_preconditioner(
    ksp: PETSc.KSP,
    name: Preconditioner,
    *,
    symmetric: bool,
    direct: bool = False,
    fill: int = 0,
    omega: float = 1.0,
    from_options: bool = False,
) -> Reason:
    """Set a KSP's preconditioner up for the present entries of its operator. Collective.

    Args:
        ksp: has its operator.
        name: On several ranks icc and ilu become block Jacobi with icc or ilu in each rank's
            block. gamg is algebraic multigrid, multigrid is geometric (`set_multigrid`). The
            factors lu and cholesky (L D L' if A is indefinite) are PETSc's own in nested-dissection
            order; on several ranks they are MUMPS's.
        symmetric: whether the method needs a symmetric preconditioner.
        direct: whether a factor is applied once or twice, not in each iteration. It is then
            MUMPS's, which is made faster and pivots; PETSc's own is applied faster.
        fill: levels of fill of icc and ilu; fill-in of a higher level is dropped. Entries of A have
            level 0, and an elimination with entries of levels p and q creates one of level
            p + q + 1 (Y. Saad, Iterative Methods for Sparse Linear Systems, 2003, section 10.3.3).
        omega: relaxation factor of sor. A sweep goes both ways, so that it is symmetric, and
            definite for 0 < omega < 2 if A is (Saad, section 10.2).
        from_options: whether to read PETSc's options under the preconditioner's prefix.

    Returns:
        CONVERGED; PRECONDITIONER_FAILED; a reason from MUMPS (`set_up_mumps`); or
        NOT_POSITIVE_DEFINITE for the cholesky of a nonsymmetric matrix, and for its icc if a
        symmetric preconditioner is needed.

    Raises:
        KrylosetError: for multigrid of a matrix without interpolations, and for an option of the
            user's with a value that PETSc does not know.
    """
    pc = ksp.getPC()
    operator, _ = ksp.getOperators()
    try:
        if name == "gamg":
            # PETSc's multigrid crashes on a matrix of zeros.
            size = operator.norm(PETSc.NormType.FROBENIUS)
            if not 0.0 < size < math.inf:
                return Reason.SINGULAR if size == 0.0 else Reason.NON_FINITE
        if name == "multigrid" and _has_zero_diagonal(operator):
            # A sweep would stop there, and the levels of the cycle crash when they are destroyed.
            return Reason.PRECONDITIONER_FAILED
        if name in ("cholesky", "icc"):
            size = operator.norm(PETSc.NormType.INFINITY)
            if math.isinf(size):
                # PETSc's icc would shift the diagonal for ever.
                return Reason.NON_FINITE
            # See _choose: a nonsymmetric matrix would hang PETSc's icc; its Cholesky reads
            # the upper triangle alone.
            needed = name == "cholesky" or symmetric
            if needed and not operator.isSymmetric(SYMMETRY_TOLERANCE * size):
                return Reason.NOT_POSITIVE_DEFINITE
        _choose(ksp, name, symmetric, direct, fill, omega, from_options)
        if name in FACTORS and pc.getFactorSolverType() == "mumps":
            reason = set_up_mumps(pc)
            if reason is not Reason.CONVERGED:
                return reason
        ksp.setUp()
        # A KSP that is set up would factor a refilled matrix only at the first application.
        pc.setUp()
        ksp.setUpOnBlocks()
    except PETSc.Error as error:
        pass_interrupt(error)
        if from_options:
            require_known_types(error)
        return Reason.PRECONDITIONER_FAILED
    failed = pc.getFailedReason() != PETSc.PC.FailedReason.NOERROR
    return Reason.PRECONDITIONER_FAILED if any_rank(ksp.comm, failed) else Reason.CONVERGED


def _has_zero_diagonal(operator: PETSc.Mat) -> bool:
    """Return whether an entry of a matrix's diagonal is zero. Collective."""
    return any_rank(operator.comm, bool((operator.getDiagonal().array_r == 0).any()))


def _choose(
    ksp: PETSc.KSP,
    name: str,
    symmetric: bool,
    direct: bool,
    fill: int,
    omega: float,
    from_options: bool,
) -> None:
    """Set the type of a KSP's preconditioner, and the types in its blocks."""
    pc = ksp.getPC()
    operator, _ = ksp.getOperators()
    if name == "multigrid":
        if pc.getType() != PETSc.PC.Type.MG:
            set_multigrid(pc, operator)
        if from_options:
            read_user_options(pc)
        return
    parallel = pc.comm.size > 1
    if name == "gamg":
        # GAMG would keep the prolongation of the first matrix it saw, and with it a
        # history that a saved state does not hold. A reset forgets the operator too.
        pc.reset()
        ksp.setOperators(operator)
    pc.setType("bjacobi" if parallel and name in FILLED else name)
    if name in FACTORS and not pc.getFactorSolverType():
        # Once, since an option of the user's may choose another, which then stays.
        if (direct or parallel) and PETSc.Sys.hasExternalPackage("mumps"):
            pc.setFactorSolverType("mumps")
        elif not parallel:
            pc.setFactorSolverType("petsc")
            pc.setFactorOrdering("nd")
    if name == "asm" and symmetric:
        # The restricted variant, PETSc's default, is not symmetric.
        pc.setASMType(PETSc.PC.ASMType.BASIC)
    if name == "sor":
        set_from_options(pc, {"pc_sor_omega": omega})
    if from_options:
        read_user_options(pc)
    if name not in FILLED:
        return
    blocks = [pc]
    if parallel:
        pc.setUp()
        blocks = [block.getPC() for block in pc.getBJacobiSubKSP()]
    for block in blocks:
        block.setType(name)
        if from_options and parallel:
            # Changing the type made it forget its options.
            read_user_options(block)
        block.setFactorLevels(fill)
        if name == "icc" and not symmetric:
            # PETSc's default shifts until every pivot is positive, for ever on a nonsymmetric
            # matrix. The methods for such matrices need no positive pivots.
            block.setFactorShift(PETSc.Mat.FactorShiftType.NONZERO)
