# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An operator that maps constants to zero says so, and one that does not, does not say it.

Without a condition that holds a field, as in a pure Neumann problem, the solution is known up to
a constant, and a solver can only fail, or return any of them.
"""

from petsc4py import PETSc

import numpy as np

from kryloset.errors import FamilyError
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.finite_elements import FiniteElements
from kryloset.problems.base import Family
from kryloset.problems.checks.mistakes import describe_class

ZERO = 1e-12
"""Part of the operator's norm below which what it maps a constant to is rounding."""

NONZERO = 1e-6
"""The same, above which it is not: a coarse quadrature may leave some."""


def check_constants(
    family: Family, operator: PETSc.Mat, elements: FiniteElements, boundary: BoundaryValues
) -> None:
    """Refuse an operator whose null space is not the one that the family declares. Collective.

    Args:
        family: The family.
        operator: A of one instance.
        elements: The space that it acts on.
        boundary: What is prescribed.

    Raises:
        FamilyError: Constants of a field are mapped to zero, and the family does not say so; or
            it says so, and they are not.
    """
    norm = operator.norm(PETSc.NormType.NORM_INFINITY)
    if not 0 < norm < np.inf:
        return
    if family.operator.nullspace == "constants":
        ones = operator.createVecRight()
        ones.set(1.0)
        if _size(operator, ones) > NONZERO * norm:
            raise FamilyError(
                f"{describe_class(family)}: its operator is declared with nullspace='constants', "
                "and does not map constants to zero: drop that, or what holds the field in "
                "`weak_form`"
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
                f"{describe_class(family)}: nothing holds {name}, whose constants the operator "
                "maps to zero, so that the solution is known up to a constant: did you forget a "
                f"Dirichlet condition? If it is meant so, {declare}"
            )


def _size(operator: PETSc.Mat, vector: PETSc.Vec) -> float:
    image = operator.createVecLeft()
    operator.mult(vector, image)
    return float(image.norm(PETSc.NormType.NORM_INFINITY))
