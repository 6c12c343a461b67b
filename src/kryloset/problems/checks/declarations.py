# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a family declares is checked before any work: its words, variables, grid and times."""

import inspect
from typing import Any, get_args, get_type_hints

import numpy as np

from kryloset.config import Section
from kryloset.errors import FamilyError
from kryloset.problems.base import BoundaryCondition, Family, OperatorTraits, Variable
from kryloset.problems.checks.coverage import INSIDE
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.problems.finite_element import FiniteElementFamily

#: Axes that the file gives to arrays by itself.
RESERVED = ("sample", "time", "component")
#: Groups beside them, which no axis of the grid may be named as.
_GROUPS = (
    "boundary_conditions", "digests", "dimensions", "fields", "mask", "mesh", "parameters",
    "provenance", "scalars", "solver", "splits", "statistics", "t0_fields", "t1_fields",
    "t2_fields", "unknowns",
)  # fmt: skip
_KINDS = ("wall", "open", "periodic")


def check_class(kind: type[Family], name: str) -> None:
    """Refuse a class that lacks what every family has.

    Args:
        kind: The class.
        name: As the configuration names it.

    Raises:
        FamilyError: A method or an attribute is missing, or of another type.
    """
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    missing += [a for a in ("summary", "equation", "parameters", "fields") if not hasattr(kind, a)]
    if not kind.discretisation and kind.discretise is Family.discretise:
        missing.append("discretise")
    if missing:
        raise FamilyError(
            f"family {name!r}: class {kind.__name__} lacks {', '.join(missing)}; see "
            "docs/how-to/family.md"
        )
    for attribute in ("coordinates", "times"):
        if callable(inspect.getattr_static(kind, attribute)):
            raise FamilyError(
                f"family {name!r}: `{attribute}` is a method, and must be a property: write "
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
    """Refuse a class of which no family could be made from a configuration."""
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
            f"family {name!r}: `dimensions` are {dimensions!r}, and must be a tuple of 1, 2 or 3, "
            "as in `dimensions = (2, 3)`, with a comma after a single one"
        )


def check_declarations(family: Family, name: str) -> None:
    """Refuse a family whose variables, grid or times a file could not hold.

    Args:
        family: The family.
        name: As the configuration names it.

    Raises:
        FamilyError: They could not be held.
    """
    for attribute in ("parameters", "fields", "unknowns"):
        _check_tuple(family, name, attribute)
    check_grid(family)
    _check_times(family)
    _check_names(family)
    _check_variables(family, name)
    _check_boundary_conditions(family)


def check_grid(family: Family) -> None:
    """Refuse coordinates that are no grid.

    Raises:
        FamilyError: They are no dictionary of an axis a dimension, or those of an axis are no
            finite, ascending numbers.
    """
    with blamed(family, "coordinates"):
        coordinates = family.coordinates
    where = f"{describe_class(family)}, coordinates"
    if not isinstance(coordinates, dict):
        raise FamilyError(
            f"{where}: {type(coordinates).__name__} is no dictionary: return an array an axis, as "
            '{"x": np.linspace(0, 1, 9)}'
        )
    if isinstance(family, FiniteElementFamily) and len(coordinates) != family.dimension:
        raise FamilyError(
            f"{where}: the grid has the axes {', '.join(coordinates)}, and the domain "
            f"{family.dimension} dimensions: return an array an axis of space"
        )
    for axis, points in coordinates.items():
        fault = _fault_of_line(points)
        if not fault and len(points) < 2:
            fault = f"are {len(points)}, and must be two or more"
        if fault:
            raise FamilyError(f"{where}: those along {axis} {fault}")


def _fault_of_line(points: Any) -> str | None:
    line = np.asarray(points)
    if line.dtype.kind == "c":
        return "are no real numbers"
    if line.dtype.kind not in "iuf":
        return "are no numbers"
    if line.ndim != 1:
        return f"have the shape {line.shape}, and must be a line"
    if not np.isfinite(line).all():
        return "are not finite"
    (falls,) = np.nonzero(~(np.diff(line) > 0))
    if len(falls):
        here, after = line[falls[0]], line[falls[0] + 1]
        return f"do not ascend: {here:g} is followed by {after:g}"
    if not isinstance(points, np.ndarray):
        return f"are a {type(points).__name__}, and must be a NumPy array"
    return None


def _check_times(family: Family) -> None:
    """Refuse times that are no ascending line that begins at a finite time."""
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
        f'`{attribute} = (Variable("k", "permeability"),)`, with a comma after a single one'
    )


def _check_names(family: Family) -> None:
    """Refuse names that are none, and axes of the grid that the file has something else for."""
    where = describe_class(family)
    if not family.parameters or not family.fields:
        raise FamilyError(f"{where}: it needs a parameter and a field at least")
    for axis in family.coordinates:
        if axis in (*RESERVED, *_GROUPS) or str(axis).startswith("grid_"):
            raise FamilyError(
                f"{where}: an axis of the grid must not be named {axis!r}, which the file has for "
                "something else: take x, y and z"
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
                    f"{where}: {name!r} of variable {variable.name!r} is no name: take letters, "
                    "digits and underscores"
                )
        for words in (variable.long_name, variable.units):
            if not isinstance(words, str) or "\0" in words:
                raise FamilyError(
                    f"{where}: variable {variable.name}: long name and units must be texts, and "
                    f"one is {words!r}; `dimensions` come after them"
                )
        if variable.rank not in (0, 1) or variable.transform not in ("identity", "log"):
            raise FamilyError(
                f"{where}: variable {variable.name} has rank {variable.rank!r} and transform "
                f"{variable.transform!r}: take 0 or 1, and 'identity' or 'log'"
            )


def _check_boundary_conditions(family: Family) -> None:
    """Refuse words on the boundary that a file could not hold."""
    fields, taken = {v.name for v in family.fields}, set()
    for condition in family.boundary_conditions:
        if not isinstance(condition, BoundaryCondition):
            raise FamilyError(
                f"{describe_class(family)}: `boundary_conditions` must be a tuple of "
                f"BoundaryCondition, and has a {type(condition).__name__}"
            )
        where = f"{describe_class(family)}: boundary condition {condition.description!r}"
        others = [name for name in condition.fields if name not in fields]
        if condition.dimension not in family.coordinates:
            raise FamilyError(
                f"{where} is across {condition.dimension!r}, and the axes are "
                f"{', '.join(family.coordinates)}"
            )
        if others:
            raise FamilyError(
                f"{where} is of {', '.join(others)}, and the fields are {', '.join(sorted(fields))}"
                ": name them in a tuple"
            )
        if condition.kind not in _KINDS:
            raise FamilyError(
                f"{where} is of the kind {condition.kind!r}: take one of {', '.join(_KINDS)}"
            )
        key = (condition.dimension, condition.kind, *condition.fields)
        if key in taken:
            raise FamilyError(f"{where} is there twice: {' '.join(key)}")
        taken.add(key)


def _check_variables(family: Family, name: str) -> None:
    """Refuse names and axes that a file could not hold."""
    grid = list(family.coordinates)
    variables = (*family.parameters, *family.fields, *family.unknowns)
    # Names that the file gives to axes of its own.
    taken = {*RESERVED, *(axis for v in variables for axis in v.axes)}
    seen: set[str] = set()
    for variable in variables:
        if variable.name in seen:
            raise FamilyError(
                f"family {name!r} names two variables {variable.name!r}; rename one of them"
            )
        if variable.name == INSIDE.name:
            raise FamilyError(
                f"family {name!r}: a variable must not be named {INSIDE.name!r}, which is the mask "
                "of the domain: it is made from the mesh and stored by itself, so leave it out, or "
                "rename it"
            )
        if variable.name in taken or variable.name.endswith("_offsets"):
            raise FamilyError(
                f"family {name!r}: a variable must not be named {variable.name!r}, for the file "
                "has an axis, or offsets, of that name; rename it"
            )
        seen.add(variable.name)
        own = [axis for axis in variable.axes if axis not in grid]
        known = [axis for axis in grid if axis in variable.axes]
        if list(variable.axes) != known and list(variable.axes) != own:
            raise FamilyError(
                f"family {name!r}: variable {variable.name!r} has the dimensions "
                f"{variable.axes}; they must be axes of {tuple(grid)}, in that order, "
                "or axes of its own, and not some of both"
            )
