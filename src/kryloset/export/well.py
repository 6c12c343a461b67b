# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A folder of The Well: a file for each split, and the statistics for normalisation."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from kryloset.dataset.atomic import create_hdf5
from kryloset.dataset.frame import write_strings
from kryloset.dataset.layout import SAMPLE_VARYING, TIME_VARYING, WELL_GROUPS
from kryloset.dataset.statistics import Moments
from kryloset.export.base import Format
from kryloset.export.selection import GridView, Selection
from kryloset.problems.checks.coverage import INSIDE

#: Bytes of the states in one HDF5 chunk, or one state.
_CHUNK = 2**16

type Numbers = dict[str, float | list[float]]


class Well(Format):
    """`data/<split>/<name>.h5` and `stats.yaml`, for `the_well.data.WellDataset`.

    Every function is stored at all points of the grid: the loader repeats one that lacks the last
    axis wrongly. Parameters with axes of their own have no place in the format.
    """

    def write(self, selection: Selection, path: Path) -> None:
        """Write the files of all splits and the statistics."""
        view, name = selection.view, selection.dataset.name
        for split, instances in selection.splits.items():
            target = path / "data" / split / f"{name}.h5"
            target.parent.mkdir(parents=True)
            with create_hdf5(target) as file:
                _File(file, selection, view, instances.tolist()).write()
        (path / "stats.yaml").write_text(yaml.safe_dump(find_statistics(view)), encoding="utf-8")


class _File:
    """One file, as docs/data_format.md of The Well specifies it."""

    def __init__(
        self, file: h5py.File, selection: Selection, view: GridView, instances: list[int]
    ) -> None:
        self.file = file
        self.selection = selection
        self.view = view
        self.instances = instances

    def write(self) -> None:
        """Write all groups."""
        source, attributes = self.selection.dataset.file, self.file.attrs
        for name in ("dataset_name", "grid_type", "n_spatial_dims", "simulation_parameters"):
            attributes[name] = source.attrs[name]
        attributes["n_trajectories"] = len(self.instances)
        attributes.update(self.selection.origin)
        self._dimensions(source)
        self._boundary_conditions(source["boundary_conditions"])
        for group in WELL_GROUPS:
            self.file.create_group(group)
        view = self.view
        for name in view.parameters:
            if view.is_number(name):
                self._number(name)
            else:
                self._function(name, time=False)
        for name in view.fields:
            self._function(name, time=True)
        self._mask()
        for group in WELL_GROUPS:
            # The loader returns channels in the order of these names.
            order = (*view.parameters, *view.fields, INSIDE.name)
            names = [name for name in order if name in self.file[group]]
            write_strings(self.file[group], "field_names", names)

    def _dimensions(self, source: h5py.File) -> None:
        group = self.file.create_group("dimensions")
        write_strings(group, "spatial_dims", list(self.view.coordinates))
        for axis, values in {"time": source["time"][:], **self.view.coordinates}.items():
            group[axis] = values.astype(self.selection.dtype)
            _mark(group[axis], sample=False, time=axis == "time")

    def _boundary_conditions(self, source: h5py.Group) -> None:
        group = self.file.create_group("boundary_conditions")
        for name, condition in source.items():
            (axis,) = condition.attrs["associated_dims"]
            made = group.create_group(name)
            made.attrs.update(condition.attrs)
            _mark(made, sample=False, time=False)
            mask = np.zeros(len(self.view.coordinates[axis]), np.bool_)
            mask[[0, -1]] = condition["mask"][:][[0, -1]]
            made["mask"], made["values"] = mask, condition["values"][:]

    def _number(self, name: str) -> None:
        values = [self.view.values(name, instance) for instance in self.instances]
        array = self.file.create_dataset(f"scalars/{name}", data=values, dtype=self.selection.dtype)
        self._describe(array, name)
        _mark(array, sample=True, time=False)

    def _function(self, name: str, *, time: bool) -> None:
        """Write a function on the grid: (sample, [time,] *grid [, component])."""
        view, rank, dtype = self.view, self.view.rank(name), self.selection.dtype
        state = (*view.shape, *([len(view.shape)] if rank else []))
        times = len(view.dataset.file["time"])
        # Training reads a few steps of one instance.
        steps = min(times, max(1, _CHUNK // (math.prod(state) * dtype.itemsize)))
        array = self.file.create_dataset(
            f"t{rank}_fields/{name}",
            (len(self.instances), *([times] if time else []), *state),
            dtype,
            chunks=(1, *([steps] if time else []), *state),
        )
        for row, instance in enumerate(self.instances):
            array[row] = view.whole(name, instance).reshape(array.shape[1:])
        self._describe(array, name)
        array.attrs["dim_varying"] = np.ones(len(view.shape), np.bool_)
        array.attrs["symmetric"] = False
        _mark(array, sample=True, time=time)

    def _mask(self) -> None:
        """Write which points lie in the domain, as a constant field."""
        masks = (self.view.inside(instance) for instance in self.instances)
        if (first := next(masks)) is None:
            return
        shape = (len(self.instances), *first.shape)
        array = self.file.create_dataset(
            f"t0_fields/{INSIDE.name}", shape, self.selection.dtype, chunks=(1, *first.shape)
        )
        array[0] = first
        for row, mask in enumerate(masks, 1):
            array[row] = mask
        array.attrs["dim_varying"] = np.ones(first.ndim, np.bool_)
        _mark(array, sample=True, time=False)

    def _describe(self, array: h5py.Dataset, name: str) -> None:
        attributes = self.view.dataset.array(name).attrs
        array.attrs.update({key: attributes[key] for key in ("units", "long_name")})


def _mark(node: h5py.HLObject, *, sample: bool, time: bool) -> None:
    """Say whether a node differs between instances and times, with HDF5's own truth values."""
    node.attrs[SAMPLE_VARYING], node.attrs[TIME_VARYING] = np.bool_(sample), np.bool_(time)


def find_statistics(view: GridView) -> dict[str, Numbers]:
    """Return the statistics of the training split in the words of The Well's `stats.yaml`.

    They are those of the whole training split, whatever part is exported, over all points in the
    domain and all times; those named `delta` are of the differences between one state and the
    next. A vector has a number for each component. A mask stays as it is.
    """
    moments: dict[str, list[Moments]] = {}
    steps: dict[str, list[Moments]] = {}
    functions = [name for name in view.parameters if not view.is_number(name)]
    for instance in view.dataset.splits()["train"].tolist():
        inside = view.inside(instance)
        for name in (*functions, *view.fields):
            channels = view.channels([name], instance)
            _add(moments.setdefault(name, [Moments() for _ in channels]), channels, inside)
            if name in view.fields and view.dataset.times is not None:
                changes = [np.diff(values, axis=0) for values in channels]
                _add(steps.setdefault(name, [Moments() for _ in channels]), changes, inside)
    found: dict[str, Numbers] = {}
    for kind in ("mean", "std", "rms"):
        found[kind] = {name: _numbers(moments[name], kind) for name in moments}
        # A steady problem has no steps, but the loader requires their statistics.
        found[f"{kind}_delta"] = {
            name: _numbers(steps.get(name, [Moments()] * len(moments[name])), kind)
            for name in view.fields
        }
        if view.dataset.masked is not None:
            found[kind][INSIDE.name] = float(kind != "mean")
    return found


def _add(moments: list[Moments], channels: Iterable[Any], inside: Any) -> None:
    for one, values in zip(moments, channels, strict=True):
        one.add(values if inside is None else values[..., inside])


def _numbers(moments: list[Moments], kind: str) -> float | list[float]:
    numbers = [one.summary()[kind] if one.count else 0.0 for one in moments]
    return numbers[0] if len(numbers) == 1 else numbers
