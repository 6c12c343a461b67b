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
"""What a row may lack of diagonal dominance, relative to its diagonal."""

LEAST = 1e-6
"""Relative size of what counts where one has to be sure that it is there."""


@dataclass(frozen=True)
class Structure:
    """What is known about the matrices of a sequence.

    Attributes:
        symmetric: whether each equals its transpose (complex: its conjugate transpose) but for
            rounding.
        definite: whether each is symmetric positive definite, but for what `singular` says.
            False where that is not known.
        constant: whether systems in a row share a matrix that stays untouched, as all do or
            the time steps of an instance, so that a factor is made once for them.
        saddle_point: whether a block of the diagonal is zero or negative semidefinite, so that
            factors need pivots and incomplete ones break down.
        singular: whether they map their attached null space to zero, and have no factor.
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
    """Check a declared structure by the matrix's entries. Collective.

    It costs up to a factorisation.

    Raises:
        KrylosetError: names the claim that is wrong.
    """
    wrong = None
    if claimed.symmetric and not is_symmetric(operator):
        wrong = "symmetric, and its transpose differs"
    elif claimed.singular and not maps_to_zero(operator):
        wrong = "singular, and does not map its null space to zero"
    elif claimed.definite and not (
        # Of singular and complex matrices no inertia is known here.
        operator.getDiagonal().min()[1] > 0.0
        if claimed.singular or PETSc.ScalarType().dtype.kind == "c"
        else is_positive_definite(operator)
    ):
        wrong = "positive definite, and has an eigenvalue that is not positive"
    if wrong:
        raise KrylosetError(
            f"the matrix is declared {wrong}: correct the declaration of the operator, or how it "
            "is assembled"
        )


def is_symmetric(operator: PETSc.Mat) -> bool:
    """Return whether A equals A' within rounding, relative to its largest row. Collective."""
    tolerance = SYMMETRY_TOLERANCE * operator.norm(PETSc.NormType.INFINITY)
    # Not by PETSc's own test, which believes what is declared.
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

    A diagonal entry that is not positive answers at once, and so does `is_dominant`. Otherwise
    the inertia of a factor L D L' does, by Sylvester's law. One of more than `FACTOR_LIMIT` rows
    is not factored, and taken for what its diagonal says: methods that ask for definite
    matrices notice and say so.
    Of complex numbers no factor here tells the inertia, so of those it is never known.
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
            # Null pivots are found; the last block is factored by one process, which counts.
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
    """Return whether no row's diagonal is less than its other entries together, by magnitude.

    And is more in a row at least of each part that hangs together: then a symmetric matrix with
    a positive diagonal is positive definite (O. Taussky, "A recurring theorem on determinants",
    Amer. Math. Monthly 56, 1949, theorem II). Up to rounding, and with a
    distance from it. False on several ranks, where it is not looked for.
    """
    if operator.comm.size > 1:
        return False
    import scipy.sparse as sp
    import scipy.sparse.csgraph

    offsets, columns, entries = operator.getValuesCSR()
    matrix = sp.csr_array((np.abs(entries), columns, offsets), shape=operator.getSize())
    diagonal = matrix.diagonal()
    excess = 2 * diagonal - matrix.sum(axis=1)
    if not np.all(excess >= -DOMINANCE_SLACK * diagonal):
        return False
    matrix.data[matrix.data < LEAST * np.repeat(diagonal, np.diff(offsets))] = 0.0
    matrix.eliminate_zeros()
    count, part = scipy.sparse.csgraph.connected_components(matrix, directed=False)
    return bool(len(np.unique(part[excess > LEAST * diagonal])) == count)


def hash_entries(operator: PETSc.Mat) -> str:
    """Return a digest of pattern and entries: the same for matrices that are. Collective."""
    digest = hashlib.sha256(repr(operator.getSizes()).encode())
    for part in operator.getValuesCSR():
        digest.update(part.tobytes())
    of_ranks = operator.comm.tompi4py().allgather(digest.digest())
    return hashlib.sha256(b"".join(of_ranks)).hexdigest()
