# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks that a discretisation returns the arrays that its family declares."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints, plain
from kryloset.errors import FamilyError
from kryloset.problems.base import Array, Family, Variable
from kryloset.problems.checks.coverage import INSIDE
from kryloset.problems.checks.mistakes import describe_class
from kryloset.problems.checks.shapes import differing_axis, fits, format_shape


def check_stored(
    family: Family, solution: Mapping[str, NDArray[Any]], *, one_state: bool = False
) -> None:
    """Refuse a solution whose arrays are not those of the family's fields and unknowns.

    Args:
        family: The family.
        solution: Its arrays by name, as `Discretisation.solve` returns them.
        one_state: Whether it is one state of a family with times, without an axis of time.

    Raises:
        FamilyError: An array is missing, is not declared, does not hold real numbers, or has a
            different shape from its variable.
    """
    where = describe_class(family)
    variables = {v.name: v for v in (*family.fields, *family.unknowns)}
    _same_names(where, solution, variables)
    if INSIDE.name in solution:
        _check_mask(where, solution[INSIDE.name], family.coordinates)
        _require_inside(where, solution[INSIDE.name])
    before = () if one_state else _times(family)
    for name, variable in variables.items():
        check_array(where, variable, solution[name], before, family.coordinates)
    shapes = {v: np.shape(solution[v.name])[len(before) :] for v in family.unknowns}
    axis = differing_axis(shapes, family.coordinates)
    if axis:
        raise FamilyError(
            f"{where}: unknowns share the axis {axis!r} but have different lengths along it: give "
            "each an axis of its own"
        )


def check_resampled(
    family: Family, points: GridPoints, resampled: Mapping[str, NDArray[Any]]
) -> None:
    """Refuse arrays on a further grid that do not have its shape.

    Args:
        family: The family.
        points: That grid.
        resampled: Arrays by name, as `Discretisation.resample` returns them.

    Raises:
        FamilyError: As `check_stored`.
    """
    where = f"{describe_class(family)}, grid of {plain(points)} points"
    fields = {v.name: v for v in family.fields}
    parameters = {v.name: v for v in family.parameters if v.name in resampled}
    _same_names(where, resampled, fields | parameters)
    coordinates = family.further_grid(points)
    if INSIDE.name in resampled:
        _check_mask(where, resampled[INSIDE.name], coordinates)
    for name, variable in (fields | parameters).items():
        before = _times(family) if name in fields else ()
        check_array(where, variable, resampled[name], before, coordinates)


def _times(family: Family) -> tuple[int, ...]:
    times = family.times
    return () if times is None else (len(times),)


def _same_names(where: str, found: Mapping[str, Any], wanted: Iterable[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise FamilyError(
            f"{where}: {', '.join(missing)} is declared but the solution has only "
            f"{', '.join(found) or 'nothing'}: return it, or remove it from the family's `fields` "
            "or `unknowns`"
        )
    others = [name for name in found if name not in {*wanted, INSIDE.name}]
    if others:
        raise FamilyError(
            f"{where}: the solution has {', '.join(others)}, which the family does not declare: "
            "add a Variable of that name to `fields` or `unknowns`, or do not return it"
        )


def check_masks(family: Family, masks: Mapping[GridPoints | None, NDArray[Any]]) -> None:
    """Refuse masks that do not fit their grids.

    Args:
        family: The family.
        masks: Masks by grid, as `Discretisation.masks` returns them.

    Raises:
        FamilyError: A mask has the wrong shape or type, or that of the dataset's grid has no point
            in the domain.
    """
    where = f"{describe_class(family)}, masks"
    for points, mask in masks.items():
        coordinates = family.coordinates if points is None else family.further_grid(points)
        _check_mask(where, mask, coordinates)
        if points is None:
            _require_inside(where, mask)


def _check_mask(where: str, mask: NDArray[Any], coordinates: Mapping[str, Array]) -> None:
    check_array(where, INSIDE.on(tuple(coordinates)), mask, (), coordinates)
    if np.asarray(mask).dtype != np.int8 or not np.isin(mask, (0, 1)).all():
        raise FamilyError(
            f"{where}: {INSIDE.name} must be 1 in the domain and 0 outside, in int8: return "
            "mask.astype(np.int8)"
        )


def _require_inside(where: str, mask: NDArray[Any]) -> None:
    if not np.any(mask):
        raise FamilyError(f"{where}: no point of the grid lies in the domain: take more points")


def check_array(
    where: str,
    variable: Variable,
    array: NDArray[Any],
    before: tuple[int, ...],
    coordinates: Mapping[str, Array],
) -> None:
    """Refuse an array that does not fit a variable.

    Args:
        where: Beginning of the message.
        variable: The variable.
        array: The array.
        before: Lengths of the axes before those of the variable.
        coordinates: The grid.

    Raises:
        FamilyError: The array does not hold real numbers, or has the wrong shape.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "biuf" and not _of_complex_petsc(values):
        raise FamilyError(
            f"{where}: {variable.name} of the solution has the type {values.dtype} and must hold "
            "real numbers"
        )
    lengths = (*before, *variable.lengths(coordinates))
    if not fits(values.shape, lengths):
        raise FamilyError(
            f"{where}: {variable.name} of the solution has the shape {values.shape} but its "
            f"Variable has {format_shape(lengths)}: correct `dimensions`, `rank` or the solution"
        )


def _of_complex_petsc(values: NDArray[Any]) -> bool:
    """Return whether these are real numbers in the complex type of PETSc, as all its solutions."""
    if values.dtype.kind != "c" or values.imag.any():
        return False
    from mpi4py import MPI  # noqa: F401  (before petsc4py)
    from petsc4py import PETSc

    return bool(values.dtype == np.dtype(PETSc.ScalarType))
