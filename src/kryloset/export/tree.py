# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset as a tree of labelled arrays, with the instances that were selected."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.integrity import SEALS, TABLES
from kryloset.dataset.layout import grid_group
from kryloset.dataset.ragged import offsets_path, read_rows
from kryloset.dataset.structure import nodes
from kryloset.export.base import Format
from kryloset.export.selection import Selection

#: Groups that are not copied: hard links to the axes, and digests of what the file itself holds.
_SKIPPED = ("dimensions", TABLES, SEALS)
_SPLITS = "splits/"
#: Groups whose floating-point numbers have the selected precision; others, such as coordinates and
#: residuals, keep theirs.
_ROUNDED = ("t0_fields", "t1_fields", "t2_fields", "scalars", "parameters", "unknowns", "mesh")


class Tree(Format):
    """A copy of the whole file for xarray, group by group and instance by instance.

    Instances keep their numbers, as coordinate `sample`, and the splits list these numbers.
    """

    several_grids = True

    def copy(self, selection: Selection) -> None:
        """Write all groups and arrays by the methods below."""
        file = selection.dataset.file
        rows = _Rows(selection)
        others = {grid_group(points) for points in selection.dataset.config.mesh.grids}
        others -= {grid_group(points) for points in selection.grids if points is not None}
        skipped = (*_SKIPPED, *others)
        if None not in selection.grids:
            skipped += ("t0_fields", "t1_fields", "t2_fields")
        for path, node in nodes(file):
            if isinstance(node, str) or any(f"{path}/".startswith(f"{s}/") for s in skipped):
                continue
            attributes = dict(_attributes(node))
            if path == "/":
                self.group(path, attributes | dict(selection.origin))
            elif isinstance(node, h5py.Group):
                self.group(path, attributes)
            elif h5py.check_string_dtype(node.dtype):
                self.text(path, node.asstr()[()])
            elif not path.startswith(_SPLITS) or path.removeprefix(_SPLITS) in selection.splits:
                self._copy_array(path, node, attributes, rows.of(path, node), selection.dtype)

    def _copy_array(
        self,
        path: str,
        array: h5py.Dataset,
        attributes: Mapping[str, Any],
        rows: tuple[int, Iterable[NDArray[Any]]],
        precision: np.dtype[Any],
    ) -> None:
        rounded = path.startswith((*_ROUNDED, "grid_")) and not array.is_scale
        dtype = precision if rounded and array.dtype.kind == "f" else array.dtype
        length, parts = rows
        axes = [_axis(array, number) for number in range(array.ndim)]
        made = self.array(path, axes, (length, *array.shape[1:]), dtype, attributes)
        place = 0
        for part in parts:
            made[place : place + len(part)] = part
            place += len(part)

    @abstractmethod
    def group(self, path: str, attributes: Mapping[str, Any]) -> None:
        """Make a group."""

    @abstractmethod
    def text(self, path: str, text: str) -> None:
        """Write a text."""

    @abstractmethod
    def array(
        self,
        path: str,
        axes: Sequence[str],
        shape: Sequence[int],
        dtype: np.dtype[Any],
        attributes: Mapping[str, Any],
    ) -> Any:
        """Make an array and return it, to be filled by slices along the first axis."""


class _Rows:
    """The rows of all arrays that belong to the instances of a selection."""

    def __init__(self, selection: Selection) -> None:
        """Find how many rows are left of ragged arrays, and of the scales of their axes."""
        self._selection = selection
        self._file = selection.dataset.file
        self._chosen = selection.instances.tolist()
        self._ragged: dict[str, int] = {}
        for name in selection.dataset.unknowns:
            path = selection.dataset.array(name).name[1:]
            if offsets_path(path) in self._file:
                length = int(self._lengths(offsets_path(path)).sum())
                scale = _axis(self._file[path], 0)
                self._ragged |= {path: length, f"{path.rpartition('/')[0]}/{scale}": length}

    def _lengths(self, offsets: str) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = np.diff(self._file[offsets][:])[self._chosen]
        return lengths

    def of(self, path: str, array: h5py.Dataset) -> tuple[int, Iterable[NDArray[Any]]]:
        """Return the length of an array along its first axis, and its rows in parts."""
        chosen = self._chosen
        if path == "sample":
            return len(chosen), [array[:][chosen]]
        if path.startswith(_SPLITS):
            kept = self._selection.splits[path.removeprefix(_SPLITS)]
            return len(kept), [self._selection.dataset.numbers[kept]]
        if path in self._ragged:
            length = self._ragged[path]
            if array.is_scale:
                return length, [np.arange(length)]
            return length, (read_rows(self._file, path, instance) for instance in chosen)
        if any(path == offsets_path(ragged) for ragged in self._ragged):
            ends = np.cumsum(self._lengths(path))
            return len(ends) + 1, [np.concatenate([[0], ends])]
        if _axis(array, 0) != "sample":
            return len(array), [array[:]]
        if array.ndim == 1:
            return len(chosen), [array[:][chosen]]
        return len(chosen), (array[instance : instance + 1] for instance in chosen)


def _axis(array: h5py.Dataset, number: int) -> str:
    """Return the name of an axis, which is that of its dimension scale."""
    if array.is_scale:
        return str(array.name).rpartition("/")[2]
    return str(array.dims[number][0].name).rpartition("/")[2]


def _attributes(node: h5py.HLObject) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that are not HDF5's own, as Python's types or arrays of numbers."""
    hidden = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid")
    for name, value in node.attrs.items():
        if name not in hidden:
            texts = isinstance(value, np.ndarray) and value.dtype == object
            yield name, list(value) if texts else value
