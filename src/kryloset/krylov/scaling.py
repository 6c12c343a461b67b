# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scaling by powers of two, for systems whose squared norms leave double precision.

||b||^2 is 0 for ||b|| below 1e-162 and infinite above 1e154, and every method takes a norm of 0 for
convergence. A number that is multiplied by a power of two keeps all its digits, unless it leaves
the range of double precision. The scaled system therefore has the same iterates.
"""

import math
from dataclasses import dataclass
from typing import Self

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.collective import any_rank, largest
from kryloset.krylov.options import keep_bits

# Called before any vectors are made whose products GMRES sums.
keep_bits()

LARGEST = 2.0**300
"""Systems with norms between the inverse of this number and this number (2e90) are not scaled."""


def is_safe(norm: float) -> bool:
    """Return whether the squares of a norm, and of small parts of it, are safely in range."""
    return 1 / LARGEST < norm < LARGEST


def exponent_of(size: float) -> int:
    """Return the e of size = f 2^e with 1/2 <= f < 1."""
    return math.frexp(size)[1]


def shift(values: NDArray[np.inexact], exponent: int) -> None:
    """Multiply an array by 2^exponent, in place; 2^exponent itself may be out of range."""
    parts = values.view(np.float64)
    np.ldexp(parts, exponent, out=parts)


def norm_of(vector: NDArray[np.inexact]) -> float:
    """Return the Euclidean norm of an array, without overflow or underflow on the way."""
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(vector))
    if is_safe(norm):
        return norm
    size = float(np.abs(vector).max(initial=0.0))
    if size == 0.0 or not math.isfinite(size):
        return norm
    scaled = vector.copy()
    shift(scaled, -exponent_of(size))
    return float(math.ldexp(float(np.linalg.norm(scaled)), exponent_of(size)))


def norm_of_vector(vector: PETSc.Vec) -> float:
    """Return the Euclidean norm of a vector, without overflow or underflow. Collective."""
    norm = float(vector.norm())
    if is_safe(norm):
        return norm
    size = largest_entry(vector)
    if size == 0.0 or not math.isfinite(size):
        return size
    exponent = exponent_of(size)
    return math.ldexp(float(_scale_vector(vector, -exponent).norm()), exponent)


@dataclass(frozen=True)
class Scaling:
    """How a system A x = b was scaled: a value.

    Attributes:
        rhs: base-2 logarithm of the number that b was divided by.
        operator: base-2 logarithm of the number that A was divided by; 0 if A was not scaled.
    """

    rhs: int
    operator: int

    @classmethod
    def of(cls, operator: PETSc.Mat, rhs: PETSc.Vec) -> Self:
        """Return the scaling that brings ||b|| near 1, and of A if it needs one. Collective."""
        of_operator = exponent_of(size_of(operator)) if needs_scaling(operator) else 0
        return cls(exponent_of(largest_entry(rhs)), of_operator)

    def apply(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return the scaled A and b; A itself if it is not scaled. Collective."""
        if self.operator:
            operator = _scale_matrix(operator, -self.operator)
        return operator, _scale_vector(rhs, -self.rhs)

    def restore(self, solution: PETSc.Vec) -> PETSc.Vec:
        """Return x from the scaled system's, with fewer digits at the ends of the range."""
        return _scale_vector(solution, self.rhs - self.operator)

    def take(self, solution: PETSc.Vec) -> PETSc.Vec:
        """Return the scaled system's solution from x."""
        return _scale_vector(solution, self.operator - self.rhs)


def size_of(operator: PETSc.Mat) -> float:
    """Return the largest sum of magnitudes of a row; 1 for a matrix without entries. Collective."""
    try:
        return float(operator.norm(PETSc.NormType.INFINITY))
    except PETSc.Error:
        return 1.0


def needs_scaling(operator: PETSc.Mat) -> bool:
    """Return whether a matrix is too large or too small, and can be scaled. Collective."""
    size = size_of(operator)
    return 0.0 < size < math.inf and not is_safe(size)


def largest_entry(vector: PETSc.Vec) -> float:
    """Return the largest magnitude of an entry; NaN if one is NaN. Collective."""
    size = float(np.abs(vector.array_r).max(initial=0.0))
    # The maximum over ranks might lose a NaN.
    return math.nan if any_rank(vector.comm, math.isnan(size)) else largest(vector.comm, size)


def find_infinite(operator: PETSc.Mat, rhs: PETSc.Vec) -> str | None:
    """Return "A" or "b", whichever has an entry that is not finite; else None. Collective."""
    if not math.isfinite(largest_entry(rhs)):
        return "b"
    try:
        entries = operator.getValuesCSR()[2]
    except PETSc.Error:
        # Nothing is known about a matrix that does not store entries.
        entries = np.zeros(0)
    return "A" if any_rank(operator.comm, not np.isfinite(entries).all()) else None


def _scale_vector(vector: PETSc.Vec, exponent: int) -> PETSc.Vec:
    scaled = vector.copy()
    with np.errstate(over="ignore", under="ignore"):
        shift(scaled.getArray(), exponent)
    # Written behind PETSc's back: its cached norms are stale.
    scaled.stateIncrease()
    return scaled


def _scale_matrix(operator: PETSc.Mat, exponent: int) -> PETSc.Mat:
    """Return a matrix times 2^exponent, with its null spaces and attributes. Collective."""
    scaled = operator.duplicate(copy=True)
    # In two steps, since 2^exponent may be out of range.
    for part in (exponent // 2, exponent - exponent // 2):
        scaled.scale(math.ldexp(1.0, part))
    scaled.setNullSpace(operator.getNullSpace())
    scaled.setNearNullSpace(operator.getNearNullSpace())
    scaled.setAttr("interpolations", operator.getAttr("interpolations"))
    return scaled
