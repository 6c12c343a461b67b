# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Families of PDE instances."""

from kryloset.problems.base import (
    BoundaryCondition,
    Discretisation,
    Family,
    Instance,
    OperatorTraits,
    Solve,
    Variable,
    degrees_of_freedom,
)
from kryloset.problems.lattice import LatticeFamily, WeakForm
from kryloset.problems.registry import FAMILIES, family_file, load_family, resolve_families

__all__ = [
    "FAMILIES",
    "BoundaryCondition",
    "Discretisation",
    "Family",
    "Instance",
    "LatticeFamily",
    "OperatorTraits",
    "Solve",
    "Variable",
    "WeakForm",
    "degrees_of_freedom",
    "family_file",
    "load_family",
    "resolve_families",
]
