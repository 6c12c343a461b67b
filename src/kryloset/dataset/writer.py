# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write a dataset file.

Nothing of the hour, the machine or the speed goes into it, so that the same
configuration makes the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset import __version__, provenance
from kryloset.config import USES, DatasetConfig, dump_dataset
from kryloset.dataset.atomic import create_hdf5
from kryloset.dataset.integrity import Digests
from kryloset.dataset.layout import FILTERS, FLOAT, INTEGER, LIBVER, SOLVER, place, split_indices
from kryloset.dataset.statistics import Moments
from kryloset.problems.base import BoundaryCondition, Family, Instance, Variable

#: Entries of an HDF5 chunk of an array that has a number for each instance.
_ROWS = 4096


def write_dataset(
    path: Path,
    name: str,
    config: DatasetConfig,
    family: Family,
    instances: Iterable[tuple[Instance, Instance]],
    solver: Mapping[str, NDArray[Any]],
    reasons: Mapping[int, str],
    code: Mapping[str, str],
) -> None:
    """Write a dataset file in one pass over the instances.

    Args:
        path: File to write; see `kryloset.dataset.atomic` for how to do so whole.
        name: Name of the dataset.
        config: What it was made with.
        family: Its family.
        instances: Parameters and solution of each instance, in the drawn order.
        solver: Each quantity of `layout.SOLVER`, a number an instance in the drawn order.
        reasons: The meanings of /solver/reason.
        code: Identity of the code that each stage before ran.
    """
    with create_hdf5(path, libver=LIBVER) as file:
        writer = _Writer(file, config, family)
        writer.describe(name)
        writer.dimensions()
        writer.boundary_conditions()
        writer.splits()
        writer.solver(solver, reasons)
        writer.provenance(name, code)
        writer.data(instances)
        writer.digests.seal(file)


class _Writer:
    """The parts of a file being written; each method writes one group."""

    def __init__(self, file: h5py.File, config: DatasetConfig, family: Family) -> None:
        self.file = file
        self.config = config
        self.family = family
        self.digests = Digests()

    def describe(self, name: str) -> None:
        """Write what the file is, as The Well, CF and ACDD name it."""
        family, attributes = self.family, self.file.attrs
        attributes["dataset_name"] = name
        attributes["grid_type"] = "cartesian"
        attributes["n_spatial_dims"] = np.int64(len(family.coordinates))
        attributes["n_trajectories"] = np.int64(self.config.count)
        # The Well lists here what is one number for the whole file; ours vary by instance.
        _strings(self.file, "simulation_parameters", [])
        _strings(self.file, "input_fields", [v.name for v in family.parameters])
        _strings(self.file, "output_fields", [v.name for v in family.fields])
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
        scales: dict[str, tuple[NDArray[Any], str]] = {
            "sample": (np.arange(self.config.count), "number of the instance, as drawn"),
            "time": (np.zeros(1), "time; the problem is steady"),
        }
        for axis, values in self.family.coordinates.items():
            scales[axis] = (np.asarray(values, dtype=FLOAT), f"coordinate {axis}")
        for axis, (values, long_name) in scales.items():
            scale = self._array(axis, values, (), long_name=long_name, units="1")
            scale.make_scale(axis)
            _varying(scale, sample=axis == "sample", time=axis == "time")
        group = self.file.create_group("dimensions")
        _strings(group, "spatial_dims", list(self.family.coordinates))
        for axis in ("time", *self.family.coordinates):
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
        mask = np.zeros(len(self.file[axis]), dtype=bool)
        mask[[0, -1]] = True
        self._array(f"{group.name[1:]}/mask", mask, (axis,))
        values = np.full(mask.sum(), condition.value, dtype=FLOAT)
        self._array(f"{group.name[1:]}/values", values, ()).make_scale("values")

    def splits(self) -> None:
        """Write the instances of each split, each a dimension of its own."""
        self.file.create_group("splits")
        for name, indices in split_indices(self.config).items():
            long_name = f"instances of the split {name}, ascending"
            self._array(f"splits/{name}", indices, (), long_name=long_name).make_scale(name)

    def solver(self, quantities: Mapping[str, NDArray[Any]], reasons: Mapping[int, str]) -> None:
        """Write what it took to solve each instance, and how well it is solved."""
        self.file.create_group("solver").attrs["tolerance"] = self.config.solver.tolerance
        for name, (dtype, long_name) in SOLVER.items():
            values = np.asarray(quantities[name], dtype=dtype)
            self._array(f"solver/{name}", values, ("sample",), long_name=long_name, units="1")
        attributes = self.file["solver/reason"].attrs
        attributes["flag_values"] = np.array(list(reasons), dtype=INTEGER)
        attributes["flag_meanings"] = " ".join(reasons.values())

    def provenance(self, name: str, code: Mapping[str, str]) -> None:
        """Write what it takes to make the file again."""
        group = self.file.create_group("provenance")
        group.attrs["seed"] = np.uint64(self.config.seed)
        self._text("provenance/config", dump_dataset(name, self.config, exclude=USES))
        source = provenance.family_source(self.config)
        if source is not None:
            self._text("provenance/family", source)
        for program, version in provenance.versions().items():
            group.require_group("versions").attrs[program] = version
        for stage, identity in code.items():
            group.require_group("code").attrs[stage] = identity

    def data(self, instances: Iterable[tuple[Instance, Instance]]) -> None:
        """Write parameters and solutions, and the statistics of the training split."""
        for group in ("t0_fields", "t1_fields", "t2_fields", "scalars"):
            self.file.create_group(group)
        stored = [(v, False) for v in self.family.parameters]
        stored += [(v, True) for v in self.family.fields]
        for variable, solved in stored:
            self._variable(variable, solved)
        for group in ("t0_fields", "t1_fields", "t2_fields", "scalars"):
            names = [v.name for v, _ in stored if place(v).startswith(group)]
            _strings(self.file[group], "field_names", names)
        moments = {variable.name: Moments() for variable, _ in stored}
        train = np.isin(np.arange(self.config.count), split_indices(self.config)["train"])
        for index, (parameters, fields) in enumerate(instances):
            for variable, solved in stored:
                values = np.asarray((fields if solved else parameters)[variable.name], dtype=FLOAT)
                self.file[place(variable)][index] = values
                self.digests.add(place(variable), values)
                if train[index]:
                    moments[variable.name].add(values)
        for name, moment in moments.items():
            self.file.create_group(f"statistics/{name}").attrs.update(moment.summary())
        self.file["statistics"].attrs["split"] = "train"

    def _variable(self, variable: Variable, solved: bool) -> None:
        """Make the array of a parameter or, with a time axis, of a field of the solution."""
        axes = ("sample", *(("time",) if solved else ()), *variable.dimensions)
        shape = tuple(len(self.file[axis]) for axis in axes)
        chunks = (1, *shape[1:]) if variable.dimensions else (min(shape[0], _ROWS), *shape[1:])
        array = self.file.create_dataset(place(variable), shape, FLOAT, chunks=chunks, **FILTERS)
        self._attach(array, axes)
        _varying(array, sample=True, time=solved)
        array.attrs["long_name"] = variable.long_name
        array.attrs["units"] = variable.units
        if variable.transform != "identity":
            array.attrs["transform"] = variable.transform
        if variable.dimensions:
            varying = [axis in variable.dimensions for axis in self.family.coordinates]
            array.attrs["dim_varying"] = np.array(varying)

    def _array(
        self, path: str, values: NDArray[Any], axes: Sequence[str], **attributes: str
    ) -> h5py.Dataset:
        """Write a whole array of one axis."""
        chunks = (min(len(values), _ROWS),)
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


def _strings(node: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write an attribute that is a list of strings, perhaps an empty one."""
    node.attrs.create(name, np.array(values, dtype=object), dtype=h5py.string_dtype())


def _varying(node: h5py.HLObject, *, sample: bool, time: bool) -> None:
    node.attrs["sample_varying"] = np.bool_(sample)
    node.attrs["time_varying"] = np.bool_(time)
