# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks that a family declares whether its operator maps constants to zero.

If no condition fixes a field, as in a pure Neumann problem, the solution is determined up to a
constant, and a solver that does not know fails or returns an arbitrary one.
"""

from petsc4py import PETSc

import numpy as np

from kryloset.errors import FamilyError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.finite_elements import FiniteElements
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.problems.base import Family
from kryloset.problems.checks.mistakes import describe_class

ZERO = 1e-12
"""Fraction of the operator's norm below which the image of a constant is rounding."""

NONZERO = 1e-6
"""Fraction above which it is not. A coarse quadrature may leave more than rounding."""


class NullspaceCheck:
    """Refuses an operator whose null space is not the one that its family declares."""

    def __init__(self, elements: FiniteElements, boundary: BoundaryValues) -> None:
        """Wait for the first operator.

        Args:
            elements: The space that operators act on.
            boundary: The values that are prescribed.
        """
        self._elements = elements
        self._boundary = boundary
        self._done = False

    def __call__(self, operator: PETSc.Mat) -> None:
        """Check the first operator; later ones pass. Collective.

        Raises:
            FamilyError: The operator maps constants of a field to zero and the family does not
                declare it, or the family declares it and the operator does not.
        """
        if not self._done:
            ensemble = ensemble_of(operator)
            first = operator if ensemble is None else ensemble.lane(0)
            _check_constants(self._elements.family, first, self._elements, self._boundary)
            self._done = True


def _check_constants(
    family: Family, operator: PETSc.Mat, elements: FiniteElements, boundary: BoundaryValues
) -> None:
    norm = operator.norm(PETSc.NormType.NORM_INFINITY)
    if not 0 < norm < np.inf:
        return
    if family.operator.nullspace == "constants":
        ones = operator.createVecRight()
        ones.set(1.0)
        if _size(operator, ones) > NONZERO * norm:
            raise FamilyError(
                f"{describe_class(family)}: its operator is declared with nullspace='constants' "
                "but does not map constants to zero: remove the declaration, or what fixes the "
                "field in `weak_form`"
            )
        return
    for name, indices in elements.components(boundary.prescribed):
        constant = operator.createVecRight()
        constant.array[indices] = 1.0
        if _size(operator, constant) <= ZERO * norm:
            declare = (
                "declare operator = OperatorTraits(nullspace='constants', ...)"
                if len(elements.family.fields) == 1 and not elements.family.fields[0].rank
                else "prescribe it at one node by Dirichlet(..., nodal=True)"
            )
            raise FamilyError(
                f"{describe_class(family)}: nothing fixes {name}. The operator maps its constants "
                "to zero, so the solution is determined up to a constant: did you forget a "
                f"Dirichlet condition? If this is intended, {declare}"
            )


def _size(operator: PETSc.Mat, vector: PETSc.Vec) -> float:
    image = operator.createVecLeft()
    operator.mult(vector, image)
    return float(image.norm(PETSc.NormType.NORM_INFINITY))
