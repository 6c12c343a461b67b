# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which families can be solved again on a refined mesh."""

from kryloset.errors import ConfigError
from kryloset.problems.base import Family
from kryloset.problems.finite_element import FiniteElementFamily


def require_refinable(family: Family) -> FiniteElementFamily:
    """Return a family of finite elements whose instances share a mesh.

    Raises:
        ConfigError: Each instance has a mesh of its own, or the family has a discretisation of its
            own.
    """
    own = any(variable.ragged for variable in family.unknowns)
    if own or not isinstance(family, FiniteElementFamily):
        why = "each instance has a mesh of its own" if own else "it is not discretised by DOLFINx"
        raise ConfigError(
            f"refinement.instances: {type(family).__name__} cannot be solved on a refined mesh, "
            f"since {why}: leave the key out"
        )
    return family
