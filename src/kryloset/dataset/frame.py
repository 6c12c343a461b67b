# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write all of a dataset file except the parameters and solutions of its instances."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset import provenance
from kryloset.config import DatasetConfig, count_points, dump_dataset
from kryloset.dataset.failures import parse_failures, stored_numbers
from kryloset.dataset.integrity import DIGEST, TABLES, Digests, table_path
from kryloset.dataset.layout import (
    CHECKSUM,
    COMPONENT,
    FILTERS,
    FLOAT,
    INTEGER,
    MASK,
    PLACEMENT,
    REFINEMENT,
    ROLES,
    SAMPLE_VARYING,
    SOLVER,
    TIME_VARYING,
    TRUTH,
    Placement,
    grid_coordinates,
    grid_group,
    recorded,
    stored_type,
)
from kryloset.dataset.splits import split_rows
from kryloset.dependence import keys_of
from kryloset.problems.base import BoundaryCondition, Family, cell_axis
from kryloset.problems.checks.periodic import describe_boundaries, describe_equation
from kryloset.problems.lattice import cell_centres_of

#: Entries of an HDF5 chunk of an array that has a number for each instance.
ROWS = 4096


class Frame:
    """A dataset file that is being written; each method writes one group, `describe` several.

    Attributes:
        file: The file.
        config: Configuration of the dataset.
        family: Its family.
        versions: Versions of the programs that make it.
        texts: Those of `layout.TEXTS` that there are.
        digests: Digests of everything that is written.
        numbers: Numbers of the instances, ascending: all but those that the failures leave out.
    """

    def __init__(
        self,
        file: h5py.File,
        config: DatasetConfig,
        family: Family,
        versions: Mapping[str, str],
        texts: Mapping[str, str],
    ) -> None:
        """Begin an empty file."""
        self.file = file
        self.config = config
        self.family = family
        self.versions = versions
        self.texts = texts
        self.digests = Digests()
        failures = parse_failures(texts.get("failures", "[]"), "the list of failures")
        self.numbers = stored_numbers(config.total, failures)

    @cached_property
    def split_rows(self) -> dict[str, NDArray[np.int64]]:
        """The rows of the instances of each split."""
        return split_rows(self.config, self.numbers)

    def describe(self, name: str) -> None:
        """Write everything that does not depend on the solutions."""
        self._attributes(name)
        version = self.versions["kryloset"]
        self.file.attrs["history"] = (
            f"made by kryloset {version}; /provenance has all that is needed to make it again"
        )
        self._dimensions()
        self._boundary_conditions()
        self._write_splits()

    def describe_grid(self, name: str) -> None:
        """Write what the file is, its dimensions and the boundary conditions."""
        self._attributes(name)
        self._dimensions()
        self._boundary_conditions()

    def _attributes(self, name: str) -> None:
        """Write the attributes of the file by the conventions of The Well, CF and ACDD."""
        version = self.versions["kryloset"]
        family, attributes = self.family, self.file.attrs
        attributes["dataset_name"] = name
        attributes["grid_type"] = "cartesian"
        attributes["n_spatial_dims"] = np.int64(len(family.coordinates))
        attributes["n_trajectories"] = np.int64(len(self.numbers))
        # The Well lists numbers here that hold for the whole file; ours vary by instance.
        write_strings(self.file, "simulation_parameters", [])
        names = ("input_fields", "output_fields", "unknowns")
        for attribute, role in zip(names, ROLES, strict=True):
            write_strings(self.file, attribute, [v.name for v in getattr(family, role)])
        attributes["Conventions"] = "CF-1.11"
        about = self.config.about
        attributes["title"] = about.title or family.summary
        attributes["equation"] = describe_equation(family)
        attributes["source"] = (
            f"kryloset {version}: finite elements of FEniCSx, Krylov solvers of PETSc"
        )
        told = {
            "summary": family.summary if about.title else None,
            "creator_name": about.creator,
            "license": about.license,
            "references": about.references,
        }
        attributes.update({name: text for name, text in told.items() if text is not None})

    def _dimensions(self) -> None:
        """Write the dimension scales, and The Well's links to them."""
        family, count = self.family, len(self.family.coordinates)
        self.scale("sample", self.numbers, "number of the instance, as drawn")
        if family.times is None:
            self.scale("time", np.zeros(1), "time; the problem is steady")
        else:
            self.scale("time", np.asarray(family.times, dtype=FLOAT), "time")
        for axis, values in family.coordinates.items():
            self.scale(axis, np.asarray(values, dtype=FLOAT), f"coordinate {axis}")
        centres = cell_centres_of(family)
        for axis in family.coordinates if centres else ():
            cells = cell_axis(axis)
            values = np.asarray(centres[cells], dtype=FLOAT)
            self.scale(cells, values, f"centres of cells along {axis}")
        if any(variable.rank for role in ROLES for variable in getattr(family, role)):
            self.scale(COMPONENT, np.arange(count), "component of a vector, along each axis")
        for points in self.config.mesh.grids:
            self.file.create_group(grid_group(points))
            for path, values in grid_coordinates(family, points).items():
                axis = path.rpartition("/")[2].partition("_")[0]
                of = count_points(points)
                self.scale(path, values, f"coordinate {axis} of the grid of {of}")
        group = self.file.create_group("dimensions")
        write_strings(group, "spatial_dims", list(family.coordinates))
        for axis in ("time", *family.coordinates):
            group[axis] = self.file[axis]

    def _boundary_conditions(self) -> None:
        """Write where each boundary condition holds along its axis, and its values there."""
        group = self.file.create_group("boundary_conditions")
        for condition in describe_boundaries(self.family):
            self._boundary_condition(group, condition)

    def _boundary_condition(self, parent: h5py.Group, condition: BoundaryCondition) -> None:
        axis = condition.dimension
        # Each field may have its own condition on an axis, so fields are part of the name.
        group = parent.create_group("_".join((axis, condition.kind, *condition.fields)))
        write_strings(group, "associated_dims", [axis])
        write_strings(group, "associated_fields", list(condition.fields))
        group.attrs["bc_type"] = condition.kind
        group.attrs["description"] = condition.description
        write_varying(group, sample=False, time=False)
        mask = np.zeros(len(self.file[axis]), dtype=TRUTH)
        mask[[0, -1]] = 1
        # With this attribute xarray reads truth values, and writes them again.
        self.array(f"{group.name[1:]}/mask", mask, (axis,), dtype="bool")
        values = np.full(mask.sum(), condition.value, dtype=FLOAT)
        self.array(f"{group.name[1:]}/values", values, ()).make_scale("values")

    def _write_splits(self) -> None:
        """Write the instances of each split along a dimension of its own."""
        self.file.create_group("splits")
        for name, indices in self.split_rows.items():
            long_name = f"instances of the split {name}, ascending"
            self.array(f"splits/{name}", indices, (), long_name=long_name).make_scale(name)

    def statistics(self, statistics: Mapping[str, Mapping[str, float]]) -> None:
        """Write the statistics of the training split."""
        for name, numbers in statistics.items():
            self.file.create_group(f"statistics/{name}").attrs.update(numbers)
        self.file["statistics"].attrs["split"] = "train"

    def solver(
        self,
        quantities: Mapping[str, NDArray[Any]],
        reasons: Mapping[int, str],
        strategies: Mapping[int, str],
    ) -> None:
        """Write the solve records."""
        self.file.create_group("solver").attrs["tolerance"] = self.config.solver.tolerance
        for name in recorded(self.config.storage):
            dtype, long_name = SOLVER[name]
            values = np.asarray(quantities[name], dtype=dtype)
            self.array(f"solver/{name}", values, ("sample",), long_name=long_name, units="1")
        for name, meanings in (("reason", reasons), ("way", strategies)):
            attributes = self.file[f"solver/{name}"].attrs
            attributes["flag_values"] = np.array(list(meanings), dtype=INTEGER)
            attributes["flag_meanings"] = " ".join(meanings.values())

    def provenance(
        self,
        name: str,
        code: Mapping[str, str],
        parameters: str,
    ) -> None:
        """Write everything that is needed to make the file again."""
        group = self.file.create_group("provenance")
        group.attrs["seed"] = np.uint64(self.config.seed)
        group.attrs["parameters"] = parameters
        self.text("provenance/config", dump_dataset(name, self.config, keys_of("merge")))
        sources = provenance.family_sources(self.config)
        for number, (file, source) in enumerate(sources.items()):
            self.text(f"provenance/modules/{file}" if number else "provenance/family", source)
        if sources:
            self.file["provenance/family"].attrs["file"] = next(iter(sources))
        for key, text in self.texts.items():
            self.text(f"provenance/{key}", text)
        for program, version in self.versions.items():
            group.require_group("versions").attrs[program] = version
        for stage, identity in code.items():
            group.require_group("code").attrs[stage] = identity

    def meshes(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the mesh that all instances share, if there is one."""
        for name, values in arrays.items():
            path, stored = f"mesh/{name}", values.astype(stored_type(values))
            axes = [f"{path}_{word}" for word in ("row", "column")[: values.ndim]]
            for axis, length in zip(axes, values.shape, strict=True):
                self.number(axis, length)
            self.array(path, stored, axes)

    def refinement(self, distances: Mapping[str, NDArray[np.float64]]) -> None:
        """Write the distances of the first instances to their solutions on a refined mesh."""
        for name, values in distances.items():
            path, axis = f"{REFINEMENT}/{name}", f"{REFINEMENT}/instance"
            if axis not in self.file:
                first = self.numbers[: len(values)]
                self.scale(axis, first, "number of the instance, as drawn")
            long_name = (
                f"relative L2 distance of {name} to the solution with every edge of the mesh "
                "halved, at the points of the grid"
            )
            self.array(path, values, (axis,), long_name=long_name, units="1")

    def tables(self) -> None:
        """Write the digests of the rows of all arrays, once these are complete."""
        byte = f"{TABLES}/byte"
        self.number(byte, DIGEST)
        for path, table in self.digests.tables().items():
            array = self.file.create_dataset(
                table_path(path), data=table, chunks=(min(len(table), ROWS), DIGEST), **CHECKSUM
            )
            self.attach(array, ("sample", byte))
            array.attrs.update(long_name=f"SHA-256 of each instance's row of {path}", units="1")

    def number(self, path: str, length: int) -> None:
        """Write the dimension scale of an axis that is not one of the grid: numbers from 0."""
        self.scale(path, np.arange(length), f"number along {path.rpartition('/')[2]}")

    def scale(self, path: str, values: NDArray[Any], long_name: str) -> None:
        """Write the dimension scale of an axis."""
        scale = self.array(path, values, (), long_name=long_name, units="1")
        scale.make_scale(path.rpartition("/")[2])
        write_varying(scale, sample=path == "sample", time=path == "time")

    def array(
        self, path: str, values: NDArray[Any], axes: Sequence[str], **attributes: str
    ) -> h5py.Dataset:
        """Write a whole array."""
        chunks = (max(1, min(len(values), ROWS)), *values.shape[1:])
        array = self.file.create_dataset(path, data=values, chunks=chunks, **FILTERS)
        self.attach(array, axes)
        array.attrs.update(attributes)
        self.digests.add(path, values)
        return array

    def attach(self, array: h5py.Dataset, axes: Sequence[str]) -> None:
        """Name the dimension scales of an array's axes."""
        for number, axis in enumerate(axes):
            array.dims[number].attach_scale(self.file[axis])

    def describe_variable(self, placement: Placement, *, sample: bool) -> None:
        """Write the attributes of a complete array."""
        array, variable = self.file[placement.path], placement.variable
        write_varying(array, sample=sample, time="time" in placement.axes)
        array.attrs["long_name"] = variable.long_name
        array.attrs["units"] = variable.units
        if variable.transform != "identity":
            array.attrs["transform"] = variable.transform
        if variable.placement != "points":
            array.attrs[PLACEMENT] = variable.placement
        if variable.fixed:
            array.attrs["fixed"] = TRUTH.type(True)
        if placement.on_grid and (variable.axes or variable.rank):
            varying = [axis in variable.axes for axis in self.family.coordinates]
            array.attrs["dim_varying"] = np.array(varying, dtype=TRUTH)
        if placement.role == MASK:
            array.attrs["flag_values"] = np.array([0, 1], TRUTH)
            array.attrs["flag_meanings"] = "outside inside"

    def name_mask(self, placement: Placement, mask: Placement) -> None:
        """Write where a field has values, and what it has elsewhere, by the conventions of CF."""
        array = self.file[placement.path]
        attributes = array.attrs
        attributes["_FillValue"] = np.array([np.nan], array.dtype)
        group, _, name = mask.path.rpartition("/")
        same = placement.path.startswith(f"{group}/")
        attributes["ancillary_variables"] = name if same else f"/{mask.path}"

    def text(self, path: str, text: str) -> None:
        """Write a text."""
        self.file.create_dataset(path, data=text, dtype=h5py.string_dtype())
        self.digests.add(path, text.encode())


def write_strings(node: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write an attribute that is a list of strings, which may be empty."""
    node.attrs.create(name, np.array(values, dtype=object), dtype=h5py.string_dtype())


def write_varying(node: h5py.HLObject, *, sample: bool, time: bool) -> None:
    """Write whether an array or group differs between instances and times, as The Well does."""
    node.attrs[SAMPLE_VARYING] = TRUTH.type(sample)
    node.attrs[TIME_VARYING] = TRUTH.type(time)
