# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A sample of a dataset: the first instances, small enough to look at before a download."""

from collections.abc import Mapping
from pathlib import Path

import xarray

from kryloset.dataset.layout import WELL_GROUPS
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.problems.base import AXES

LIMIT = 1_000_000
"""Bytes that a sample may have."""

_ROOM = 800_000
"""Of these, bytes for numbers; coordinates, attributes and HDF5's own structure take the rest."""

#: Where functions and numbers are; parameters with axes of their own are in the last one.
_GROUPS = (*WELL_GROUPS, "parameters")
#: Attributes of the dataset that the sample has, too.
_TOLD = ("title", "equation", "source", "license", "creator_name", "references")


def write_sample(data: Dataset, path: Path) -> str:
    """Write the functions and numbers of the first instances on the dataset's grid as netCDF-4.

    If one instance is too large, it has every second point along each axis, or every fourth, and
    so on, and of a trajectory likewise every second state.

    Returns:
        What it has, in words.

    Raises:
        DataError: Even the coarsest sample is larger than `LIMIT`.
    """
    with xarray.open_datatree(Path(data.file.filename), engine="h5netcdf") as tree:
        groups = {name: tree[name].to_dataset() for name in _GROUPS if name in tree}
        count, step, longest = len(data), 1, max(data.grid)
        while _bytes(groups, step, 1) > _ROOM and step < longest:
            step *= 2
        one, two = (_bytes(groups, step, instances) for instances in (1, 2))
        found = max(1, min(count, 1 + (_ROOM - one) // max(1, two - one)))
        told = "the first instance" if found == 1 else f"the first {found} of {count} instances"
        if step > 1:
            told += f", with one of {step} points along each axis"
            told += "" if data.times is None else f" and one of {step} times"
        about = {key: tree.attrs[key] for key in _TOLD if key in tree.attrs} | {"comment": told}
        # HDF5 chunks as large as those of the dataset would be partly empty.
        taken = {name: _take(g, step, found).drop_encoding() for name, g in groups.items()}
        sample = xarray.DataTree.from_dict({"/": xarray.Dataset(attrs=about), **taken})
        sample.to_netcdf(path, engine="h5netcdf")
    if path.stat().st_size > LIMIT:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, more than {LIMIT:,}")
    return told


def _bytes(groups: Mapping[str, xarray.Dataset], step: int, instances: int) -> int:
    """Return the size of a sample; what instances share is in it once."""
    return sum(_take(group, step, instances).nbytes for group in groups.values())


def _take(group: xarray.Dataset, step: int, instances: int) -> xarray.Dataset:
    """Return the first instances at every so many points of the grid and times."""
    taken = {"sample": slice(instances)}
    for axis in map(str, group.dims):
        # The centres of cells have axes of their own, such as x_cell.
        if axis.partition("_")[0] in (*AXES, "time"):
            taken[axis] = slice(None, None, step)
    return group.isel(taken, missing_dims="ignore")
