# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which families have equations by which a prediction can be judged; no torch is loaded for it."""

from kryloset.problems.base import Family
from kryloset.problems.finite_element import SteadyFamily


def find_residual_fault(family: Family, *, at_nodes: bool) -> str:
    """Return why the residual of a prediction is not known; nothing if it is.

    Args:
        family: The family of the instances.
        at_nodes: Whether a prediction has its values at the nodes of a mesh, and not on the grid.
    """
    if not isinstance(family, SteadyFamily):
        return (
            "an instance has time steps or Newton iterations: the residual of a prediction is "
            "known where an instance is one linear system"
        )
    if family.unknowns and not at_nodes:
        names = ", ".join(variable.name for variable in family.unknowns)
        return (
            f"the unknowns {names} are not values at the points of the grid, so a prediction "
            "there has no residual"
        )
    return ""
