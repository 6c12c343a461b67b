# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Periodic axes: which ones a family may have, and what its file says of their boundaries."""

from kryloset.errors import ConfigError
from kryloset.problems.base import BoundaryCondition, Family
from kryloset.problems.finite_element import FiniteElementFamily
from kryloset.problems.lattice import is_equidistant

FEWEST = 3
"""Least number of cells along a periodic axis. With two, both would have the same corners."""


def check_periodic(family: Family, name: str) -> None:
    """Refuse periodic axes that the family does not have, or cannot have.

    Args:
        family: The family.
        name: Its name in the configuration.

    Raises:
        ConfigError: An axis cannot be periodic, or its points do not make a lattice that closes.
    """
    for axis in family.mesh.periodic:
        where = f"mesh.periodic {axis}: family {name!r}"
        if axis not in family.coordinates:
            raise ConfigError(f"{where} has the axes {', '.join(family.coordinates)}")
        if axis not in family.may_be_periodic:
            able = [each for each in family.may_be_periodic if each in family.coordinates]
            raise ConfigError(
                f"{where} is written for a boundary there: "
                + (f"only {' and '.join(able)} may be periodic" if able else "remove the key")
                + ". A family of your own declares the axes that may be periodic in "
                "`may_be_periodic`; its fields along them must be periodic, too"
            )
        if not is_equidistant(family.coordinates[axis]):
            raise ConfigError(f"{where} has points along it that are not equidistant")
    if not (family.mesh.periodic and isinstance(family, FiniteElementFamily)):
        return
    if type(family).make_mesh is FiniteElementFamily.make_mesh:
        cells = {axis: family.cells_along(axis) for axis in family.coordinates}
        for axis in family.mesh.periodic:
            if cells[axis] < FEWEST:
                raise ConfigError(
                    f"mesh.points: {cells[axis]} cells along {axis}, which is periodic, are too "
                    f"few: take at least {FEWEST * family.mesh.degree} points"
                )


def describe_boundaries(family: Family) -> tuple[BoundaryCondition, ...]:
    """Return the boundary conditions of a family, with one of its own for each periodic axis."""
    fields = tuple(field.name for field in family.fields)
    periodic = [axis for axis in family.coordinates if family.is_periodic(axis)]
    return (
        *(each for each in family.boundary_conditions if each.dimension not in periodic),
        *(BoundaryCondition(axis, "periodic", fields, 0.0, "periodic") for axis in periodic),
    )


def describe_equation(family: Family) -> str:
    """Return the equation of a family with its boundary conditions."""
    periodic = " and ".join(axis for axis in family.coordinates if family.is_periodic(axis))
    return f"{family.equation}; periodic in {periodic}" if periodic else family.equation
