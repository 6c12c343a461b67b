# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read a dataset file: its instances, its configuration, and what to tell people about it."""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, parse_config
from kryloset.dataset.guard import in_child
from kryloset.dataset.integrity import read_seals
from kryloset.dataset.layout import ROLES, WELL_GROUPS, grid_group, mask_key
from kryloset.dataset.ragged import offsets_path, read_rows
from kryloset.dataset.structure import read_structure
from kryloset.errors import DataError, KrylosetError
from kryloset.problems.checks.coverage import INSIDE, select
from kryloset.yaml_text import parse_yaml


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        DataError: The file is missing, or HDF5 cannot open it.
    """
    _require_there(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is no HDF5 file, or damaged: {error}") from None


def _look(path: Path) -> None:
    """Make sure in a child process that HDF5 comes to an end with a file; once for each file.

    Raises:
        DataError: The file is missing or damaged, or it claims what it does not have.
    """
    _require_there(path)
    state = path.stat()
    _look_once(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _require_there(path: Path) -> None:
    if not os.path.isfile(path):  # which answers for any path
        raise DataError(f"there is no file {path}; `make run` makes results/<name>/dataset.h5")


@cache
def _look_once(path: Path, *state: int) -> None:
    def look() -> None:
        with open_hdf5(path) as file:
            try:
                read_structure(file)
            except DataError as error:
                raise DataError(f"{path} is damaged: {error}") from None

    in_child(path, look)


@contextmanager
def describable(path: Path) -> Iterator[None]:
    """Turn errors about parts of a file that are not as Kryloset writes them into one for people.

    Raises:
        DataError: A part is missing or of another kind.
    """
    try:
        yield
    except KrylosetError:
        raise
    except Exception as error:  # HDF5 and h5py raise a dozen types.
        raise DataError(
            f"{path} is no dataset as Kryloset writes it, or damaged: "
            f"{type(error).__name__}: {error}"
        ) from None


def _described[Method: Callable[..., Any]](method: Method) -> Method:
    """Make a method of `Dataset` tell people what its file lacks."""

    @wraps(method)
    def read(self: "Dataset", *args: Any, **kwargs: Any) -> Any:
        with describable(Path(self.file.filename)):
            return method(self, *args, **kwargs)

    return cast(Method, read)


class Dataset:
    """An open dataset file; use it in a `with` statement.

    Every method that reads raises a `DataError` where the file lacks a part that it should have.

    Args:
        path: The file.

    Attributes:
        file: The open HDF5 file.
        name: Name of the dataset.
        config: What it was made with.
        parameters: Names of the parameters.
        fields: Names of the fields of a solution.
        unknowns: Names of what else of a solution is stored.
        times: Times of the stored states; None for a steady problem.
        masked: `shared` where the grid has points outside of the domain of all instances, `own`
            where each instance has a domain of its own; None where there are no such points.

    Raises:
        DataError: The file is missing, damaged, or no dataset of Kryloset.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file from afar, then open it."""
        _look(path)
        self.file = open_hdf5(path)
        try:
            with describable(path):
                self._describe(path)
        except BaseException:
            self.file.close()
            raise

    def _describe(self, path: Path) -> None:
        """Read what the file says of itself."""
        if "provenance/config" not in self.file:
            raise DataError(f"{path} is no dataset of Kryloset: it has no /provenance/config")
        source = f"{path}: /provenance/config"
        tree = parse_yaml(self.config_text, source)
        ((self.name, self.config),) = parse_config(tree, source).datasets.items()
        self.parameters = tuple(self.file.attrs["input_fields"])
        self.fields = tuple(self.file.attrs["output_fields"])
        self.unknowns = tuple(self.file.attrs["unknowns"])
        self.times = self.file["time"][:] if len(self.file["time"]) > 1 else None
        self._shared: dict[str, NDArray[np.bool_]] = {}
        self.masked = self._find_masks()
        # To find an array and its attributes takes as long as to read an instance of it.
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

    @property
    @_described
    def version(self) -> str:
        """The version of kryloset that made the file."""
        return str(self.file["provenance/versions"].attrs["kryloset"])

    @_described
    def __len__(self) -> int:
        """Return the number of instances."""
        return int(self.file.attrs["n_trajectories"])

    def array(self, name: str) -> h5py.Dataset:
        """Return the array of a parameter (sample, ...) or of the solution (sample, time, ...).

        Args:
            name: Its name, after `grid_<points>/` for its values on a further grid.

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
        """Return whose the masks are, and keep those of all instances."""
        grids = [f"{grid_group(points)}/" for points in self.config.mesh.grids]
        for key in map(mask_key, ("", *grids)):
            mask = self._find(key)
            if mask is not None and mask.attrs["sample_varying"]:
                return "own"
            if mask is not None:
                self._shared[key] = np.asarray(mask[:], np.bool_)
        return "shared" if self._shared else None

    def instance(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the parameters of an instance."""
        return {name: self._read(name, index) for name in self.parameters}

    def solution(self, index: int) -> dict[str, NDArray[Any]]:
        """Return an instance's fields and unknowns as `Discretisation.solve` returned them."""
        own = (INSIDE.name,) if self.masked == "own" else ()
        return {name: self._read(name, index) for name in (*self.fields, *self.unknowns, *own)}

    @_described
    def inside(self, index: int, points: int | None = None) -> NDArray[np.bool_] | None:
        """Return which points of the grid lie in an instance's domain.

        Args:
            index: The instance.
            points: Of a further grid, a side.

        Returns:
            (*grid); None where all of them do. Elsewhere fields are NaN.
        """
        name = mask_key("" if points is None else f"{grid_group(points)}/")
        if self.masked == "own":
            return self._read(name, index).astype(np.bool_)
        if self.masked == "shared" and (array := self._find(name)) is not None:
            return np.asarray(array[:], np.bool_)
        return None

    @_described
    def within(self, name: str, index: int) -> NDArray[Any]:
        """Return the values of a parameter or field that count: those in the domain.

        A parameter that is not on the whole grid counts as it is.
        """
        values, inside = self._read(name, index), self.inside(index)
        if inside is None or not np.all(self.array(name).attrs.get("dim_varying", False)):
            return values
        return select(values, inside, self.rank(name))

    @_described
    def rank(self, name: str) -> int:
        """Return 1 for a vector on the grid, which has an axis of components, else 0."""
        return int(self.array(name).parent.name == "/t1_fields")

    @_described
    def resampled(self, points: int, index: int) -> dict[str, NDArray[Any]]:
        """Return parameters and fields of an instance on a further grid."""
        group = grid_group(points)
        own = (INSIDE.name,) if self.masked == "own" else ()
        every = (*self.parameters, *self.fields, *own)
        names = [name for name in every if name in self.file[group]]
        return {name: self._read(f"{group}/{name}", index) for name in names}

    @_described
    def _read(self, name: str, index: int) -> NDArray[Any]:
        """Read one instance's values; a steady solution has no axis of time."""
        if name not in self._found:
            array = self.array(name)
            ragged = offsets_path(array.name) in self.file
            steady = self.times is None and bool(array.attrs["time_varying"])
            self._found[name] = (array, ragged, steady)
        array, ragged, steady = self._found[name]
        if ragged:
            return read_rows(self.file, array.name, index)
        values = np.asarray(array[index])
        return np.asarray(values[0]) if steady else values

    @_described
    def meshes(self) -> dict[str, NDArray[Any]]:
        """Return the mesh that all instances share, by name; nothing where there is none."""
        group = self.file.get("mesh", {})
        return {name: array[:] for name, array in group.items() if not array.is_scale}

    def require_unchanged_texts(self) -> None:
        """Refuse texts in /provenance that were changed since the file was sealed.

        Raises:
            DataError: One was, or the file carries no digests.
        """
        path = Path(self.file.filename)
        with describable(path):
            try:
                seals = read_seals(self.file)
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            for text, seal in seals.items():
                if not text.startswith("provenance/"):
                    continue
                if hashlib.sha256(self.file[text][()]).hexdigest() != seal:
                    raise DataError(
                        f"{path} is damaged: /{text} was changed; take a copy that is whole"
                    )

    @_described
    def family_sources(self) -> dict[str, str]:
        """Return what `provenance.family_sources` did when the file was made."""
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
    def grid(self) -> tuple[int, ...]:
        """Points along each axis of the grid."""
        return tuple(len(self.file[axis]) for axis in self.file["dimensions"].attrs["spatial_dims"])

    @_described
    def splits(self) -> dict[str, NDArray[np.int64]]:
        """Return the instances of each split."""
        return {name: self.file[f"splits/{name}"][:] for name in self.config.splits}

    @_described
    def statistics(self, name: str) -> dict[str, float]:
        """Return mean, std, rms, min and max of a parameter or field over the training split."""
        return {key: float(value) for key, value in self.file[f"statistics/{name}"].attrs.items()}


def read_config(path: Path) -> tuple[str, DatasetConfig]:
    """Return the name of a dataset file's dataset and what it was made with.

    Raises:
        DataError: As `Dataset`.
    """
    with Dataset(path) as dataset:
        return dataset.name, dataset.config


def read_config_text(path: Path) -> str:
    """Return the YAML text of the configuration that makes a dataset file again.

    Raises:
        DataError: As `Dataset`, or `Dataset.require_unchanged_texts`.
    """
    with Dataset(path) as dataset:
        dataset.require_unchanged_texts()
        return dataset.config_text


def describe(path: Path) -> str:
    """Return what a person wants to know of a dataset file, as plain text.

    Raises:
        DataError: As `Dataset`, or `Dataset.require_unchanged_texts`.
    """
    with Dataset(path) as dataset, describable(path):
        dataset.require_unchanged_texts()
        attributes = dataset.file.attrs
        parts = [
            f"{path}: {attributes['title']}, dataset {dataset.name!r}\n  {attributes['equation']}",
            _counts(dataset),
            _table("Parameters", [_variable(dataset, name) for name in dataset.parameters]),
            _table(
                "Solution", [_variable(dataset, n) for n in (*dataset.fields, *dataset.unknowns)]
            ),
            _table("Solver", _solver(dataset)),
            _table("Made with", _provenance(dataset)),
            f"Open it:\n"
            f"  import xarray\n"
            f'  tree = xarray.open_datatree("{path}", engine="h5netcdf")\n'
            f'  tree["t0_fields"].isel(sample=0)',
            f"Make it again:\n"
            f"  kryloset restore {shlex.quote(str(path))} again\n"
            f"and run the command that it says",
        ]
    return "\n\n".join(parts) + "\n"


def _counts(dataset: Dataset) -> str:
    splits = ", ".join(f"{name} {len(indices)}" for name, indices in dataset.splits().items())
    lines = [f"{len(dataset)} instances on a grid of {' x '.join(map(str, dataset.grid))} points"]
    if dataset.times is not None:
        begin, end = dataset.times[[0, -1]]
        lines.append(f"States at {len(dataset.times)} times from {begin:g} to {end:g}")
    lines += _domain(dataset)
    grids = dataset.config.mesh.grids
    lines += [f"On a further grid of {n} points a side: /{grid_group(n)}" for n in grids]
    if meshes := dataset.meshes():
        lines.append(f"On the mesh of all instances, /mesh: {', '.join(meshes)}")
    return "\n".join([*lines, f"Splits: {splits}"])


def _domain(dataset: Dataset) -> list[str]:
    """Return what there is to say of points outside of the domain, perhaps nothing."""
    several = {"shared": 1, "own": len(dataset)}
    masks = [dataset.inside(index) for index in range(several.get(dataset.masked or "", 0))]
    counts = [int(mask.sum()) for mask in masks if mask is not None]
    if not counts:
        return []
    few, many = min(counts), max(counts)
    told = f"{few}" if few == many else f"Between {few} and {many}"
    return [f"{told} of these points lie in the domain (`inside`); fields are NaN at the others"]


def _variable(dataset: Dataset, name: str) -> Sequence[str]:
    array = dataset.array(name)
    axes = ", ".join(
        f"{dim.label or dim.keys()[0]} {size}"
        for dim, size in zip(array.dims, array.shape, strict=True)
    )
    unit = array.attrs["units"]
    return (
        name,
        f"{array.attrs['long_name']}{'' if unit == '1' else f' [{unit}]'}",
        f"({axes}) {array.dtype}",
        "" if name in dataset.unknowns else _range(dataset.statistics(name)),
    )


def _range(statistics: dict[str, float]) -> str:
    return (
        f"mean {statistics['mean']:.4g}, std {statistics['std']:.4g}, "
        f"{statistics['min']:.4g} to {statistics['max']:.4g} (train)"
    )


def _solver(dataset: Dataset) -> list[Sequence[str]]:
    solver, settings = dataset.file["solver"], dataset.config.solver
    iterations, residual = solver["iterations"][:], solver["true_residual"][:]
    recycled = int((solver["predecessor"][:] >= 0).sum())
    return [
        ("method", f"{settings.method}, preconditioner {settings.preconditioner}"),
        ("true residual", f"at most {residual.max():.3g}, tolerance {settings.tolerance:.3g}"),
        ("iterations", f"{iterations.sum()} in all, {iterations.mean():.1f} an instance"),
        ("recycled", f"{recycled} of {len(dataset)} instances, from the one solved before"),
        ("escalations", f"{solver['escalations'][:].sum()}"),
    ]


def _provenance(dataset: Dataset) -> list[Sequence[str]]:
    provenance = dataset.file["provenance"]
    versions = ", ".join(f"{name} {v}" for name, v in provenance["versions"].attrs.items())
    return [("seed", str(provenance.attrs["seed"])), ("versions", versions)]


def _table(title: str, rows: Sequence[Sequence[Any]]) -> str:
    """Return a titled list with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return f"{title}:\n" + "\n".join(f"  {line}" for line in lines)
