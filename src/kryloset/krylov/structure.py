# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The structure of a matrix: found from its entries, or declared and confirmed by them."""

import hashlib
from dataclasses import dataclass

from petsc4py import PETSc

import numpy as np

from kryloset.errors import KrylosetError
from kryloset.krylov.preconditioners.mumps import set_up_mumps
from kryloset.krylov.preconditioners.set_up import SYMMETRY_TOLERANCE
from kryloset.krylov.reason import Reason

FACTOR_LIMIT = 200_000
"""Rows up to which a matrix is factored to learn whether it is definite."""

DOMINANCE_SLACK = 1e-13
"""How much a row may fall short of diagonal dominance, relative to its diagonal."""

INDEFINITE = "positive definite, but has an eigenvalue that is not positive"

LEAST = 1e-6
"""Relative size below which an entry or a dominance is not certain enough to be used."""


@dataclass(frozen=True)
class Structure:
    """What is known about the matrices of a sequence.

    Attributes:
        symmetric: whether each equals its transpose (complex: its conjugate transpose) but for
            rounding.
        definite: whether each is symmetric positive definite, apart from the null space that
            `singular` allows. False if that is not known.
        constant: whether successive systems share an unchanged matrix, as in a whole sequence or
            in the time steps of an instance, so that one factor serves them all.
        saddle_point: whether a block of the diagonal is zero or negative semidefinite, so that
            factors need pivots and incomplete ones break down.
        singular: whether each maps its attached null space to zero. It then has no factor.
    """

    symmetric: bool
    definite: bool
    constant: bool = False
    saddle_point: bool = False
    singular: bool = False


def probe_structure(operator: PETSc.Mat) -> Structure:
    """Find the structure of a matrix, at the cost of up to a factorisation. Collective."""
    symmetric = is_symmetric(operator)
    return Structure(symmetric, symmetric and is_positive_definite(operator))


def confirm_structure(operator: PETSc.Mat, claimed: Structure) -> None:
    """Check a declared structure by what a pass over the matrix's entries shows. Collective.

    Of a positive definite matrix, that is the sign of the diagonal: see `confirm_definite`.

    Raises:
        KrylosetError: names the claim that is wrong.
    """
    if claimed.symmetric and not is_symmetric(operator):
        raise _fault("symmetric, but its transpose differs")
    if claimed.singular and not maps_to_zero(operator):
        raise _fault("singular, but does not map its null space to zero")
    if claimed.definite and not operator.getDiagonal().min()[1] > 0.0:
        raise _fault(INDEFINITE)


def confirm_definite(operator: PETSc.Mat, claimed: Structure) -> None:
    """Check that a matrix is positive definite, if it is declared so. Collective.

    It costs a factorisation, which may take longer than solving sixteen systems. The inertia of
    singular and complex matrices is not known here; nothing is checked for them.

    Raises:
        KrylosetError: it is not.
    """
    known = not claimed.singular and PETSc.ScalarType().dtype.kind != "c"
    if claimed.definite and known and not is_positive_definite(operator):
        raise _fault(INDEFINITE)


def _fault(wrong: str) -> KrylosetError:
    return KrylosetError(
        f"the matrix is declared {wrong}: correct the declaration of the operator, or how it "
        "is assembled"
    )


def is_symmetric(operator: PETSc.Mat) -> bool:
    """Return whether A equals A' within rounding, relative to its largest row. Collective."""
    tolerance = SYMMETRY_TOLERANCE * operator.norm(PETSc.NormType.INFINITY)
    # PETSc's own test would believe what is declared.
    difference = operator.transpose(PETSc.Mat())
    if PETSc.ScalarType().dtype.kind == "c":
        difference.conjugate()
    difference.axpy(-1.0, operator)
    return bool(difference.norm(PETSc.NormType.INFINITY) <= tolerance)


def maps_to_zero(operator: PETSc.Mat) -> bool:
    """Return whether A maps its attached null space to zero, relative to its rows. Collective."""
    # PETSc's own test is not relative.
    space = operator.getNullSpace()
    if not space.handle:
        return False
    vectors = list(space.getVecs())
    if space.hasConstant():
        constant = operator.createVecRight()
        constant.set(1.0)
        vectors.append(constant)
    largest = PETSc.NormType.INFINITY
    tolerance = SYMMETRY_TOLERANCE * operator.norm(largest)
    return all((operator * v).norm(largest) <= tolerance * v.norm(largest) for v in vectors)


def is_positive_definite(operator: PETSc.Mat) -> bool:
    """Return whether a symmetric matrix is known to be positive definite. Collective.

    A diagonal entry that is not positive decides at once, and so does `is_dominant`. Otherwise
    the inertia of a factor L D L' decides, by Sylvester's law. A matrix of more than
    `FACTOR_LIMIT` rows is not factored; its diagonal alone decides, since methods that need a
    definite matrix notice an indefinite one. The answer for complex matrices is always False,
    since no factor here gives their inertia.
    """
    if PETSc.ScalarType().dtype.kind == "c" or not operator.getDiagonal().min()[1] > 0.0:
        return False
    if operator.getSize()[0] > FACTOR_LIMIT:
        return True
    if is_dominant(operator):
        return True
    pc = PETSc.PC().create(operator.comm)
    try:
        pc.setOperators(operator)
        pc.setType(PETSc.PC.Type.CHOLESKY)
        mumps = PETSc.Sys.hasExternalPackage("mumps")
        pc.setFactorSolverType("mumps" if mumps else "petsc")
        if mumps:
            # MUMPS then detects null pivots, and one process factors the last block, so that its
            # pivots are counted, too.
            reason = set_up_mumps(pc, {24: 1, 13: 1})
            if reason is not Reason.CONVERGED:
                return False
        else:
            pc.setUp()
            if pc.getFailedReason() != PETSc.PC.FailedReason.NOERROR:
                return False
        factor = pc.getFactorMatrix()
        negative, zero, _ = factor.getInertia()
    except PETSc.Error:
        return False
    finally:
        pc.destroy()
    return bool(negative == 0 and zero == 0)


def is_dominant(operator: PETSc.Mat) -> bool:
    """Return whether the matrix is diagonally dominant, and strictly so in every connected part.

    The diagonal entry of each row is then at least as large, in magnitude, as the sum of the
    others, and larger in at least one row of each connected part. Such a symmetric matrix with a
    positive diagonal is positive definite (O. Taussky, "A recurring theorem on determinants",
    Amer. Math. Monthly 56, 1949, theorem II). The first comparison allows for rounding, the second
    keeps a distance from it. On several ranks the answer is always False.
    """
    if operator.comm.size > 1:
        return False
    import scipy.sparse as sp
    import scipy.sparse.csgraph

    offsets, columns, entries = operator.getValuesCSR()
    matrix = sp.csr_array((np.abs(entries), columns, offsets), shape=operator.getSize())
    diagonal = matrix.diagonal()
    with np.errstate(invalid="ignore"):
        # Of an infinite row it is NaN, which is not large enough.
        excess = 2 * diagonal - matrix.sum(axis=1)
    if not np.all(excess >= -DOMINANCE_SLACK * diagonal):
        return False
    matrix.data[matrix.data < LEAST * np.repeat(diagonal, np.diff(offsets))] = 0.0
    matrix.eliminate_zeros()
    count, part = scipy.sparse.csgraph.connected_components(matrix, directed=False)
    return bool(len(np.unique(part[excess > LEAST * diagonal])) == count)


def hash_entries(operator: PETSc.Mat) -> str:
    """Return a digest of pattern and entries, equal for equal matrices. Collective."""
    digest = hashlib.sha256(repr(operator.getSizes()).encode())
    for part in operator.getValuesCSR():
        digest.update(part.tobytes())
    of_ranks = operator.comm.tompi4py().allgather(digest.digest())
    return hashlib.sha256(b"".join(of_ranks)).hexdigest()
