# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Families of PDE instances: the base classes, the package's own, and those in users' files."""

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
from kryloset.problems.finite_element import (
    Dirichlet,
    EvolutionFamily,
    FiniteElementFamily,
    NonlinearFamily,
    NonlinearForm,
    SteadyFamily,
    Step,
    WeakForm,
)
from kryloset.problems.registry import FAMILIES, family_files, load_family, resolve_families

__all__ = [
    "FAMILIES",
    "BoundaryCondition",
    "Dirichlet",
    "Discretisation",
    "EvolutionFamily",
    "Family",
    "FiniteElementFamily",
    "Instance",
    "NonlinearFamily",
    "NonlinearForm",
    "OperatorTraits",
    "Solve",
    "SteadyFamily",
    "Step",
    "Variable",
    "WeakForm",
    "degrees_of_freedom",
    "family_files",
    "load_family",
    "resolve_families",
]
