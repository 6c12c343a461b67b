# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks the boundary conditions that a family returns, before their unknowns are located."""

from typing import Any

import numpy as np
from dolfinx import fem

from kryloset.errors import FamilyError
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.problems.base import Family
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import Dirichlet


def check_conditions(family: Family, where: str, space: fem.FunctionSpace, boundary: Any) -> None:
    """Refuse conditions that cannot be prescribed.

    Args:
        family: The family, whose `where` functions are called.
        where: Beginning of the message.
        space: The space of the solution.
        boundary: What should be a tuple of `Dirichlet`.

    Raises:
        FamilyError: It is not a tuple of `Dirichlet`, or one of them names a part of the space that
            does not exist, has no valid `where`, or a value that does not fit the part.
    """
    if not isinstance(boundary, list | tuple):
        raise FamilyError(
            f"{where}: `boundary` is a {type(boundary).__name__} and must be a tuple of "
            "Dirichlet, with a comma after a single one, or empty"
        )
    for number, dirichlet in enumerate(boundary, start=1):
        named = f"{where}: condition {number}"
        if not isinstance(dirichlet, Dirichlet):
            raise FamilyError(
                f"{named} is a {type(dirichlet).__name__}: use kryloset.problems.Dirichlet"
            )
        sub = _sub_space(named, space, dirichlet)
        _check_where(family, named, space, dirichlet)
        _check_value(named, sub, dirichlet.value)


def _sub_space(named: str, space: fem.FunctionSpace, dirichlet: Dirichlet) -> fem.FunctionSpace:
    """Return the space of the prescribed values."""
    parts = space.num_sub_spaces if space.dofmap.index_map_bs == 1 else 0
    sub = space
    if dirichlet.part is not None:
        if dirichlet.part not in range(parts):
            raise FamilyError(
                f"{named} has part {dirichlet.part!r}, but the space has {parts} parts, counted "
                "from 0" + ("" if parts else ": `part` is for a mixed space")
            )
        sub = sub.sub(dirichlet.part)
    if dirichlet.component is not None:
        components = 0 if sub is space and parts else sub.num_sub_spaces
        if dirichlet.component not in range(components):
            raise FamilyError(
                f"{named} has component {dirichlet.component!r}, but there are {components}, "
                "counted from 0" + ("" if components else ": `component` is for a vector")
            )
        sub = sub.sub(dirichlet.component)
    return sub


def _check_where(
    family: Family, named: str, space: fem.FunctionSpace, dirichlet: Dirichlet
) -> None:
    if dirichlet.where is None:
        if dirichlet.nodal:
            raise FamilyError(f"{named} is nodal but has no `where`: mark the nodes by it")
        return
    if isinstance(dirichlet.where, str | int) and not dirichlet.nodal:
        _check_tag(named, space.mesh, dirichlet.where)
        return
    if not callable(dirichlet.where):
        raise FamilyError(
            f"{named}: `where` is a {type(dirichlet.where).__name__} and must be a function of "
            "points x, shape (3, points)" + (" or a tag of facets" if not dirichlet.nodal else "")
        )
    x = np.array(space.mesh.geometry.x.T)
    with blamed(family, "weak_form", doing="`where` of a condition"):
        found: Any = dirichlet.where(x)
    fits = isinstance(found, np.ndarray) and found.dtype == np.bool_ and found.shape == x.shape[1:]
    if not fits:
        what = type(found).__name__
        if isinstance(found, np.ndarray):
            what = f"{found.dtype} array of shape {found.shape}"
        raise FamilyError(
            f"{named}: `where` returned a {what} for points of shape {x.shape}: return a boolean "
            "for each point, as np.isclose(x[0], 0) does"
        )


def _check_tag(named: str, domain: FamilyMesh, tag: str | int) -> None:
    """Refuse a tag of facets that the mesh does not have."""
    parts = {n: number for n, _, number in domain.tagged_parts() if n.startswith("facets_")}
    names = [name.removeprefix("facets_") for name in parts]
    if not (tag in names if isinstance(tag, str) else tag in parts.values()):
        raise FamilyError(
            f"{named}: no facet has the tag {tag!r}: the tags of facets are "
            f"{', '.join(names) or 'none: return them from make_mesh'}"
        )


def _check_value(named: str, space: fem.FunctionSpace, value: Any) -> None:
    shape = tuple(space.ufl_element().reference_value_shape)
    if isinstance(value, fem.Function):
        if value.function_space.mesh.ufl_domain() != space.mesh.ufl_domain():
            raise FamilyError(f"{named} has a Function on another mesh as its value")
        if tuple(value.ufl_shape) != shape:
            raise FamilyError(
                f"{named} has a Function of the shape {tuple(value.ufl_shape)} as its value but "
                f"needs {shape}"
            )
    elif isinstance(value, fem.Constant):
        if value.ufl_shape:
            raise FamilyError(
                f"{named} has a Constant of the shape {tuple(value.ufl_shape)} as its value: "
                "prescribe a number for each `component`"
            )
    elif not _is_number(value):
        raise FamilyError(
            f"{named} has the value {_short(value)}: use a finite number, or one of `parameters`"
        )


def _is_number(value: Any) -> bool:
    if isinstance(value, str) or np.ndim(value):
        return False
    number = np.asarray(value)
    return number.dtype.kind in "biuf" and bool(np.isfinite(number))


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, int | float | complex | str) else type(value).__name__
