# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One netCDF-4 file that xarray opens as a tree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import h5netcdf
import h5py
import numpy as np

from kryloset.dataset.atomic import create_hdf5
from kryloset.export.selection import Selection
from kryloset.export.tree import Tree


class NetCDF(Tree):
    """A file for `xarray.open_datatree` with netCDF4 or h5netcdf, and for the tools of netCDF."""

    folder: ClassVar[bool] = False

    def write(self, selection: Selection, path: Path) -> None:
        """Write the file."""
        # In a netCDF file the order of what is made is tracked.
        with create_hdf5(path, track_order=True) as file, h5netcdf.File(file, "w") as self._file:
            self.copy(selection)

    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Make a group."""
        group = self._file if path == "/" else self._file.create_group(path)
        _describe(group, attributes)

    def text(self, path: str, text: str) -> None:
        """Write a text."""
        self._file.create_variable(path, (), h5py.string_dtype(), data=np.array(text, object))

    def array(
        self,
        path: str,
        axes: Sequence[str],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        attributes: Mapping[str, Any],
    ) -> Any:
        """Make a variable, and the dimensions of its group that it is the first to use."""
        group, _, name = path.rpartition("/")
        target = self._file[group] if group else self._file
        for axis, length in zip(axes, shape, strict=True):
            if axis not in (*self._file.dimensions, *target.dimensions):
                target.dimensions[axis] = length
        fill = attributes.get("_FillValue", [None])[0]
        made = target.create_variable(
            name,
            tuple(axes),
            dtype,
            fillvalue=None if fill is None else dtype.type(fill),
            chunks=_one_row(axes, shape),
        )
        _describe(made, {k: v for k, v in attributes.items() if k != "_FillValue"})
        return made


def _one_row(axes: Sequence[str], shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return the chunks of an array with a row for each instance; None leaves them to HDF5."""
    return (1, *shape[1:]) if len(shape) > 1 and axes[0] == "sample" else None


def _describe(node: Any, attributes: Mapping[str, Any]) -> None:
    """Write attributes; netCDF has no empty lists."""
    for name, value in attributes.items():
        if not isinstance(value, list):
            node.attrs[name] = value
        elif value:
            node.attrs[name] = np.array(value, h5py.string_dtype())
