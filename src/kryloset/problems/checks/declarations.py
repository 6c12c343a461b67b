# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of what a family declares, before any work: texts, variables, grid and times."""

import inspect
from typing import Any, get_args, get_type_hints

import numpy as np

from kryloset.config import Section
from kryloset.errors import FamilyError
from kryloset.problems.base import BoundaryCondition, Family, OperatorTraits, Variable
from kryloset.problems.checks.coverage import INSIDE
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import FiniteElementFamily

#: Names of the axes that the file adds to arrays.
RESERVED = ("sample", "time", "component")
#: Groups of the file, whose names no axis of the grid may have.
_GROUPS = (
    "boundary_conditions", "digests", "dimensions", "fields", "mask", "mesh", "parameters",
    "provenance", "scalars", "solver", "splits", "statistics", "t0_fields", "t1_fields",
    "t2_fields", "unknowns",
)  # fmt: skip
_KINDS = ("wall", "open", "periodic")


def check_class(kind: type[Family], name: str) -> None:
    """Refuse a class that lacks what every family needs.

    Args:
        kind: The class.
        name: Its name in the configuration.

    Raises:
        FamilyError: A method or an attribute is missing or has the wrong type.
    """
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    missing += [a for a in ("summary", "equation", "parameters", "fields") if not hasattr(kind, a)]
    named = kind.discretise is Family.discretise
    if named and not kind.discretisation:
        missing.append("discretise")
    if missing:
        raise FamilyError(
            f"family {name!r}: class {kind.__name__} lacks {', '.join(missing)}; see "
            "docs/how-to/family.md"
        )
    if named and not all(str(kind.discretisation).partition(":")):
        raise FamilyError(
            f"family {name!r}: `discretisation` is {kind.discretisation!r} and must name a class "
            "as 'module:Class'"
        )
    for attribute in ("coordinates", "times"):
        if callable(inspect.getattr_static(kind, attribute)):
            raise FamilyError(
                f"family {name!r}: `{attribute}` is a method and must be a property: write "
                "@property above it"
            )
    _check_construction(kind, name)
    for words in ("summary", "equation"):
        if not isinstance(getattr(kind, words), str):
            raise FamilyError(f"family {name!r}: `{words}` must be a text")
    for attribute in ("parameters", "fields", "unknowns"):
        _check_tuple(kind, name, attribute)
    if not isinstance(kind.operator, OperatorTraits):
        raise FamilyError(
            f"family {name!r}: `operator` must be an OperatorTraits, as in "
            "`operator = OperatorTraits(symmetric=True)`"
        )
    for trait, kinds in get_type_hints(OperatorTraits).items():
        value, choices = getattr(kind.operator, trait), get_args(kinds) or (False, True)
        if type(value) is not type(choices[0]) or value not in choices:
            raise FamilyError(
                f"family {name!r}: {trait} of its OperatorTraits is {value!r}: take "
                f"{' or '.join(map(repr, choices))}"
            )


def _check_construction(kind: type[Family], name: str) -> None:
    """Refuse a class that cannot be called with settings and mesh."""
    try:
        inspect.signature(kind).bind(None, None)
    except TypeError as error:
        raise FamilyError(
            f"family {name!r}: `__init__`: {error}: write `def __init__(self, settings, mesh):` "
            "and begin it with `super().__init__(settings, mesh)`"
        ) from None
    if not (isinstance(kind.Settings, type) and issubclass(kind.Settings, Section)):
        raise FamilyError(
            f"family {name!r}: `Settings` must be a class that derives from kryloset.config.Section"
        )
    dimensions: Any = kind.dimensions
    several = isinstance(dimensions, list | tuple) and len(dimensions) > 0
    if not several or any(number not in (1, 2, 3) for number in dimensions):
        raise FamilyError(
            f"family {name!r}: `dimensions` are {dimensions!r} and must be a tuple of 1, 2 or 3, "
            "as in `dimensions = (2, 3)`, with a comma after a single number"
        )


def check_declarations(family: Family, name: str) -> None:
    """Refuse a family whose variables, grid or times cannot be stored in a file.

    Args:
        family: The family.
        name: Its name in the configuration.

    Raises:
        FamilyError: They cannot be stored.
    """
    for attribute in ("parameters", "fields", "unknowns"):
        _check_tuple(family, name, attribute)
    check_grid(family)
    _check_times(family)
    _check_names(family)
    _check_variables(family, name)
    _check_boundary_conditions(family)


def check_grid(family: Family) -> None:
    """Refuse coordinates that do not define a grid.

    Raises:
        FamilyError: They are not a dictionary with an axis for each dimension, or the coordinates
            along an axis are not finite and ascending numbers.
    """
    with blamed(family, "coordinates"):
        coordinates = family.coordinates
    where = f"{describe_class(family)}, coordinates"
    if not isinstance(coordinates, dict):
        raise FamilyError(
            f"{where} returned a {type(coordinates).__name__}: return a dictionary of arrays, as "
            '{"x": np.linspace(0, 1, 9)}'
        )
    if isinstance(family, FiniteElementFamily) and len(coordinates) != family.dimension:
        raise FamilyError(
            f"{where}: the grid has the axes {', '.join(coordinates)} but the domain has "
            f"{family.dimension} dimensions: return one array for each axis"
        )
    for axis, points in coordinates.items():
        fault = _fault_of_line(points)
        if not fault and len(points) < 2:
            fault = f"are {len(points)} and must be two or more"
        if fault:
            raise FamilyError(f"{where}: those along {axis} {fault}")


def _fault_of_line(points: Any) -> str | None:
    line = np.asarray(points)
    if line.dtype.kind == "c":
        return "are not real numbers"
    if line.dtype.kind not in "iuf":
        return "are not numbers"
    if line.ndim != 1:
        return f"have the shape {line.shape} and must have one axis"
    if not np.isfinite(line).all():
        return "are not finite"
    (falls,) = np.nonzero(~(np.diff(line) > 0))
    if len(falls):
        here, after = line[falls[0]], line[falls[0] + 1]
        return f"do not ascend: {here:g} is followed by {after:g}"
    if not isinstance(points, np.ndarray):
        return f"are a {type(points).__name__} and must be a NumPy array"
    return None


def _check_times(family: Family) -> None:
    """Refuse times that are not finite and ascending."""
    with blamed(family, "times"):
        times = family.times
    if times is None:
        return
    fault = _fault_of_line(times)
    if fault:
        raise FamilyError(f"{describe_class(family)}, times: they {fault}")


def _check_tuple(family: Family | type[Family], name: str, attribute: str) -> None:
    variables = getattr(family, attribute)
    if isinstance(variables, list | tuple) and all(isinstance(v, Variable) for v in variables):
        return
    raise FamilyError(
        f"family {name!r}: `{attribute}` must be a tuple of Variables, as in "
        f'`{attribute} = (Variable("k", "permeability"),)`, with a comma after a single variable'
    )


def _check_names(family: Family) -> None:
    """Refuse names that are not identifiers, and axes with names that the file reserves."""
    where = describe_class(family)
    if not family.parameters or not family.fields:
        raise FamilyError(f"{where}: a family needs at least one parameter and one field")
    for axis in family.coordinates:
        if axis in (*RESERVED, *_GROUPS) or str(axis).startswith("grid_"):
            raise FamilyError(
                f"{where}: an axis of the grid must not be named {axis!r}, which the file uses for "
                "something else: use x, y and z"
            )
    for variable in family.unknowns:
        if variable.dimensions is None:
            raise FamilyError(
                f"{where}: variable {variable.name!r} of `unknowns` has no dimensions: take "
                "degrees_of_freedom(field), or name its axes"
            )
    for variable in (*family.parameters, *family.fields, *family.unknowns):
        for name in (variable.name, *variable.axes):
            if not isinstance(name, str) or not name.isidentifier():
                raise FamilyError(
                    f"{where}: {name!r} of variable {variable.name!r} is not a valid name: use "
                    "letters, digits and underscores"
                )
        for words in (variable.long_name, variable.units):
            if not isinstance(words, str) or "\0" in words:
                raise FamilyError(
                    f"{where}: variable {variable.name}: long name and units must be strings, but "
                    f"one is {words!r}; `dimensions` come after them"
                )
        if variable.rank not in (0, 1) or variable.transform not in ("identity", "log"):
            raise FamilyError(
                f"{where}: variable {variable.name} has rank {variable.rank!r} and transform "
                f"{variable.transform!r}: take 0 or 1, and 'identity' or 'log'"
            )


def _check_boundary_conditions(family: Family) -> None:
    """Refuse boundary conditions that cannot be stored."""
    fields, taken = {v.name for v in family.fields}, set()
    for condition in family.boundary_conditions:
        if not isinstance(condition, BoundaryCondition):
            raise FamilyError(
                f"{describe_class(family)}: `boundary_conditions` must be a tuple of "
                f"BoundaryCondition but contains a {type(condition).__name__}"
            )
        where = f"{describe_class(family)}: boundary condition {condition.description!r}"
        others = [name for name in condition.fields if name not in fields]
        if condition.dimension not in family.coordinates:
            raise FamilyError(
                f"{where} has the dimension {condition.dimension!r} but the axes are "
                f"{', '.join(family.coordinates)}"
            )
        if others:
            raise FamilyError(
                f"{where} is for {', '.join(others)} but the fields are {', '.join(sorted(fields))}"
                ": name them in a tuple"
            )
        if condition.kind not in _KINDS:
            raise FamilyError(
                f"{where} has the kind {condition.kind!r}: use one of {', '.join(_KINDS)}"
            )
        key = (condition.dimension, condition.kind, *condition.fields)
        if key in taken:
            raise FamilyError(f"{where} is declared twice: {' '.join(key)}")
        taken.add(key)


def _check_variables(family: Family, name: str) -> None:
    """Refuse names and axes that cannot be stored."""
    grid = list(family.coordinates)
    variables = (*family.parameters, *family.fields, *family.unknowns)
    # Names that the file uses for axes.
    taken = {*RESERVED, *(axis for v in variables for axis in v.axes)}
    seen: set[str] = set()
    for variable in variables:
        if variable.name in seen:
            raise FamilyError(
                f"family {name!r} has two variables named {variable.name!r}: rename one of them"
            )
        if variable.name == INSIDE.name:
            raise FamilyError(
                f"family {name!r}: a variable must not be named {INSIDE.name!r}, which is the mask "
                "of the domain. The mask is made from the mesh and stored automatically: remove "
                "the variable, or rename it"
            )
        if variable.name in taken or variable.name.endswith("_offsets"):
            raise FamilyError(
                f"family {name!r}: a variable must not be named {variable.name!r}, because the "
                "file has an axis or offsets of that name: rename it"
            )
        seen.add(variable.name)
        if variable.placement == "cells" and (variable.rank or variable not in family.parameters):
            raise FamilyError(
                f"family {name!r}: variable {variable.name!r} has the placement 'cells', which "
                "only parameters of rank 0 can have"
            )
        own = [axis for axis in variable.axes if axis not in grid]
        known = [axis for axis in grid if axis in variable.axes]
        if list(variable.axes) != known and list(variable.axes) != own:
            raise FamilyError(
                f"family {name!r}: variable {variable.name!r} has the dimensions "
                f"{variable.axes}. They must be axes of {tuple(grid)}, in that order, or axes of "
                "its own, but not both"
            )
