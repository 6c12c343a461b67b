# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that one stage hands to the next, with digests that are verified when they are read.

An array with a row for each instance has a digest for each row, in a table under `/digests`. A job
that needs only some instances verifies only their rows. Each table and each other array has one
digest, and all attributes have one together, as in a dataset.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.dataset.integrity import SEALS, STRUCTURE, Digests, digest_structure, read_seals
from kryloset.dataset.layout import CHECKSUM, LIBVER
from kryloset.dataset.ragged import append_rows, offsets_path
from kryloset.dataset.structure import read_structure
from kryloset.errors import DataError

#: The group of the tables of digests.
TABLES = "digests"
#: Entries of an HDF5 chunk of an array that is written as a whole.
_CHUNK = 2**16


class Rows:
    """Digests of arrays that are written some rows at a time."""

    def __init__(self) -> None:
        """Begin without rows."""
        self._tables: dict[str, list[bytes]] = {}
        self._numbers: dict[str, list[NDArray[Any]]] = {}

    def add(self, path: str, rows: NDArray[Any]) -> int:
        """Add the next rows of an array; return the index of the first that is not a scalar.

        Scalars are sealed together, and their index is 0.
        """
        if rows.ndim == 1:
            self._numbers.setdefault(path, []).append(rows)
            return 0
        table = self._tables.setdefault(path, [])
        table.extend(map(_digest, rows))
        return len(table) - len(rows)

    def tables(self) -> dict[str, NDArray[np.uint8]]:
        """Return the digests of the rows, (rows, 32), by the paths of the tables."""
        return {
            table_path(path): np.frombuffer(b"".join(table), np.uint8).reshape(len(table), -1)
            for path, table in self._tables.items()
        }

    def numbers(self) -> dict[str, NDArray[Any]]:
        """Return the arrays with one scalar a row, by their paths."""
        return {path: np.concatenate(column) for path, column in self._numbers.items()}


def table_path(path: str) -> str:
    """Return the path of the table with the digests of an array's rows."""
    return f"{TABLES}/{path}"


def digest_instances(group: str, instances: Iterable[Mapping[str, NDArray[Any]]]) -> str:
    """Return what `StagedFile.digest` returns for a group with these instances."""
    rows, digests = Rows(), Digests()
    for instance in instances:
        for name, values in instance.items():
            rows.add(f"{group}/{name}", np.asarray(values)[np.newaxis])
    for path, values in (rows.tables() | rows.numbers()).items():
        digests.add(path, values)
    return _join(digests.finished())


class StagedWriter:
    """A file for the next stage that is being written; `create_staged` makes it."""

    def __init__(self, file: h5py.File) -> None:
        """Begin an empty file."""
        self._file = file
        self._digests = Digests()
        self._rows = Rows()
        # Finding an array by its name takes HDF5 as long as writing a field.
        self._arrays: dict[str, h5py.Dataset] = {}

    @property
    def attrs(self) -> h5py.AttributeManager:
        """Attributes of the file."""
        return self._file.attrs

    def array(self, path: str, values: NDArray[Any]) -> None:
        """Write a whole array."""
        options: dict[str, Any] = {}
        if values.size:
            rows = max(1, min(len(values), _CHUNK // values[0].size))
            options = {"chunks": (rows, *values.shape[1:]), **CHECKSUM}
        self._file.create_dataset(path, data=values, **options)
        self._digests.add(path, values)

    def text(self, path: str, text: str) -> None:
        """Write a text."""
        self._file.create_dataset(path, data=text, dtype=h5py.string_dtype())
        self._digests.add(path, text.encode())

    def rows(self, path: str, rows: NDArray[Any], count: int) -> None:
        """Write the next rows of an array of `count` rows, which all have the same shape."""
        first = self._rows.add(path, rows)
        if rows.ndim == 1:
            return
        if path not in self._arrays:
            shape = rows.shape[1:]
            self._arrays[path] = self._file.create_dataset(
                path, (count, *shape), rows.dtype, chunks=(1, *shape), **CHECKSUM
            )
        self._arrays[path][first : first + len(rows)] = rows

    def ragged_row(self, path: str, values: NDArray[Any]) -> None:
        """Write the rows of the next instance of a ragged array."""
        self._rows.add(path, values[np.newaxis])
        self._digests.add(offsets_path(path), append_rows(self._file, path, values, **CHECKSUM))

    def seal(self) -> None:
        """Write the scalars and all digests, once everything else is in the file."""
        for path, values in (self._rows.numbers() | self._rows.tables()).items():
            self.array(path, values)
        self._digests.seal(self._file)


@contextmanager
def create_staged(path: Path) -> Iterator[StagedWriter]:
    """Create a file for the next stage atomically.

    Raises:
        DataError: The file cannot be written: no permission, no space.
    """
    with write_whole(path) as part, create_hdf5(part, libver=LIBVER) as file:
        writer = StagedWriter(file)
        yield writer
        writer.seal()


class StagedFile:
    """A file of an earlier stage; use it in a `with` statement.

    Everything that is read is compared with its digest.

    Args:
        path: The file.

    Attributes:
        path: The file.
        attrs: Its attributes.

    Raises:
        DataError: The file is missing or damaged, or it has no digests.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its digests."""
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}; make it again") from None
        self._whole: dict[str, NDArray[Any]] = {}
        self._arrays: dict[str, h5py.Dataset] = {}
        try:
            self._read_seals()
        except BaseException:
            self._file.close()
            raise

    def _read_seals(self) -> None:
        # HDF5 and h5py raise errors of a dozen types about damage.
        try:
            structure = read_structure(self._file)
            arrays = [path for path, node in structure.items() if "shape" in node]
            self.attrs = dict(self._file.attrs)
            self._seals = read_seals(self._file) if SEALS in arrays else {}
        except Exception as error:
            raise DataError(f"{self.path} is damaged: {error}; make it again") from None
        if not self._seals:
            named = ", ".join(arrays[:3]) + (", ..." if len(arrays) > 3 else "")
            raise DataError(
                f"{self.path} has no digests, so nothing in it ({named or 'it is empty'}) can be "
                "trusted: no stage of this version wrote it; make it again"
            )
        if self._seals.pop(STRUCTURE, None) != digest_structure(structure, self._seals):
            raise DataError(
                f"{self.path} is damaged: a shape, a type or an attribute was changed; make it "
                "again"
            )

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def __contains__(self, path: str) -> bool:
        """Return whether the file has an array or a text of that path."""
        return path in self._seals or table_path(path) in self._seals

    def names(self, group: str) -> list[str]:
        """Return the names of the arrays and groups in a group, in ascending order."""
        before = f"{group}/"
        paths = [path.removeprefix(f"{TABLES}/") for path in self._seals]
        inside = {path.removeprefix(before) for path in paths if path.startswith(before)}
        return sorted({path.partition("/")[0] for path in inside})

    def length(self, path: str) -> int:
        """Return the number of rows of an array, or of instances of a ragged array."""
        return len(self.array(path if path in self._seals else table_path(path)))

    def digest(self, group: str) -> str:
        """Return the digest of all arrays of a group."""
        inside = (f"{group}/", f"{table_path(group)}/")
        return _join({path: seal for path, seal in self._seals.items() if path.startswith(inside)})

    def array(self, path: str) -> NDArray[Any]:
        """Return an array, which is kept in memory.

        Raises:
            DataError: It is missing, damaged or changed.
        """
        if path not in self._whole:
            values = self._read(path, ())
            self._compare(path, values)
            self._whole[path] = values
        return self._whole[path]

    def arrays(self, group: str) -> dict[str, NDArray[Any]]:
        """Return all arrays of a group by name, which are kept in memory.

        Raises:
            DataError: One is damaged or changed.
        """
        return {name: self.array(f"{group}/{name}") for name in self.names(group)}

    def text(self, path: str) -> str:
        """Return a text.

        Raises:
            DataError: It is missing, damaged or changed.
        """
        text = self._read(path, ()).item()
        self._compare(path, text)
        return str(text.decode())

    def row(self, path: str, number: int) -> NDArray[Any]:
        """Return a row of an array, or the rows of an instance of a ragged array.

        Raises:
            DataError: It is missing, damaged or changed.
        """
        row: NDArray[Any] = self.rows(path, number, number + 1)[0]
        return row

    def rows(self, path: str, begin: int, end: int) -> NDArray[Any]:
        """Return several rows of an array; of a ragged array those of one instance, shape (1, ...).

        Raises:
            DataError: One is missing, damaged or changed.
        """
        if path in self._seals:
            return self.array(path)[begin:end]
        if offsets_path(path) in self._seals:
            first, last = self.array(offsets_path(path))[[begin, end]].tolist()
            values: NDArray[Any] = self._read(path, slice(first, last))[np.newaxis]
        else:
            values = self._read(path, slice(begin, end))
        if len(values) != (1 if offsets_path(path) in self._seals else end - begin):
            raise DataError(f"{self.path} is damaged: {path} lacks rows; make the file again")
        for number, row in enumerate(values, begin):
            if _digest(row) != self.row_seal(path, number):
                raise DataError(
                    f"{self.path} is damaged: row {number} of {path} was changed, since its "
                    "digest differs; make the file again"
                )
        return values

    def row_seal(self, path: str, number: int) -> bytes:
        """Return what identifies a row: its digest, or the bytes of a scalar."""
        source = path if path in self._seals else table_path(path)
        return bytes(self.array(source)[number].tobytes())

    def _read(self, path: str, selection: Any) -> NDArray[Any]:
        if path not in self:
            raise DataError(f"{self.path} has no {path}: it is not a file of that stage")
        try:
            if path not in self._arrays:
                self._arrays[path] = self._file[path]
            return np.asarray(self._arrays[path][selection])
        except Exception as error:
            raise DataError(
                f"{self.path} is damaged: {path} cannot be read: {error}; make the file again"
            ) from None

    def _compare(self, path: str, values: NDArray[Any] | bytes) -> None:
        digests = Digests()
        digests.add(path, values)
        if digests.finished()[path] != self._seals[path]:
            raise DataError(
                f"{self.path} is damaged: {path} was changed, since its digest differs; make the "
                "file again"
            )


def _digest(values: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values)).digest()


def _join(seals: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(sorted(seals.items()))).encode()).hexdigest()
