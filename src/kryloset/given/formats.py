# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The arrays of a file in any of the formats that hold instances.

Nothing is read but shapes and names until a row is asked for. Compressed `.npz` and MATLAB files
have no rows on the disk: an array of theirs is unpacked once, into a temporary file.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.layout import SAMPLE_VARYING
from kryloset.errors import DataError, KrylosetError
from kryloset.extras import advised

#: Bytes of an array that is unpacked that are in memory at a time.
_BLOCK = 2**26

#: What reads the header of an array, by the version of NumPy's format.
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

#: The types of MATLAB's classes of numbers, where they are not NumPy's names.
_MATLAB = {"double": "float64", "single": "float32", "logical": "bool"}


@dataclass(frozen=True)
class FileArray:
    """An array of a file.

    Attributes:
        name: Its path in the file.
        shape: Its shape. The first axis counts the instances, unless it is shared.
        dtype: Its type.
        read: Returns the values at an index, which begins with the number of an instance.
        units: The units that the file states; None if it states none.
        axes: Names of its axes, as far as the file states them; otherwise empty texts.
        shared: Whether all instances have it in common, so that no axis counts them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[tuple[Any, ...]], NDArray[Any]]
    units: str | None = None
    axes: tuple[str, ...] = ()
    shared: bool = False

    def __str__(self) -> str:
        """Return name and shape, for messages."""
        return f"{self.name} {self.shape}"


def list_arrays(path: Path) -> dict[str, FileArray]:
    """Return the arrays of a file by their names.

    An array of `.npy` has the name of the file, without the ending.

    Raises:
        DataError: The file is missing, damaged, or of another format.
        MissingLibraryError: It is a zarr folder, and zarr is not installed.
    """
    if not path.exists():
        raise DataError(f"there is no file {path} in {Path.cwd()}")
    kind = path.suffix.lower()
    readers = {".npy": _list_npy, ".npz": _list_npz, ".zarr": _list_zarr}
    with _readable(path):
        if path.is_file() and h5py.is_hdf5(path):
            # MATLAB writes its own, column-major, order of the axes.
            found = _list_hdf5(path, reverse=kind == ".mat")
        elif kind in readers:
            found = readers[kind](path)
        elif kind == ".mat":
            found = _list_matlab(path)
        else:
            raise DataError(
                f"{path} is in no format that is read: take .npy, .npz, HDF5 (.h5, .hdf5, .nc), "
                "MATLAB's .mat, or a .zarr folder"
            )
    return {array.name: array for array in found}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what libraries raise about a file into an error for people."""
    try:
        yield
    except KrylosetError:
        raise
    except Exception as error:  # Each format has a dozen types.
        raise DataError(f"{path} cannot be read: {error}") from error


def _read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape of an array of NumPy, whether it is in Fortran's order, and its type.

    What NumPy says of a damaged header is advice to trust the file.
    """
    try:
        return _HEADERS[np.lib.format.read_magic(file)](file)
    except (KeyError, ValueError):
        raise DataError(f"{where} is damaged, or no array that numpy.save wrote") from None


def _list_npy(path: Path) -> list[FileArray]:
    with path.open("rb") as file:
        shape, _, dtype = _read_header(file, str(path))
    if dtype.hasobject:  # It has no bytes to map; what it holds is refused by its type.
        return [FileArray(path.stem, shape, dtype, lambda _: np.empty(0))]
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    return [FileArray(path.stem, values.shape, values.dtype, values.__getitem__)]


def _list_npz(path: Path) -> list[FileArray]:
    found = []
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                shape, _, dtype = _read_header(file, f"{path}, {member},")
            load = partial(_extract, path, member)
            found.append(_unpacked(path, member.removesuffix(".npy"), shape, dtype, load))
    return found


def _extract(path: Path, member: str, folder: str) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        values: NDArray[Any] = np.load(archive.extract(member, folder), mmap_mode="r")
    return values


def _list_matlab(path: Path) -> list[FileArray]:
    """List the arrays of a file that MATLAB wrote before version 7.3."""
    from scipy.io import whosmat

    found = []
    for name, shape, kind in whosmat(path):
        try:
            dtype = np.dtype(_MATLAB.get(kind, kind))
        except TypeError:  # a text, a structure, ...
            continue
        found.append(_unpacked(path, name, shape, dtype, partial(_load_matlab, path, name)))
    return found


def _load_matlab(path: Path, name: str, folder: str) -> NDArray[Any]:
    from scipy.io import loadmat

    values = loadmat(path, variable_names=[name])[name]
    return _copy(values.shape, values.dtype, values.__getitem__, folder)


def _list_hdf5(path: Path, reverse: bool) -> list[FileArray]:
    file = h5py.File(path, "r")
    numbered = sorted((name for name in file if name.isdigit()), key=int)
    if numbered:
        return _list_numbered(file, numbered)
    nodes: list[h5py.Dataset] = []

    def add(name: str, node: h5py.HLObject) -> None:
        # MATLAB keeps its texts and structures in a group of that name.
        if isinstance(node, h5py.Dataset) and not name.startswith("#refs#"):
            nodes.append(node)

    file.visititems(add)
    if not reverse:
        return [_describe(node) for node in nodes]
    return [
        _unpacked(path, _name(node), node.shape[::-1], node.dtype, partial(_reverse, node))
        for node in nodes
    ]


def _name(node: h5py.Dataset) -> str:
    return str(node.name).removeprefix("/")


def _describe(node: h5py.Dataset) -> FileArray:
    axes = tuple(dim.label or next(iter(dim.keys()), "").rpartition("/")[2] for dim in node.dims)
    shared = not node.attrs.get(SAMPLE_VARYING, True)
    units = node.attrs.get("units")
    told = units.decode() if isinstance(units, bytes) else units
    return FileArray(
        _name(node), node.shape, node.dtype, node.__getitem__,
        None if told is None else str(told), axes, shared,
    )  # fmt: skip


def _list_numbered(file: h5py.File, names: list[str]) -> list[FileArray]:
    """List the arrays of a file that has a group for each instance, as some of PDEBench do."""
    found: list[FileArray] = []

    def read(name: str, index: tuple[Any, ...]) -> NDArray[Any]:
        number, *rest = index
        return np.asarray(file[names[number]][name][tuple(rest)])

    def add(name: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset):
            shape = (len(names), *node.shape)
            found.append(FileArray(name, shape, node.dtype, partial(read, name)))

    file[names[0]].visititems(add)
    return found


def _reverse(node: h5py.Dataset, folder: str) -> NDArray[Any]:
    def read(rows: slice) -> NDArray[Any]:
        return np.asarray(node[..., rows]).T

    return _copy(node.shape[::-1], node.dtype, read, folder)


def _list_zarr(path: Path) -> list[FileArray]:
    with advised():
        import zarr

    root = zarr.open(path, mode="r")
    found = []
    for name, node in root.members(max_depth=None):
        if not isinstance(node, zarr.Array):
            continue
        attributes = node.attrs.asdict()
        axes = getattr(node.metadata, "dimension_names", None)
        axes = axes or attributes.get("_ARRAY_DIMENSIONS", ())
        shared = not attributes.get(SAMPLE_VARYING, True)
        units = attributes.get("units")
        found.append(
            FileArray(
                name, node.shape, node.dtype, node.__getitem__,
                None if units is None else str(units), tuple(axis or "" for axis in axes), shared,
            )
        )  # fmt: skip
    return found


def _unpacked(
    path: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    load: Callable[[str], NDArray[Any]],
) -> FileArray:
    """Return an array that is unpacked before its first row is read.

    Args:
        path: The file.
        name: Name of the array.
        shape: Its shape.
        dtype: Its type.
        load: Unpacks it into a folder, and returns it.
    """

    @cache
    def unpack() -> NDArray[Any]:
        # What is mapped stays until it is unmapped, though the folder is removed.
        with _readable(path), tempfile.TemporaryDirectory(prefix="kryloset-") as folder:
            return load(folder)

    return FileArray(name, shape, dtype, lambda index: np.asarray(unpack()[index]))


def _copy(
    shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[slice], NDArray[Any]], folder: str
) -> NDArray[Any]:
    """Return an array on the disk with the rows that `read` returns."""
    path = f"{folder}/rows.npy"
    values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if values.size:
        step = max(1, _BLOCK * len(values) // values.nbytes)
        for begin in range(0, len(values), step):
            values[begin : begin + step] = read(slice(begin, begin + step))
    return values
