# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which families have equations by which a prediction can be judged; no torch is loaded for it."""

from typing import Any

from kryloset.problems.base import Family, Variable
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import FiniteElementFamily

#: Discretisations whose equations are known.
KNOWN = (
    "kryloset.fem.steady:SteadyDiscretisation",
    "kryloset.fem.remeshed:RemeshedDiscretisation",
    "kryloset.fem.newton:NewtonDiscretisation",
    "kryloset.fem.evolution:EvolutionDiscretisation",
)

#: Basix's name of the simplex in each dimension.
CELLS = {1: "interval", 2: "triangle", 3: "tetrahedron"}


def find_residual_fault(family: Family, *, at_nodes: bool) -> str:
    """Return why the residual of a prediction is not known; nothing if it is.

    Args:
        family: The family of the instances.
        at_nodes: Whether a prediction has its values at the nodes of a mesh, and not on the grid.
    """
    if not _has_known_equations(family):
        return "the family has a discretisation of its own, whose equations are not known"
    if at_nodes:
        return find_nodes_fault(family)
    parts = _parts_of(family)
    own = {variable.name for variable in family.unknowns}
    on_grid = [part for fields, part in parts if f"{fields[0].name}_dofs" not in own]
    for (first, *_), part in parts:
        dofs = f"{first.name}_dofs"
        if dofs in own and not any(_is_within(part, nodes=other) for other in on_grid):
            there = "; that of a model on points has one at the nodes, with `where: mesh`"
            return (
                f"the unknowns {dofs} are not values at the points of the grid, so a prediction "
                f"there has no residual{'' if find_nodes_fault(family) else there}"
            )
    return ""


def find_nodes_fault(family: Family) -> str:
    """Return why not all fields have values at the nodes of the first one; nothing if they have.

    Args:
        family: The family of the instances.
    """
    if not isinstance(family, FiniteElementFamily):
        return ""  # what it stores shows it
    ((first, *_), element), *others = _parts_of(family)
    if not _is_lagrange(element) and not element.is_mixed:
        return f"`{first.name}` is in edge elements, which have no values at nodes"
    for (other, *_), _ in others:
        return f"`{other.name}` has nodes of its own, and not those of `{first.name}`"
    return ""


def _has_known_equations(family: Family) -> bool:
    own = type(family).discretise is not Family.discretise
    return isinstance(family, FiniteElementFamily) and not own and family.discretisation in KNOWN


def _parts_of(family: Family) -> list[tuple[tuple[Variable, ...], Any]]:
    """Return the parts of a family's space: their fields, and their element of Basix."""
    assert isinstance(family, FiniteElementFamily)
    with blamed(family, "make_element"):
        element = family.make_element(CELLS[family.dimension])
    if element.is_mixed:
        pairs = zip(family.fields, element.sub_elements, strict=False)
        return [((field,), part) for field, part in pairs]
    return [(family.fields, element)]


def _is_lagrange(element: Any) -> bool:
    return not element.is_mixed and element.element_family.name == "P"


def _is_within(element: Any, *, nodes: Any) -> bool:
    """Return whether the nodes of an element are among those of another one, and have one value."""
    both = _is_lagrange(element) and _is_lagrange(nodes) and not element.discontinuous
    return both and nodes.embedded_superdegree % max(element.embedded_superdegree, 1) == 0
