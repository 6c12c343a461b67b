# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read a dataset file."""

import hashlib
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints, name_points, parse_config
from kryloset.dataset.integrity import read_seals
from kryloset.dataset.layout import (
    CHOICES,
    REFINEMENT,
    ROLES,
    SAMPLE_VARYING,
    TIME_VARYING,
    WELL_GROUPS,
    grid_group,
    mask_key,
    recorded,
    widen,
)
from kryloset.dataset.opening import describable, open_hdf5, require_readable
from kryloset.dataset.origin import Provenance, read_provenance
from kryloset.dataset.ragged import offsets_path, read_rows
from kryloset.dataset.structure import CREATED
from kryloset.errors import DataError
from kryloset.problems.checks.coverage import INSIDE, select
from kryloset.yaml_text import parse_yaml


def _described[Method: Callable[..., Any]](method: Method) -> Method:
    """Make a method of `Dataset` raise errors for people."""

    @wraps(method)
    def read(self: "Dataset", *args: Any, **kwargs: Any) -> Any:
        with describable(self.path):
            return method(self, *args, **kwargs)

    return cast(Method, read)


class Dataset:
    """An open dataset file; use it in a `with` statement.

    Every method that reads raises a `DataError` if the file lacks a part that it should have. An
    index is the row of an instance, which is its number unless one before it is left out.

    Args:
        path: The file.

    Attributes:
        path: The file.
        file: The open HDF5 file.
        name: Name of the dataset.
        config: The configuration that made it.
        parameters: Names of the parameters.
        fields: Names of the fields of a solution.
        unknowns: Names of the other arrays that are stored of a solution.
        times: Times of the stored states; None for a steady problem.
        masked: None if all points of the grid lie in the domain; otherwise `shared` if all
            instances have the same domain, and `own` if each has its own.

    Raises:
        DataError: The file is missing, damaged, or not a dataset of Kryloset.
    """

    def __init__(self, path: Path) -> None:
        """Make sure that the file can be read, then open it."""
        require_readable(path)
        self.path = path
        self.file = open_hdf5(path)
        try:
            with describable(path):
                self._describe(path)
        except BaseException:
            self.file.close()
            raise

    def _describe(self, path: Path) -> None:
        """Read names, configuration, times and masks."""
        if "provenance/config" not in self.file:
            raise DataError(f"{path} is not a dataset of Kryloset: it has no /provenance/config")
        source = f"{path}: /provenance/config"
        tree = parse_yaml(self.config_text, source)
        ((self.name, self.config),) = parse_config(tree, source).datasets.items()
        self.parameters = tuple(self.file.attrs["input_fields"])
        self.fields = tuple(self.file.attrs["output_fields"])
        self.unknowns = tuple(self.file.attrs["unknowns"])
        self.times = self.file["time"][:] if len(self.file["time"]) > 1 else None
        self._shared: dict[str, NDArray[np.bool_]] = {}
        self.masked = self._find_masks()
        # Finding an array and its attributes takes as long as reading an instance of it.
        self._found: dict[str, tuple[h5py.Dataset, bool, bool]] = {}

    def __enter__(self) -> Self:
        """Return the dataset itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.file.close()

    @property
    @_described
    def config_text(self) -> str:
        """The YAML text of the configuration that makes the file again."""
        return str(self.file["provenance/config"].asstr()[()])

    @_described
    def provenance(self) -> Provenance:
        """Return where the dataset comes from."""
        return read_provenance(self.file)

    @_described
    def choices(self) -> str | None:
        """Return the recorded selections of all chunks as JSON; None if the solver was fixed."""
        return str(self.file[CHOICES].asstr()[()]) if CHOICES in self.file else None

    @_described
    def refinement(self) -> dict[str, NDArray[np.float64]]:
        """Return by field the distances of the first instances to refined solutions; or none."""
        if REFINEMENT not in self.file:
            return {}
        group = self.file[REFINEMENT]
        return {name: np.asarray(group[name][:], np.float64) for name in self.fields}

    @property
    @_described
    def about(self) -> dict[str, str]:
        """When the file was made, by whom, its licence and references, as far as they are told."""
        names = {
            "made": CREATED,
            "creator": "creator_name",
            "licence": "license",
            "references": "references",
        }
        attributes = self.file.attrs
        return {key: str(attributes[name]) for key, name in names.items() if name in attributes}

    @_described
    def solver(self) -> dict[str, NDArray[Any]]:
        """Return the quantities of `layout.recorded`, a number for each instance."""
        return {name: self.file[f"solver/{name}"][:] for name in recorded(self.config.storage)}

    @_described
    def strategies(self) -> dict[int, str]:
        """Return the labels of the strategies by the numbers in `solver()["way"]`."""
        attributes = self.file["solver/way"].attrs
        labels = attributes["flag_meanings"].split()
        return dict(zip(attributes["flag_values"].tolist(), labels, strict=True))

    @property
    @_described
    def version(self) -> str:
        """The version of kryloset that made the file."""
        return str(self.file["provenance/versions"].attrs["kryloset"])

    @_described
    def __len__(self) -> int:
        """Return the number of instances."""
        return int(self.file.attrs["n_trajectories"])

    @cached_property
    @_described
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of the instances, one for each row, ascending; some may be left out."""
        return np.asarray(self.file["sample"][:], np.int64)

    def row_of(self, number: int) -> int:
        """Return the row of an instance.

        Raises:
            DataError: The file has no instance of that number.
        """
        row = int(np.searchsorted(self.numbers, number))
        if row < len(self.numbers) and self.numbers[row] == number:
            return row
        first, last = self.numbers[[0, -1]]
        told = f" has the instances {first} to {last}, and no {number}"
        left_out = (f": {one}" for one in self.provenance().failures if one.instance == number)
        raise DataError(f"{self.path}{next(left_out, told)}")

    def array(self, name: str) -> h5py.Dataset:
        """Return the array of a parameter (sample, ...) or of the solution (sample, time, ...).

        Args:
            name: Its name, preceded by `grid_<points>/` for a further grid.

        Raises:
            KeyError: The file has no such array.
        """
        array = self._find(name)
        if array is None:
            raise KeyError(name)
        return array

    def _find(self, name: str) -> h5py.Dataset | None:
        groups = ["/"] if "/" in name else [f"/{group}/" for group in (*WELL_GROUPS, *ROLES)]
        return next((self.file[g + name] for g in groups if g + name in self.file), None)

    def _find_masks(self) -> Literal["shared", "own"] | None:
        """Return whether masks are shared or each instance's own, and keep shared ones."""
        grids = [f"{grid_group(points)}/" for points in self.config.mesh.grids]
        for key in map(mask_key, ("", *grids)):
            mask = self._find(key)
            if mask is not None and mask.attrs[SAMPLE_VARYING]:
                return "own"
            if mask is not None:
                self._shared[key] = np.asarray(mask[:], np.bool_)
        return "shared" if self._shared else None

    def instance(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the parameters of an instance, by its row."""
        return {name: self._read(name, index) for name in self.parameters}

    def solution(self, index: int) -> dict[str, NDArray[Any]]:
        """Return an instance's fields and unknowns as `Discretisation.solve` returned them."""
        own = (INSIDE.name,) if self.masked == "own" else ()
        return {name: self._read(name, index) for name in (*self.fields, *self.unknowns, *own)}

    @_described
    def inside(self, index: int, points: GridPoints | None = None) -> NDArray[np.bool_] | None:
        """Return which points of the grid lie in an instance's domain.

        Args:
            index: The instance.
            points: A further grid, by its points; by default the dataset's own grid.

        Returns:
            A mask of shape (*grid), outside of which fields are NaN; None if all points lie in
            the domain.
        """
        name = mask_key("" if points is None else f"{grid_group(points)}/")
        if self.masked == "own":
            return self._read(name, index).astype(np.bool_)
        if self.masked == "shared" and (array := self._find(name)) is not None:
            return np.asarray(array[:], np.bool_)
        return None

    @_described
    def within(self, name: str, index: int) -> NDArray[Any]:
        """Return the values of a parameter or field at the points in the domain.

        A parameter that is not on the whole grid is returned as it is.
        """
        values, inside = self._read(name, index), self.inside(index)
        if inside is None or not np.all(self.array(name).attrs.get("dim_varying", False)):
            return values
        return select(values, inside, self.rank(name))

    @_described
    def rank(self, name: str) -> int:
        """Return 1 for a vector on the grid, which has an axis of components; otherwise 0."""
        return int(self.array(name).parent.name == "/t1_fields")

    @_described
    def resampled(self, points: GridPoints, index: int) -> dict[str, NDArray[Any]]:
        """Return parameters and fields of an instance on a further grid."""
        group = grid_group(points)
        return {n: self._read(f"{group}/{n}", index) for n in self.names_on(points)}

    @_described
    def names_on(self, points: GridPoints) -> list[str]:
        """Return the names of the arrays that each instance has on a further grid."""
        own = (INSIDE.name,) if self.masked == "own" else ()
        every = (*self.parameters, *self.fields, *own)
        return [name for name in every if name in self.file[grid_group(points)]]

    def _read(self, name: str, index: int) -> NDArray[Any]:
        """Read the values of one instance."""
        return np.asarray(self.rows(name, index, index + 1)[0])

    @_described
    def rows(self, name: str, begin: int, end: int) -> NDArray[Any]:
        """Return the values of neighbouring instances, in double precision.

        If the problem is steady, there is no axis of time.

        Args:
            name: As for `array`.
            begin: The first instance.
            end: The one after the last. Of a ragged array one instance is read at a time.
        """
        if name not in self._found:
            array = self.array(name)
            ragged = offsets_path(array.name) in self.file
            steady = self.times is None and bool(array.attrs[TIME_VARYING])
            self._found[name] = (array, ragged, steady)
        array, ragged, steady = self._found[name]
        if ragged:
            return widen(read_rows(self.file, array.name, begin)[np.newaxis])
        values = widen(np.asarray(array[begin:end]))
        return np.asarray(values[:, 0]) if steady else values

    @_described
    def meshes(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the mesh that all instances share, by name; perhaps none."""
        group = self.file.get("mesh", {})
        return {name: array[:] for name, array in group.items() if not array.is_scale}

    def require_unchanged_texts(self) -> None:
        """Make sure that no text in /provenance was changed since the file was sealed.

        Raises:
            DataError: A text was changed, or the file has no digests.
        """
        path = self.path
        with describable(path):
            try:
                seals = read_seals(self.file)
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            for text, seal in seals.items():
                if not text.startswith("provenance/"):
                    continue
                if hashlib.sha256(self.file[text][()]).hexdigest() != seal:
                    raise DataError(f"{path} is damaged: /{text} was changed; use an intact copy")

    @_described
    def family_sources(self) -> dict[str, str]:
        """Return what `provenance.family_sources` returned when the file was made."""
        texts: dict[str, str] = {}

        def read(place: str, node: h5py.HLObject) -> None:
            if isinstance(node, h5py.Dataset):
                texts[place] = node.asstr()[()]

        group = self.file["provenance"]
        if "family" in group:
            read(str(group["family"].attrs["file"]), group["family"])
        if "modules" in group:
            group["modules"].visititems(read)
        return texts

    @property
    @_described
    def coordinates(self) -> dict[str, NDArray[np.float64]]:
        """Coordinates of the grid by axis, in the order of the axes."""
        axes = self.file["dimensions"].attrs["spatial_dims"]
        return {axis: self.file[axis][:] for axis in axes}

    @property
    def closed_coordinates(self) -> dict[str, NDArray[np.float64]]:
        """Coordinates of the grid, with the end of each periodic axis, where its first point is."""
        return self.closed_coordinates_on()

    def closed_coordinates_on(
        self, points: GridPoints | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Return `closed_coordinates` of a further grid, or of the dataset's own grid for None."""
        periodic = self.config.mesh.periodic
        return {
            axis: np.append(x, x[-1] + x[1] - x[0]) if axis in periodic else x
            for axis, x in self.coordinates_on(points).items()
        }

    @_described
    def coordinates_on(self, points: GridPoints | None = None) -> dict[str, NDArray[np.float64]]:
        """Return the coordinates of a further grid, or of the dataset's own grid for None."""
        if points is None:
            return self.coordinates
        group = self.file[grid_group(points)]
        return {axis: group[f"{axis}_{name_points(points)}"][:] for axis in self.coordinates}

    @property
    @_described
    def grid(self) -> tuple[int, ...]:
        """Points along each axis of the grid."""
        return tuple(len(self.file[axis]) for axis in self.file["dimensions"].attrs["spatial_dims"])

    @_described
    def splits(self) -> dict[str, NDArray[np.int64]]:
        """Return the rows of the instances of each split."""
        return {name: self.file[f"splits/{name}"][:] for name in self.config.split_names}

    @_described
    def statistics(self, name: str) -> dict[str, float]:
        """Return mean, std, rms, min and max of a parameter or field over the training split."""
        return read_statistics(self.file)[name]


def read_statistics(file: h5py.File) -> dict[str, dict[str, float]]:
    """Return the statistics of the training split by name of a parameter or field."""
    return {
        name: {key: float(value) for key, value in group.attrs.items()}
        for name, group in file["statistics"].items()
    }
