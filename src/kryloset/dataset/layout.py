# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The layout of a dataset file; docs/reference/dataset.md shows it as a table.

The HDF5 file follows the format of The Well, xarray reads it as a labelled tree, and h5py as plain
arrays. Dimension scales are at the root, where xarray looks for them. The Well looks in
`/dimensions`, which has hard links to them.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import (
    Compression,
    GridPoints,
    Precision,
    StorageConfig,
    name_points,
    parse_points,
)
from kryloset.errors import DataError
from kryloset.problems.base import Family, Variable
from kryloset.problems.checks.coverage import INSIDE
from kryloset.problems.lattice import cell_centres_of

#: The HDF5 format of 2016 (HDF5 1.10), the first with checksums of its own structure. It is fixed
#: so that a later library writes the same bytes for the same data.
LIBVER = ("v110", "v110")

#: Filters of arrays that can be compressed. With Fletcher-32 a flipped bit is an error and not
#: another number. A higher level of gzip takes up to twice as long and saves 1 % of a smooth field.
FILTERS: Mapping[str, Any] = MappingProxyType(
    {"shuffle": True, "compression": "gzip", "compression_opts": 1, "fletcher32": True}
)

#: Filters of arrays for which gzip is not worth its time.
CHECKSUM: Mapping[str, Any] = MappingProxyType({"fletcher32": True})

#: Compression ratio from which gzip is used. It leaves four fifths of a smooth field in float64,
#: and takes as long as the solve does; it leaves a hundredth of a two-valued coefficient.
WORTHWHILE = 0.5


def choose_filters(values: NDArray[Any], compression: Compression = "auto") -> Mapping[str, Any]:
    """Return the filters for an array.

    Args:
        values: Its first instance, of any shape and type.
        compression: Whether gzip is used; `auto` if it at least halves the instance.
    """
    if compression != "auto":
        return FILTERS if compression == "always" else CHECKSUM
    octets = np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8)
    compressor, size = zlib.compressobj(1), 0
    # Shuffled: the first bytes of all numbers, then the second ones. Those of long trajectories
    # are most often not worth it before the last ones are compressed.
    for plane in octets.T:
        size += len(compressor.compress(plane.tobytes()))
        if size > WORTHWHILE * octets.size:
            return CHECKSUM
    size += len(compressor.flush())
    return FILTERS if size <= WORTHWHILE * octets.size else CHECKSUM


FLOAT = np.dtype("<f8")
#: The types of parameters and solutions. All other real numbers are `FLOAT`.
_FLOATS: Mapping[Precision, np.dtype[Any]] = MappingProxyType(
    {"float64": FLOAT, "float32": np.dtype("<f4")}
)
INTEGER = np.dtype("<i8")
#: Truth values are stored as 1 and 0: netCDF has no booleans, so xarray could not save them again.
TRUTH = np.dtype("i1")

#: The solve records in /solver, a number for each instance: name -> (type, long name). `recorded`
#: says which a dataset has.
SOLVER: Mapping[str, tuple[np.dtype[Any], str]] = MappingProxyType(
    {
        "true_residual": (FLOAT, "true relative residual ||b - A x|| / ||b||"),
        "stored_residual": (FLOAT, "the same of the solution as it is stored, in float32"),
        "iterations": (INTEGER, "Krylov iterations"),
        "operator_applications": (INTEGER, "products with A, rebuilding included"),
        "preconditioner_applications": (INTEGER, "applications of the preconditioner"),
        "systems": (INTEGER, "linear systems solved"),
        "escalations": (INTEGER, "methods that failed before one succeeded"),
        "reason": (INTEGER, "why the solver stopped"),
        "way": (INTEGER, "way that was taken for its last system"),
        "predecessor": (INTEGER, "instance whose recycled space was used, -1 for none"),
        "chunk": (INTEGER, "chunk in which it was solved, counted from 0"),
        "position": (INTEGER, "place in the solving order, counted from 0"),
    }
)
#: Quantities that merging adds; the others are in the chunks.
PLACES = ("chunk", "position")
#: Quantities that only a dataset has whose solutions are rounded.
_ROUNDED = ("stored_residual",)


def recorded(storage: StorageConfig) -> list[str]:
    """Return the quantities of `SOLVER` that a dataset has."""
    return [name for name in SOLVER if storage.rounds or name not in _ROUNDED]


#: Groups that The Well requires, even if they are empty.
WELL_GROUPS = ("t0_fields", "t1_fields", "t2_fields", "scalars")
#: Roles of a family's variables: the names of its attributes, and of the groups of those variables
#: that The Well has no group for.
ROLES = ("parameters", "fields", "unknowns")
#: The group of the estimates of the discretisation error, by field.
REFINEMENT = "refinement"
#: Texts that /provenance has only where they say something, each as JSON: the recorded selections,
#: the runs that made kept instances, and what failed and was drawn again or left out.
TEXTS = ("choices", "earlier", "failures")
#: Path of the recorded selections of all chunks, a text as in `choices.json`.
CHOICES = "provenance/choices"
#: Attributes that say whether an array differs between instances and between times.
SAMPLE_VARYING, TIME_VARYING = "sample_varying", "time_varying"
#: Attribute of a parameter that is in the cells of the lattice.
PLACEMENT = "placement"
#: The role of the mask of the domain, which no family names.
MASK = "mask"
#: The title of a file with the solutions of a sequence, which is no dataset.
SOLUTIONS = "solutions of a sequence of linear systems"
#: The axis of a vector's components.
COMPONENT = "component"


@dataclass(frozen=True)
class Placement:
    """Where a variable is in the file.

    Attributes:
        variable: The variable.
        role: Which of `ROLES` it has, or `MASK`.
        path: Path of its array.
        axes: Paths of the dimension scales of that array, in order.
        on_grid: Whether its own axes are axes of the grid.
    """

    variable: Variable
    role: str
    path: str
    axes: tuple[str, ...]
    on_grid: bool

    @property
    def has_rows(self) -> bool:
        """Whether an instance has a row of the array, and not only a number."""
        return self.variable.ragged or len(self.axes) > 1

    @property
    def masked(self) -> bool:
        """Whether it has values only at points in the domain, if there is a mask."""
        return self.on_grid and self.role == "fields"


def place(family: Family, key: str) -> Placement:
    """Find the place of a variable.

    Args:
        family: The family.
        key: Name of the variable, preceded by `grid_<points>/` for a further grid.

    Raises:
        DataError: The family has no variable of that name.
    """
    grid, _, name = key.rpartition("/")
    variables = {v.name: (role, v) for role in ROLES for v in getattr(family, role)}
    variables[INSIDE.name] = (MASK, INSIDE.on(tuple(family.coordinates)))
    if name not in variables:
        raise DataError(f"{type(family).__name__} has no variable {name!r}: it has {[*variables]}")
    role, variable = variables[name]
    on_grid = set(variable.axes) <= set(family.coordinates)
    group = grid or role
    if not grid and on_grid and role != "unknowns":
        group = f"t{variable.rank}_fields" if variable.axes or variable.rank else "scalars"
    # On a further grid, what is in cells has values at its points.
    spread = grid and variable.placement == "cells"
    axes_of = tuple(family.coordinates) if spread else variable.axes
    own = [_axis(family, grid, group, axis) for axis in axes_of]
    before = ["sample", *(["time"] if role in ("fields", "unknowns") else [])]
    after = [COMPONENT] if variable.rank else []
    axes = (*([] if variable.ragged else before), *own, *after)
    return Placement(variable, role, f"{group}/{name}", axes, on_grid)


def _axis(family: Family, grid: str, group: str, axis: str) -> str:
    """Return the path of an axis' dimension scale, at the root only for axes of the grid."""
    if grid:
        return f"{grid}/{axis}_{grid.removeprefix('grid_')}"
    shared = axis in family.coordinates or axis in cell_centres_of(family)
    return axis if shared else f"{group}/{axis}"


def stored_type(values: NDArray[Any], precision: Precision = "float64") -> np.dtype[Any]:
    """Return the type in which numbers are stored: integers and masks keep theirs."""
    dtype = np.asarray(values).dtype
    if dtype == TRUTH:
        return dtype
    return INTEGER if dtype.kind in "iu" else _FLOATS[precision]


def narrow(arrays: Iterable[NDArray[Any]], precision: Precision) -> list[NDArray[Any]]:
    """Return arrays in the types in which they are stored, of which digests are made."""
    return [np.asarray(values, dtype=stored_type(values, precision)) for values in arrays]


def widen(values: NDArray[Any]) -> NDArray[Any]:
    """Return stored numbers in the type in which they are computed with."""
    return values.astype(FLOAT) if values.dtype == _FLOATS["float32"] else values


def stored_row(
    family: Family, placement: Placement, values: NDArray[Any], precision: Precision
) -> NDArray[Any]:
    """Return an instance's row as it is stored: a steady solution has one time.

    Ragged arrays, which are meshes of single instances, are not rounded: conditions hold on their
    sides.
    """
    if placement.variable.ragged:
        precision = "float64"
    row = np.asarray(values, dtype=stored_type(values, precision))
    return row[np.newaxis] if family.times is None and "time" in placement.axes else row


def mask_key(key: str) -> str:
    """Return the key of the mask on the same grid as a variable."""
    grid, slash, _ = key.rpartition("/")
    return f"{grid}{slash}{INSIDE.name}"


def grid_group(points: GridPoints) -> str:
    """Return the name of the group of a further grid, such as `grid_33` or `grid_129x65`."""
    return f"grid_{name_points(points)}"


def points_of_group(group: str) -> GridPoints:
    """Return the points of a further grid from what `grid_group` returned."""
    return parse_points(group.removeprefix("grid_"))


def grid_coordinates(family: Family, points: GridPoints) -> dict[str, NDArray[np.float64]]:
    """Return the coordinates of a further grid by the paths of their dimension scales.

    The names have the number of points in them, since xarray requires that a name means the same
    axis in a group and in those above it.
    """
    grid = grid_group(points)
    return {
        _axis(family, grid, grid, axis): values
        for axis, values in family.further_grid(points).items()
    }


def require_storable(family: Family) -> None:
    """Refuse variables that the file cannot hold.

    Raises:
        DataError: A variable is ragged but not an unknown of a steady family with an axis of its
            own; or the family has fewer than two times.
    """
    for role in ROLES:
        for variable in getattr(family, role):
            if not variable.ragged:
                continue
            if role != "unknowns" or family.times is not None:
                raise DataError(
                    f"{variable.name!r} cannot be ragged: only unknowns of a steady family can, "
                    "so give it the same number of rows in each instance"
                )
            if not variable.axes or variable.axes[0] in family.coordinates:
                raise DataError(
                    f"{variable.name!r} is ragged but has no axis of its own: name one first in "
                    "its `dimensions`"
                )
    if family.times is not None and len(family.times) < 2:
        raise DataError(
            f"{type(family).__name__} has {len(family.times)} times: a trajectory needs the "
            "initial time and at least one more; a steady family has None"
        )
