# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Open HDF5 files of unknown origin, with errors for people."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py

from kryloset.dataset.guard import in_child, progress
from kryloset.dataset.structure import nodes, read_structure
from kryloset.errors import DataError, KrylosetError

#: Versions of files that a child process has read.
_readable: set[tuple[int, ...]] = set()


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        DataError: The file is missing, or HDF5 cannot open it.
    """
    _require_there(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is not an HDF5 file, or damaged: {error}") from None


def require_readable(path: Path) -> None:
    """Read the structure and the texts of a file in a child process, once for each version of it.

    Raises:
        DataError: The file is missing or damaged, or claims more than it has.
    """
    _require_there(path)
    if _version(path) not in _readable:
        read_whole(path, partial(_read, path))


def read_whole[T](path: Path, work: Callable[[h5py.File], T]) -> T:
    """Do work that reads the structure and all texts of a file, in a child process.

    `require_readable` then knows the file, as long as it stays as it is.

    Args:
        path: The file.
        work: The work; as that of `in_child`.

    Raises:
        KrylosetError: Raised by the work.
        DataError: The file is missing, or as `in_child`.
    """
    _require_there(path)
    version = _version(path)

    def open_and_work() -> T:
        with open_hdf5(path) as file:
            return work(file)

    found = in_child(path, open_and_work)
    _readable.add(version)
    return found


def _require_there(path: Path) -> None:
    if not os.path.isfile(path):  # True or False for any path; `Path.is_file` may raise.
        raise DataError(f"there is no file {path}; `make run` makes results/<name>/dataset.h5")


def _version(path: Path) -> tuple[int, ...]:
    state = path.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _read(path: Path, file: h5py.File) -> None:
    try:
        read_structure(file)
        _read_texts(file)
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}") from None


def _read_texts(file: h5py.File) -> None:
    """Read every text, since HDF5 may loop forever in the heaps that hold texts."""
    for _, node in nodes(file):
        if isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype):
            progress()
            node[()]


def require_rows(path: Path, file: h5py.File, arrays: Iterable[str], count: int) -> None:
    """Make sure that arrays have a row for each instance, before their rows are gone through.

    Args:
        path: The file, for messages.
        file: The same, open.
        arrays: Paths of arrays, which are not ragged.
        count: Number of the instances.

    Raises:
        DataError: One is missing or has another length.
    """
    with describable(path):
        lengths = {array: len(file[array]) for array in arrays}
    wrong = [f"{length} of {array}" for array, length in lengths.items() if length != count]
    if wrong:
        raise DataError(f"{path} is damaged: for {count} instances it has {', '.join(wrong)}")


@contextmanager
def describable(path: Path) -> Iterator[None]:
    """Turn errors about missing or unexpected parts of a dataset file into one for people.

    Raises:
        DataError: A part is missing or of another kind.
    """
    try:
        yield
    except KrylosetError:
        raise
    except Exception as error:  # HDF5 and h5py raise a dozen types.
        raise DataError(
            f"{path} is not a dataset as Kryloset writes it, or damaged: "
            f"{type(error).__name__}: {error}"
        ) from None
