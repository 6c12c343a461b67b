# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Powers of two that bring a system to where the squares of its numbers are numbers.

||b||^2 is 0 for ||b|| below 1e-162 and infinite above 1e154, and a norm of 0 tells every method
that it is done. Numbers that are multiplied by a power of two keep all their digits, unless they
leave the range of double precision, so that the scaled system has the same iterates.
"""

import math
from dataclasses import dataclass
from typing import Self

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.collective import any_rank, largest
from kryloset.krylov.options import keep_bits

# Before vectors are made whose products GMRES sums.
keep_bits()

LARGEST = 2.0**300
"""Norms from the inverse of this to this (2e90) are left as they are."""


def is_safe(norm: float) -> bool:
    """Return whether squares of a norm, and of small parts of it, are far from the ends."""
    return 1 / LARGEST < norm < LARGEST


def exponent_of(size: float) -> int:
    """Return the e of size = f 2^e with 1/2 <= f < 1."""
    return math.frexp(size)[1]


def shift(values: NDArray[np.inexact], exponent: int) -> None:
    """Multiply an array by 2^exponent, in place; 2^exponent itself may be out of range."""
    parts = values.view(np.float64)
    np.ldexp(parts, exponent, out=parts)


def norm_of(vector: NDArray[np.inexact]) -> float:
    """Return the Euclidean norm of an array, which nothing in between over- or underflows."""
    size = float(np.abs(vector).max(initial=0.0))
    if size == 0.0 or not math.isfinite(size) or is_safe(size):
        return float(np.linalg.norm(vector))
    scaled = vector.copy()
    shift(scaled, -exponent_of(size))
    return float(math.ldexp(float(np.linalg.norm(scaled)), exponent_of(size)))


def norm_of_vector(vector: PETSc.Vec) -> float:
    """Return the Euclidean norm of a vector in the same way. Collective."""
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
        rhs: the logarithm to base 2 of what b was divided by.
        operator: of what A was divided by, 0 where A is as it was.
    """

    rhs: int
    operator: int

    @classmethod
    def of(cls, operator: PETSc.Mat, rhs: PETSc.Vec) -> Self:
        """Return what brings ||b|| near 1, and A only where it asks for it. Collective."""
        of_operator = exponent_of(size_of(operator)) if needs_scaling(operator) else 0
        return cls(exponent_of(largest_entry(rhs)), of_operator)

    def apply(self, operator: PETSc.Mat, rhs: PETSc.Vec) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return A and b scaled; A itself where it is as it was. Collective."""
        if self.operator:
            operator = _scale_matrix(operator, -self.operator)
        return operator, _scale_vector(rhs, -self.rhs)

    def restore(self, solution: PETSc.Vec) -> PETSc.Vec:
        """Return x from that of the scaled system, with fewer digits at the ends of the range."""
        return _scale_vector(solution, self.rhs - self.operator)

    def take(self, solution: PETSc.Vec) -> PETSc.Vec:
        """Return that of the scaled system from x."""
        return _scale_vector(solution, self.operator - self.rhs)


def size_of(operator: PETSc.Mat) -> float:
    """Return the largest sum of magnitudes of a row; 1 for a matrix without entries. Collective."""
    try:
        return float(operator.norm(PETSc.NormType.INFINITY))
    except PETSc.Error:
        return 1.0


def needs_scaling(operator: PETSc.Mat) -> bool:
    """Return whether a matrix that can be scaled is far too large or too small. Collective."""
    size = size_of(operator)
    return 0.0 < size < math.inf and not is_safe(size)


def largest_entry(vector: PETSc.Vec) -> float:
    """Return the largest magnitude, not a number if there is one. Collective."""
    size = float(np.abs(vector.array_r).max(initial=0.0))
    # The maximum over ranks may lose it.
    return math.nan if any_rank(vector.comm, math.isnan(size)) else largest(vector.comm, size)


def find_infinite(operator: PETSc.Mat, rhs: PETSc.Vec) -> str | None:
    """Return "A" or "b" where an entry of it is no number, None where all are. Collective."""
    if not math.isfinite(largest_entry(rhs)):
        return "b"
    try:
        entries = operator.getValuesCSR()[2]
    except PETSc.Error:
        # Of a matrix without entries nothing is known.
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
    """Return a matrix times 2^exponent, with what it brings along. Collective."""
    scaled = operator.duplicate(copy=True)
    # In two steps, since 2^exponent may be out of range.
    for part in (exponent // 2, exponent - exponent // 2):
        scaled.scale(math.ldexp(1.0, part))
    scaled.setNullSpace(operator.getNullSpace())
    scaled.setNearNullSpace(operator.getNearNullSpace())
    scaled.setAttr("interpolations", operator.getAttr("interpolations"))
    return scaled
