# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write a dataset file.

The same configuration makes the same digests. Only an attribute, the time of making, differs.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset import provenance
from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import create_hdf5
from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.frame import ROWS, Frame, write_strings
from kryloset.dataset.integrity import DIGEST, digest_row
from kryloset.dataset.layout import (
    CHECKSUM,
    FILTERS,
    LIBVER,
    WELL_GROUPS,
    Placement,
    mask_key,
    place,
    stored_row,
)
from kryloset.dataset.ragged import append_rows, offsets_path
from kryloset.dataset.statistics import Moments
from kryloset.dataset.structure import CREATED
from kryloset.errors import DataError
from kryloset.problems.base import Family, Variable
from kryloset.problems.checks.coverage import select
from kryloset.version import __version__

#: What an instance has of an array: numbers, or one row as HDF5 stores it.
type Row = NDArray[Any] | Encoded


def write_dataset(
    path: Path,
    name: str,
    config: DatasetConfig,
    family: Family,
    instances: Iterable[Mapping[str, Row]],
    solver: Mapping[str, NDArray[Any]],
    reasons: Mapping[int, str],
    code: Mapping[str, str],
    parameters: str,
    meshes: Mapping[str, NDArray[Any]] | None = None,
    masks: Mapping[str, NDArray[np.int8]] | None = None,
    strategies: Sequence[str] = (),
    moments: Mapping[str, Moments] | None = None,
    versions: dict[str, str] | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
    refinement: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Write a dataset file in one pass over the instances.

    Args:
        path: File to write; see `kryloset.dataset.atomic` for how to do so atomically.
        name: Name of the dataset.
        config: Its configuration.
        family: Its family.
        instances: Parameters, fields and unknowns of each instance by name, those on a further
            grid by `grid_<points>/<name>`, in the drawn order; also `inside` if each instance has
            its own domain. Rows that are encoded move into the file as they are.
        solver: The solve records: each quantity of `layout.SOLVER`, shape (instances,), in the
            drawn order.
        reasons: The meanings of the numbers in /solver/reason.
        code: Identity of the code by stage.
        parameters: Digest of the digests of all instances, from `integrity.digest_instance`.
        meshes: What `Discretisation.meshes` returned.
        masks: The masks that instances share, by the same keys as the arrays of instances.
        strategies: The labels of the strategies in /solver/way, numbered from 0.
        moments: Those of parameters and fields over the training split, if they are known.
        versions: Versions of the programs that made the dataset, if not those that are here.
        texts: Those of `layout.TEXTS` that there are; `failures` says which instances are not.
        refinement: By field, distances of the first instances to their solutions on a refined mesh.

    Raises:
        DataError: An array does not have the shape of its variable.
    """
    with create_hdf5(path, libver=LIBVER) as file:
        programs = (versions or provenance.versions()) | provenance.commit()
        writer = _Writer(file, config, family, programs, texts)
        file.attrs[CREATED] = provenance.time_of_making()
        writer.describe(name)
        writer.solver(solver, reasons, dict(enumerate(strategies)))
        writer.provenance(name, code, parameters)
        writer.data(instances, masks or {}, moments)
        writer.meshes(meshes or {})
        writer.refinement(refinement or {})
        writer.tables()
        writer.digests.seal(file)


def write_skeleton(
    file: h5py.File,
    name: str,
    config: DatasetConfig,
    family: Family,
    first: Mapping[str, NDArray[Any]],
    rows: Mapping[str, int],
    solver: Mapping[str, NDArray[Any]],
    reasons: Mapping[int, str],
    code: Mapping[str, str],
    parameters: str,
    meshes: Mapping[str, NDArray[Any]],
    masks: Mapping[str, NDArray[np.int8]],
    strategies: Sequence[str],
    versions: Mapping[str, str],
    texts: Mapping[str, str],
) -> None:
    """Write all of a dataset file except the parameters and solutions of its instances.

    Args:
        file: An empty file. The arrays of instances are made in it but not filled.
        name: Name of the dataset.
        config: Its configuration.
        family: Its family.
        first: Parameters, fields and unknowns of instance 0.
        rows: Total number of rows of each ragged variable, by name.
        solver: The solve records, as for `write_dataset`.
        reasons: The meanings of the numbers in /solver/reason.
        code: Identity of the code by stage.
        parameters: Digest of the parameters.
        meshes: What `Discretisation.meshes` returned.
        masks: The masks that instances share, as for `write_dataset`.
        strategies: The labels of the strategies in /solver/way.
        versions: Versions of the programs that made the dataset.
        texts: As for `write_dataset`.

    Raises:
        DataError: An array does not have the shape of its variable.
    """
    writer = _Writer(file, config, family, versions, texts)
    writer.describe(name)
    writer.solver(solver, reasons, dict(enumerate(strategies)))
    writer.provenance(name, code, parameters)
    writer.skeleton(first, rows, masks)
    writer.meshes(meshes)
    solved = int((writer.numbers < config.refined).sum())
    writer.refinement({v.name: np.zeros(solved) for v in family.fields if solved})
    writer.tables()


def write_instances(
    file: h5py.File,
    name: str,
    config: DatasetConfig,
    family: Family,
    instances: Iterable[Mapping[str, Row]],
    *,
    solver: Mapping[str, NDArray[Any]] | None = None,
    reasons: Mapping[int, str] | None = None,
    meshes: Mapping[str, NDArray[Any]] | None = None,
    masks: Mapping[str, NDArray[np.int8]] | None = None,
    strategies: Sequence[str] = (),
) -> None:
    """Write instances as in a dataset, but without splits, statistics and provenance.

    Args:
        file: An empty file.
        name: Name of the dataset.
        config: Gives the number of instances, the further grids and the tolerance.
        family: Its family.
        instances: The parameters of each instance, and its solution if there is one.
        solver: The solve records, as for `write_dataset`; None if nothing was solved.
        reasons: The meanings of the numbers in /solver/reason.
        meshes: What `Discretisation.meshes` returned.
        masks: The masks that instances share, as for `write_dataset`.
        strategies: The labels of the strategies in /solver/way.

    Raises:
        DataError: An array does not have the shape of its variable.
    """
    writer = _Writer(file, config, family, {"kryloset": __version__}, {})
    writer.describe_grid(name)
    if solver is not None:
        writer.solver(solver, reasons or {}, dict(enumerate(strategies)))
    writer.arrays(instances, masks or {})
    writer.meshes(meshes or {})


class _Writer(Frame):
    """A dataset file with the arrays of its instances."""

    def __init__(
        self,
        file: h5py.File,
        config: DatasetConfig,
        family: Family,
        versions: Mapping[str, str],
        texts: Mapping[str, str],
    ) -> None:
        """Begin an empty file."""
        super().__init__(file, config, family, versions, texts)
        #: By path the arrays of rows, and the numbers of all instances.
        self._stored: dict[str, tuple[Storage, h5py.Dataset]] = {}
        self._numbers: dict[str, NDArray[Any]] = {}

    def data(
        self,
        instances: Iterable[Mapping[str, Row]],
        masks: Mapping[str, NDArray[np.int8]],
        moments: Mapping[str, Moments] | None,
    ) -> None:
        """Write parameters, solutions and masks, and the statistics of the training split."""
        names = [v.name for v in (*self.family.parameters, *self.family.fields)]
        if moments is None:
            moments = {name: Moments() for name in names}
            train = self.split_rows["train"].tolist()
            self.arrays(instances, masks, dict.fromkeys(train, moments))
        else:
            self.arrays(instances, masks)
        self.statistics({name: moments[name].summary() for name in names})

    def arrays(
        self,
        instances: Iterable[Mapping[str, Row]],
        masks: Mapping[str, NDArray[np.int8]],
        moments: Mapping[int, Mapping[str, Moments]] = MappingProxyType({}),
    ) -> None:
        """Write parameters, solutions and masks.

        Args:
            instances: As of `write_dataset`.
            masks: As of `write_dataset`.
            moments: By instance the moments, by variable, to which its values are added.
        """
        shared = self._write_masks(masks)
        placements: dict[str, Placement] = {}
        for index, arrays in enumerate(instances):
            # The first instance shows the lengths of axes that are not axes of the grid.
            if not placements:
                placements = self._make_all(arrays)
            for key, placement in placements.items():
                self._write(placement, index, arrays[key])
                if moment := moments.get(index, {}).get(key):
                    values = self._read(placement, arrays[key])
                    mask = mask_key(key)
                    inside = masks.get(mask)
                    if mask in arrays:
                        inside = self._read(placements[mask], arrays[mask])
                    moment.add(self._within(placement.variable, values, inside))
        self._finish_all(placements, shared)

    def skeleton(
        self,
        first: Mapping[str, NDArray[Any]],
        rows: Mapping[str, int],
        masks: Mapping[str, NDArray[np.int8]],
    ) -> None:
        """Make the arrays that `data` makes but leave them empty, with statistics of zeros."""
        shared, placements = self._write_masks(masks), self._make_all(first)
        for key, length in rows.items():
            path = placements[key].path
            append_rows(self.file, path, self._values(placements[key], 0, first[key]), **FILTERS)
            self.file[path].resize(length, axis=0)
            self.file[offsets_path(path)].resize(len(self.numbers) + 1, axis=0)
        for placement in placements.values():
            if placement.has_rows:
                self.digests.add_rows(placement.path, bytes(len(self.numbers) * DIGEST))
        self._finish_all(placements, shared)
        names = [v.name for v in (*self.family.parameters, *self.family.fields)]
        nothing = Moments()
        nothing.add(np.zeros(1))
        self.statistics(dict.fromkeys(names, nothing.summary()))

    def _write_masks(self, masks: Mapping[str, NDArray[np.int8]]) -> dict[str, Placement]:
        """Make the groups of all variables, and write the masks that all instances share."""
        for group in WELL_GROUPS:
            self.file.create_group(group)
        shared = {key: place(self.family, key) for key in masks}
        for key, placement in shared.items():
            self.array(placement.path, masks[key], placement.axes[1:])
            self.describe_variable(placement, sample=False)
        return shared

    def _make_all(self, arrays: Mapping[str, Row]) -> dict[str, Placement]:
        """Make the arrays of all variables in the shapes that an instance has."""
        placements = {key: place(self.family, key) for key in arrays}
        for key, placement in placements.items():
            self._make(placement, self._values(placement, 0, arrays[key]))
        return placements

    def _finish_all(
        self, placements: Mapping[str, Placement], shared: Mapping[str, Placement]
    ) -> None:
        """Write axes and masks of all arrays, and list the arrays as The Well does."""
        for key, placement in placements.items():
            self._finish(placement)
            if placement.masked and mask_key(key) in {**placements, **shared}:
                self.name_mask(placement, place(self.family, mask_key(key)))
        for group in WELL_GROUPS:
            every = (*placements.values(), *shared.values())
            found = [p.variable.name for p in every if p.path.startswith(group)]
            write_strings(self.file[group], "field_names", found)

    def _read(self, placement: Placement, row: Row) -> NDArray[Any]:
        """Return the stored form of an instance's row, with one time for a steady solution."""
        if isinstance(row, Encoded):
            return row.decode()[0]
        return stored_row(self.family, placement, row, self.config.storage.precision)

    def _values(self, placement: Placement, index: int, row: Row) -> NDArray[Any]:
        """Return the stored form of an instance's row, which fits the axes of the array."""
        found = self._read(placement, row)
        axes = [axis for axis in placement.axes if axis != "sample"]
        # An axis of the variable's own is not in the file before the first instance, and a ragged
        # axis not before the last.
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
        """Make the array of a variable, and the dimension scales of its own axes."""
        ragged, path = placement.variable.ragged, placement.path
        for axis, length in zip(placement.axes[1:], values.shape[ragged:], strict=True):
            if axis not in self.file:
                self.number(axis, length)
        if ragged:
            return
        count = len(self.numbers)
        if placement.has_rows:
            times, compression = "time" in placement.axes, self.config.storage.compression
            storage = Storage.of(values, times=times, compression=compression)
            self._stored[path] = storage, storage.create(self.file, path, count)
        else:
            self._numbers[path] = np.zeros(count, values.dtype)
            self.file.create_dataset(
                path, (count,), values.dtype, chunks=(min(count, ROWS),), **CHECKSUM
            )

    def _write(self, placement: Placement, index: int, row: Row) -> None:
        """Write the row of one instance: as it is, if it is stored as those of the dataset."""
        path = placement.path
        if path in self._stored:
            storage, array = self._stored[path]
            if not isinstance(row, Encoded) or row.storage != storage:
                row = self._encode(storage, placement, index, row)
            row.write(array, index)
            self.digests.add_rows(path, row.digests)
            return
        values = self._values(placement, index, row)
        if placement.variable.ragged:
            self.digests.add(offsets_path(path), append_rows(self.file, path, values, **FILTERS))
            self.digests.add_rows(path, digest_row(values))
        else:
            self._numbers[path][index] = values

    def _encode(self, storage: Storage, placement: Placement, index: int, row: Row) -> Encoded:
        try:
            return storage.encode(self._values(placement, index, row)[np.newaxis])
        except DataError as error:
            name = placement.variable.name
            raise DataError(f"instance {index}: {name!r} cannot be stored: {error}") from None

    def _finish(self, placement: Placement) -> None:
        """Attach the dimension scales of a complete array, and describe it."""
        array, variable = self.file[placement.path], placement.variable
        if placement.path in self._numbers:
            array[:] = self._numbers[placement.path]
            self.digests.add(placement.path, self._numbers[placement.path])
        if variable.ragged:
            if placement.axes[0] not in self.file:
                self.number(placement.axes[0], len(array))
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
        self.attach(array, placement.axes)
        self.describe_variable(placement, sample=True)

    def _within(
        self, variable: Variable, values: NDArray[Any], inside: NDArray[np.int8] | None
    ) -> NDArray[Any]:
        """Return the values for the statistics: those in the domain, if it is on the whole grid."""
        if inside is None or variable.axes != tuple(self.family.coordinates):
            return values
        return select(values, inside.astype(np.bool_), variable.rank)
