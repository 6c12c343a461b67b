# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Domains that are periodic along all axes, and so have no boundary."""

from kryloset.errors import ConfigError
from kryloset.problems.base import AXES, Family


def has_boundary(family: Family) -> bool:
    """Return whether an axis of the domain is not periodic."""
    return not set(AXES[: family.dimension]) <= set(family.mesh.periodic)


def require_boundary(family: Family, why: str) -> None:
    """Refuse that all axes are periodic.

    Args:
        family: The family.
        why: What it needs a boundary for.

    Raises:
        ConfigError: There is no boundary.
    """
    if not has_boundary(family):
        raise ConfigError(
            f"mesh.periodic {list(family.mesh.periodic)} leaves no boundary, {why}: leave out one "
            "of the axes"
        )
