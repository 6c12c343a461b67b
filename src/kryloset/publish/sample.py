# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A sample of a dataset: the first instances, small enough to look at before a download."""

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
        groups = {name: tree[name].to_dataset() for name in WELL_GROUPS if name in tree}
        count, step = len(data), 1
        while (
            each := sum(_every(step, group).nbytes for group in groups.values()) / count
        ) > _ROOM:
            step *= 2
        found = min(count, int(_ROOM / each))
        taken = {
            name: _every(step, group).isel(sample=slice(found), missing_dims="ignore")
            for name, group in groups.items()
        }
        told = "the first instance" if found == 1 else f"the first {found} of {count} instances"
        if step > 1:
            told += f", of {step} neighbouring points along each axis one, and so of times"
        about = {key: tree.attrs[key] for key in _TOLD if key in tree.attrs} | {"comment": told}
        sample = xarray.DataTree.from_dict({"/": xarray.Dataset(attrs=about), **taken})
        sample.to_netcdf(path, engine="h5netcdf")
    if path.stat().st_size > LIMIT:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, more than {LIMIT:,}")
    return told


def _every(step: int, group: xarray.Dataset) -> xarray.Dataset:
    """Return every so many points of the grid and times."""
    return group.isel({a: slice(None, None, step) for a in group.dims if a in (*AXES, "time")})
