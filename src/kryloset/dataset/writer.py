# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write a dataset file.

Nothing of the hour, the machine or the speed goes into it, so that the same
configuration makes the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset import __version__, provenance
from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.atomic import create_hdf5
from kryloset.dataset.integrity import Digests
from kryloset.dataset.layout import (
    COMPONENT,
    FILTERS,
    FLOAT,
    INTEGER,
    LIBVER,
    MASK,
    ROLES,
    SOLVER,
    TRUTH,
    WELL_GROUPS,
    Placement,
    choose_filters,
    grid_coordinates,
    grid_group,
    mask_key,
    place,
)
from kryloset.dataset.ragged import append_rows, offsets_path
from kryloset.dataset.splits import split_indices
from kryloset.dataset.statistics import Moments
from kryloset.dependence import keys_of
from kryloset.errors import DataError
from kryloset.problems.base import BoundaryCondition, Family, Variable
from kryloset.problems.coverage import select

#: Entries of an HDF5 chunk of an array that has a number for each instance.
_ROWS = 4096
#: Numbers in an HDF5 chunk of several times: 1 MiB, which HDF5 keeps in memory.
_CHUNK = 2**17


def write_dataset(
    path: Path,
    name: str,
    config: DatasetConfig,
    family: Family,
    instances: Iterable[Mapping[str, NDArray[Any]]],
    solver: Mapping[str, NDArray[Any]],
    reasons: Mapping[int, str],
    code: Mapping[str, str],
    parameters: str,
    meshes: Mapping[str, NDArray[Any]] | None = None,
    masks: Mapping[str, NDArray[np.int8]] | None = None,
    ways: Sequence[str] = (),
) -> None:
    """Write a dataset file in one pass over the instances.

    Args:
        path: File to write; see `kryloset.dataset.atomic` for how to do so whole.
        name: Name of the dataset.
        config: What it was made with.
        family: Its family.
        instances: Parameters, fields and unknowns of each instance by name, and those on a
            further grid by `grid_<points>/<name>`, in the drawn order; and `inside` among them
            where each instance has a domain of its own.
        solver: Each quantity of `layout.SOLVER`, a number an instance in the drawn order.
        reasons: The meanings of /solver/reason.
        code: Identity of the code that each stage before ran.
        parameters: Digest of the parameters, as `staged.digest_instances` makes it.
        meshes: What `Discretisation.meshes` returned.
        masks: What `Discretisation.masks` returned, by the same names as those of instances.
        ways: The meanings of /solver/way, numbered from 0.

    Raises:
        DataError: An array of an instance has not the shape of its variable.
    """
    with create_hdf5(path, libver=LIBVER) as file:
        writer = _Writer(file, config, family)
        writer.describe(name)
        writer.dimensions()
        writer.boundary_conditions()
        writer.splits()
        writer.solver(solver, reasons, dict(enumerate(ways)))
        writer.provenance(name, code, parameters)
        writer.data(instances, masks or {})
        writer.meshes(meshes or {})
        writer.digests.seal(file)


class _Writer:
    """The parts of a file being written; each method writes one group."""

    def __init__(self, file: h5py.File, config: DatasetConfig, family: Family) -> None:
        self.file = file
        self.config = config
        self.family = family
        self.digests = Digests()
        self._splits = split_indices(config)

    def describe(self, name: str) -> None:
        """Write what the file is, as The Well, CF and ACDD name it."""
        family, attributes = self.family, self.file.attrs
        attributes["dataset_name"] = name
        attributes["grid_type"] = "cartesian"
        attributes["n_spatial_dims"] = np.int64(len(family.coordinates))
        attributes["n_trajectories"] = np.int64(self.config.count)
        # The Well lists here what is one number for the whole file; ours vary by instance.
        _strings(self.file, "simulation_parameters", [])
        names = ("input_fields", "output_fields", "unknowns")
        for attribute, role in zip(names, ROLES, strict=True):
            _strings(self.file, attribute, [v.name for v in getattr(family, role)])
        attributes["Conventions"] = "CF-1.11"
        attributes["title"] = family.summary
        attributes["equation"] = family.equation
        attributes["source"] = (
            f"kryloset {__version__}: finite elements of FEniCSx, Krylov solvers of PETSc"
        )
        attributes["history"] = (
            f"made by kryloset {__version__}; /provenance has all that is needed to make it again"
        )

    def dimensions(self) -> None:
        """Write the dimension scales, and The Well's links to them."""
        family, count = self.family, len(self.family.coordinates)
        self._scale("sample", np.arange(self.config.count), "number of the instance, as drawn")
        if family.times is None:
            self._scale("time", np.zeros(1), "time; the problem is steady")
        else:
            self._scale("time", np.asarray(family.times, dtype=FLOAT), "time")
        for axis, values in family.coordinates.items():
            self._scale(axis, np.asarray(values, dtype=FLOAT), f"coordinate {axis}")
        if any(variable.rank for role in ROLES for variable in getattr(family, role)):
            self._scale(COMPONENT, np.arange(count), "component of a vector, along each axis")
        for points in self.config.mesh.grids:
            self.file.create_group(grid_group(points))
            for path, values in grid_coordinates(family, points).items():
                axis = path.rpartition("/")[2].partition("_")[0]
                self._scale(
                    path, values, f"coordinate {axis} of the grid of {points} points a side"
                )
        group = self.file.create_group("dimensions")
        _strings(group, "spatial_dims", list(family.coordinates))
        for axis in ("time", *family.coordinates):
            group[axis] = self.file[axis]

    def boundary_conditions(self) -> None:
        """Write for each condition where it holds along its axis, and the values there."""
        group = self.file.create_group("boundary_conditions")
        for condition in self.family.boundary_conditions:
            self._boundary_condition(group, condition)

    def _boundary_condition(self, parent: h5py.Group, condition: BoundaryCondition) -> None:
        axis = condition.dimension
        # The fields are part of the name, for each may have its own condition on an axis.
        group = parent.create_group("_".join((axis, condition.kind, *condition.fields)))
        _strings(group, "associated_dims", [axis])
        _strings(group, "associated_fields", list(condition.fields))
        group.attrs["bc_type"] = condition.kind
        group.attrs["description"] = condition.description
        _varying(group, sample=False, time=False)
        mask = np.zeros(len(self.file[axis]), dtype=TRUTH)
        mask[[0, -1]] = 1
        # By the attribute xarray reads truth values, and writes them again.
        self._array(f"{group.name[1:]}/mask", mask, (axis,), dtype="bool")
        values = np.full(mask.sum(), condition.value, dtype=FLOAT)
        self._array(f"{group.name[1:]}/values", values, ()).make_scale("values")

    def splits(self) -> None:
        """Write the instances of each split, each a dimension of its own."""
        self.file.create_group("splits")
        for name, indices in self._splits.items():
            long_name = f"instances of the split {name}, ascending"
            self._array(f"splits/{name}", indices, (), long_name=long_name).make_scale(name)

    def solver(
        self,
        quantities: Mapping[str, NDArray[Any]],
        reasons: Mapping[int, str],
        ways: Mapping[int, str],
    ) -> None:
        """Write what it took to solve each instance, and how well it is solved."""
        self.file.create_group("solver").attrs["tolerance"] = self.config.solver.tolerance
        for name, (dtype, long_name) in SOLVER.items():
            values = np.asarray(quantities[name], dtype=dtype)
            self._array(f"solver/{name}", values, ("sample",), long_name=long_name, units="1")
        for name, meanings in (("reason", reasons), ("way", ways)):
            attributes = self.file[f"solver/{name}"].attrs
            attributes["flag_values"] = np.array(list(meanings), dtype=INTEGER)
            attributes["flag_meanings"] = " ".join(meanings.values())

    def provenance(self, name: str, code: Mapping[str, str], parameters: str) -> None:
        """Write what it takes to make the file again."""
        group = self.file.create_group("provenance")
        group.attrs["seed"] = np.uint64(self.config.seed)
        group.attrs["parameters"] = parameters
        self._text("provenance/config", dump_dataset(name, self.config, keys_of("merge")))
        sources = provenance.family_sources(self.config)
        for number, (file, source) in enumerate(sources.items()):
            self._text(f"provenance/modules/{file}" if number else "provenance/family", source)
        if sources:
            self.file["provenance/family"].attrs["file"] = next(iter(sources))
        for program, version in provenance.versions().items():
            group.require_group("versions").attrs[program] = version
        for stage, identity in code.items():
            group.require_group("code").attrs[stage] = identity

    def data(
        self,
        instances: Iterable[Mapping[str, NDArray[Any]]],
        masks: Mapping[str, NDArray[np.int8]],
    ) -> None:
        """Write parameters, solutions and masks, and the statistics of the training split."""
        for group in WELL_GROUPS:
            self.file.create_group(group)
        shared = {key: place(self.family, key) for key in masks}
        for key, placement in shared.items():
            self._array(placement.path, masks[key], placement.axes[1:])
            self._describe(placement, sample=False)
        placements: dict[str, Placement] = {}
        train = np.isin(np.arange(self.config.count), self._splits["train"])
        names = [v.name for v in (*self.family.parameters, *self.family.fields)]
        moments = {name: Moments() for name in names}
        for index, arrays in enumerate(instances):
            # The lengths of axes that are not those of the grid are known by the first instance.
            if not placements:
                placements = {key: place(self.family, key) for key in arrays}
                for key, placement in placements.items():
                    self._make(placement, self._values(placement, index, arrays[key]))
            for key, placement in placements.items():
                values = self._values(placement, index, arrays[key])
                self._write(placement, index, values)
                if train[index] and key in moments:
                    inside = arrays.get(mask_key(key), masks.get(mask_key(key)))
                    moments[key].add(self._within(placement.variable, values, inside))
        for key, placement in placements.items():
            self._finish(placement)
            if placement.masked and mask_key(key) in placements | shared:
                self._name_mask(placement, place(self.family, mask_key(key)))
        for group in WELL_GROUPS:
            every = (*placements.values(), *shared.values())
            found = [p.variable.name for p in every if p.path.startswith(group)]
            _strings(self.file[group], "field_names", found)
        for name, moment in moments.items():
            self.file.create_group(f"statistics/{name}").attrs.update(moment.summary())
        self.file["statistics"].attrs["split"] = "train"

    def meshes(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the mesh that all instances share, where there is one."""
        for name, values in arrays.items():
            path, stored = f"mesh/{name}", values.astype(_dtype(values))
            axes = [f"{path}_{word}" for word in ("row", "column")[: values.ndim]]
            for axis, length in zip(axes, values.shape, strict=True):
                self._number(axis, length)
            self._array(path, stored, axes)

    def _values(self, placement: Placement, index: int, values: NDArray[Any]) -> NDArray[Any]:
        """Return what is stored of an array of one instance; a steady solution has one time."""
        found = np.asarray(values, dtype=_dtype(values))
        axes = [axis for axis in placement.axes if axis != "sample"]
        if self.family.times is None and "time" in axes:
            found = found[np.newaxis]
        # An axis of the variable's own is not in the file before the first instance has said
        # how long it is; a ragged one not before the last.
        lengths = [
            len(self.file[axis]) if axis in self.file else length
            for axis, length in zip(axes, found.shape, strict=False)
        ]
        if len(axes) != found.ndim or lengths != list(found.shape):
            raise DataError(
                f"instance {index}: {placement.variable.name!r} has the shape {found.shape}, "
                f"which does not fit its axes {', '.join(axes)} of lengths {lengths}"
            )
        return found

    def _make(self, placement: Placement, values: NDArray[Any]) -> None:
        """Make the array of a variable, and the scales of the axes that are its own."""
        ragged = placement.variable.ragged
        for axis, length in zip(placement.axes[1:], values.shape[ragged:], strict=True):
            if axis not in self.file:
                self._number(axis, length)
        if ragged:
            return
        shape = tuple(len(self.file[axis]) for axis in placement.axes)
        # One instance an HDF5 chunk; of a long trajectory fewer times, for it is read in parts.
        chunks = [1 if len(shape) > 1 else min(shape[0], _ROWS), *(max(1, n) for n in shape[1:])]
        if "time" in placement.axes:
            state = prod(chunks[2:])
            chunks[1] = max(1, min(chunks[1], _CHUNK // state))
        self.file.create_dataset(
            placement.path, shape, values.dtype, chunks=tuple(chunks), **choose_filters(values)
        )

    def _write(self, placement: Placement, index: int, values: NDArray[Any]) -> None:
        """Write the values of one instance."""
        path = placement.path
        if placement.variable.ragged:
            added = append_rows(self.file, path, values, **FILTERS)
            self.digests.add(offsets_path(path), added)
        else:
            self.file[path][index] = values
        self.digests.add(path, values)

    def _finish(self, placement: Placement) -> None:
        """Name the axes of a whole array, and say what it is."""
        array, variable = self.file[placement.path], placement.variable
        if variable.ragged:
            if placement.axes[0] not in self.file:
                self._number(placement.axes[0], len(array))
            elif len(array) != (rows := len(self.file[placement.axes[0]])):
                raise DataError(
                    f"{variable.name!r} has {len(array)} rows in all, another variable with its "
                    f"axis {variable.axes[0]!r} has {rows}"
                )
            offsets = self.file[offsets_path(placement.path)]
            offsets.make_scale(offsets.name.rpartition("/")[2])
            offsets.attrs["long_name"] = (
                f"first row of each instance in {variable.name}, and the end"
            )
        self._attach(array, placement.axes)
        self._describe(placement, sample=True)

    def _describe(self, placement: Placement, *, sample: bool) -> None:
        """Say what a whole array is."""
        array, variable = self.file[placement.path], placement.variable
        _varying(array, sample=sample, time="time" in placement.axes)
        array.attrs["long_name"] = variable.long_name
        array.attrs["units"] = variable.units
        if variable.transform != "identity":
            array.attrs["transform"] = variable.transform
        if variable.fixed:
            array.attrs["fixed"] = TRUTH.type(True)
        if placement.on_grid and (variable.axes or variable.rank):
            varying = [axis in variable.axes for axis in self.family.coordinates]
            array.attrs["dim_varying"] = np.array(varying, dtype=TRUTH)
        if placement.role == MASK:
            array.attrs["flag_values"] = np.array([0, 1], TRUTH)
            array.attrs["flag_meanings"] = "outside inside"

    def _name_mask(self, placement: Placement, mask: Placement) -> None:
        """Say of a field where it has values, and what it is elsewhere, as CF has it."""
        attributes = self.file[placement.path].attrs
        attributes["_FillValue"] = np.array([np.nan], FLOAT)
        group, _, name = mask.path.rpartition("/")
        same = placement.path.startswith(f"{group}/")
        attributes["ancillary_variables"] = name if same else f"/{mask.path}"

    def _within(
        self, variable: Variable, values: NDArray[Any], inside: NDArray[np.int8] | None
    ) -> NDArray[Any]:
        """Return the values that count: of what is on the whole grid those in the domain."""
        if inside is None or variable.axes != tuple(self.family.coordinates):
            return values
        return select(values, inside.astype(np.bool_), variable.rank)

    def _number(self, path: str, length: int) -> None:
        """Make the scale of an axis that is not one of the grid: the numbers along it."""
        self._scale(path, np.arange(length), f"number along {path.rpartition('/')[2]}")

    def _scale(self, path: str, values: NDArray[Any], long_name: str) -> None:
        """Write the dimension scale of an axis."""
        scale = self._array(path, values, (), long_name=long_name, units="1")
        scale.make_scale(path.rpartition("/")[2])
        _varying(scale, sample=path == "sample", time=path == "time")

    def _array(
        self, path: str, values: NDArray[Any], axes: Sequence[str], **attributes: str
    ) -> h5py.Dataset:
        """Write a whole array."""
        chunks = (max(1, min(len(values), _ROWS)), *values.shape[1:])
        array = self.file.create_dataset(path, data=values, chunks=chunks, **FILTERS)
        self._attach(array, axes)
        array.attrs.update(attributes)
        self.digests.add(path, values)
        return array

    def _attach(self, array: h5py.Dataset, axes: Sequence[str]) -> None:
        for number, axis in enumerate(axes):
            array.dims[number].attach_scale(self.file[axis])

    def _text(self, path: str, text: str) -> None:
        self.file.create_dataset(path, data=text, dtype=h5py.string_dtype())
        self.digests.add(path, text.encode())


def _dtype(values: NDArray[Any]) -> np.dtype[Any]:
    """Return the type in which numbers are stored: integers and masks stay what they are."""
    dtype = np.asarray(values).dtype
    if dtype == TRUTH:
        return dtype
    return INTEGER if dtype.kind in "iu" else FLOAT


def _strings(node: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write an attribute that is a list of strings, perhaps an empty one."""
    node.attrs.create(name, np.array(values, dtype=object), dtype=h5py.string_dtype())


def _varying(node: h5py.HLObject, *, sample: bool, time: bool) -> None:
    node.attrs["sample_varying"] = TRUTH.type(sample)
    node.attrs["time_varying"] = TRUTH.type(time)
