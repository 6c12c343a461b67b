# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that one stage hands to the next, with digests that are verified when they are read.

An array with several numbers for each instance has a digest for each row, as in a dataset. A job
that needs only some instances verifies only their rows. All attributes have one digest together.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.dataset.checksum import CHECKED, fletcher32
from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.integrity import (
    SEALS,
    STRUCTURE,
    TABLES,
    Digests,
    differing,
    digest_row,
    digest_rows,
    digest_structure,
    fixed_text,
    read_seals,
    table_path,
)
from kryloset.dataset.layout import CHECKSUM, LIBVER
from kryloset.dataset.ragged import append_rows, offsets_path
from kryloset.dataset.structure import read_structure
from kryloset.errors import DataError

#: Entries of an HDF5 chunk of an array that is written as a whole.
_CHUNK = 2**16


class StagedWriter:
    """A file for the next stage that is being written; `create_staged` makes it."""

    def __init__(self, file: h5py.File) -> None:
        """Begin an empty file."""
        self._file = file
        self._digests = Digests()
        self._numbers: dict[str, list[NDArray[Any]]] = {}

    def describe(self, attributes: Mapping[str, str | float]) -> None:
        """Write attributes of the file: texts, which are not empty, and numbers."""
        for name, value in attributes.items():
            self._file.attrs[name] = fixed_text(value) if isinstance(value, str) else value

    def array(self, path: str, values: NDArray[Any]) -> None:
        """Write a whole array."""
        self._create(path, values)
        self._digests.add(path, values)

    def _create(self, path: str, values: NDArray[Any]) -> None:
        options: dict[str, Any] = {}
        if values.size:
            rows = max(1, min(len(values), _CHUNK // values[0].size))
            options = {"chunks": (rows, *values.shape[1:]), **CHECKSUM}
        self._file.create_dataset(path, data=values, **options)

    def text(self, path: str, text: str) -> None:
        """Write a text."""
        self._file.create_dataset(path, data=fixed_text(text))
        self._digests.add(path, text.encode())

    def numbers(self, path: str, values: NDArray[Any]) -> None:
        """Write the next numbers of an array with one for each instance."""
        # Copied: a view of a journal's record would keep all of it in memory.
        self._numbers.setdefault(path, []).append(values.copy())

    def note_rows(self, path: str, digests: bytes) -> None:
        """Note the digests of the next rows of an array, which are in the file already."""
        self._digests.add_rows(path, digests)

    def ragged_row(self, path: str, values: NDArray[Any]) -> None:
        """Write the rows of the next instance of a ragged array."""
        self._digests.add_rows(path, digest_row(values))
        self._digests.add(offsets_path(path), append_rows(self._file, path, values, **CHECKSUM))

    def seal(self) -> None:
        """Write the scalars and all digests, once everything else is in the file."""
        for path, column in self._numbers.items():
            self.array(path, np.concatenate(column))
        for path, table in self._digests.tables().items():
            self._create(table_path(path), table)
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
        whole_seal: The digest of everything in it.

    Raises:
        DataError: The file is missing or damaged, or it has no digests.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its digests."""
        self.path = path
        try:
            self._file = h5py.File(path, "r")
            self._bytes = path.open("rb", buffering=0)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}; make it again") from None
        self._whole: dict[str, NDArray[Any]] = {}
        self._arrays: dict[str, h5py.Dataset] = {}
        self._stored: dict[str, tuple[Storage, NDArray[np.int64]]] = {}
        try:
            self._read_seals()
        except BaseException:
            self._close()
            raise

    def _read_seals(self) -> None:
        # HDF5 and h5py raise errors of a dozen types about damage.
        try:
            structure = read_structure(self._file)
            arrays = [path for path, node in structure.items() if "shape" in node]
            self.attrs = {
                name: value.decode() if isinstance(value, bytes) else value
                for name, value in self._file.attrs.items()
            }
            self._seals = read_seals(self._file) if SEALS in arrays else {}
            self._tabled = {path for path in self._seals if table_path(path) in structure}
        except Exception as error:
            raise DataError(f"{self.path} is damaged: {error}; make it again") from None
        if not self._seals:
            named = ", ".join(arrays[:3]) + (", ..." if len(arrays) > 3 else "")
            raise DataError(
                f"{self.path} has no digests, so nothing in it ({named or 'it is empty'}) can be "
                "trusted: no stage of this version wrote it; make it again"
            )
        self.whole_seal = self._seals.pop(STRUCTURE, "")
        if self.whole_seal != digest_structure(structure, self._seals):
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
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._bytes.close()

    def __contains__(self, path: str) -> bool:
        """Return whether the file has an array or a text of that path."""
        return path in self._seals

    def names(self, group: str) -> list[str]:
        """Return the names of the arrays and groups in a group, in ascending order."""
        before = f"{group}/"
        inside = {path.removeprefix(before) for path in self._seals if path.startswith(before)}
        return sorted({path.partition("/")[0] for path in inside})

    def length(self, path: str) -> int:
        """Return the number of rows of an array, or of instances of a ragged array."""
        return len(self.table(path) if path in self._tabled else self.array(path))

    def seal(self, path: str) -> str:
        """Return the digest of an array, or of the digests of its rows."""
        return self._seals[path]

    def array(self, path: str) -> NDArray[Any]:
        """Return an array, which is kept in memory.

        Raises:
            DataError: It is missing, damaged or changed.
        """
        if path not in self._whole:
            values = self._read(path, ())
            self._compare(path, values, path)
            self._whole[path] = values
        return self._whole[path]

    def table(self, path: str) -> NDArray[np.uint8]:
        """Return the digests of the rows of an array, shape (rows, `integrity.DIGEST`).

        Raises:
            DataError: They are missing, damaged or changed.
        """
        table = table_path(path)
        if table not in self._whole:
            values = self._read(table, ())
            self._compare(table, values, path)
            self._whole[table] = values
        return self._whole[table]

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
        self._compare(path, text, path)
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
        if path in self and path not in self._tabled:
            return self.array(path)[begin:end]
        if offsets_path(path) in self:
            first, last = self.array(offsets_path(path))[[begin, end]].tolist()
            values: NDArray[Any] = self._read(path, slice(first, last))[np.newaxis]
        else:
            # HDF5's own reading takes three times as long.
            values = np.stack([self._decoded(path, number) for number in range(begin, end)])
        wrong = differing(digest_rows(values), self.table(path)[begin:end].tobytes())
        if wrong:
            raise DataError(
                f"{self.path} is damaged: row {begin + wrong[0]} of {path} was changed, since its "
                "digest differs; make the file again"
            )
        return values

    def _decoded(self, path: str, number: int) -> NDArray[Any]:
        """Return a row from its HDF5 chunks, before its digest is compared."""
        encoded = self.encoded(path, number)
        try:
            return encoded.decode()[0]
        except (TypeError, ValueError, zlib.error) as error:
            raise DataError(
                f"{self.path} is damaged: row {number} of {path} cannot be read: {error}; make "
                "the file again"
            ) from None

    def row_digest(self, path: str, number: int) -> bytes:
        """Return the digest of a row, or that of an instance's number."""
        if path in self._tabled:
            return bytes(self.table(path)[number])
        return digest_row(self.row(path, number))

    def encoded(self, path: str, number: int) -> Encoded:
        """Return one row as it is stored, after comparing its checksums, and not its digest.

        Raises:
            DataError: It is missing or damaged.
        """
        storage, places = self._locate(path)
        handle = self._bytes.fileno()
        pieces = [memoryview(os.pread(handle, size, at)) for at, size in places[number].tolist()]
        for piece in pieces:
            if fletcher32(piece[:-CHECKED]) != piece[-CHECKED:]:
                raise DataError(
                    f"{self.path} is damaged: row {number} of {path} was changed, since its "
                    "checksum differs; make the file again"
                )
        return Encoded(storage, self.table(path)[number].tobytes(), pieces)

    def checksums(self) -> str:
        """Return the digest of the checksums of all rows that `encoded` returns.

        It tells whether a row was written again since, without reading the rows.

        Raises:
            DataError: An array is damaged.
        """
        digest = hashlib.sha256()
        for path in sorted(path for path in self._tabled if offsets_path(path) not in self):
            _, places = self._locate(path)
            for end in places.sum(axis=-1).ravel().tolist():
                digest.update(os.pread(self._bytes.fileno(), CHECKED, end - CHECKED))
        return digest.hexdigest()

    def _locate(self, path: str) -> tuple[Storage, NDArray[np.int64]]:
        """Return how rows are stored, and where: (rows, HDF5 chunks, 2), positions and lengths."""
        if path in self._stored:
            return self._stored[path]
        count, found = self.length(path), []
        try:
            array = self._file[path]
            storage = Storage.stored(array)
            array.id.chunk_iter(lambda piece: found.append((piece.byte_offset, piece.size)))
            places = np.array(found, np.int64).reshape(count, len(storage.corners()), 2)
        except Exception as error:
            raise DataError(
                f"{self.path} is damaged: {path} cannot be read: {error}; make the file again"
            ) from None
        self._stored[path] = storage, places
        return storage, places

    def _read(self, path: str, selection: Any) -> NDArray[Any]:
        if path.removeprefix(f"{TABLES}/") not in self:
            raise DataError(f"{self.path} has no {path}: it is not a file of that stage")
        try:
            if path not in self._arrays:
                self._arrays[path] = self._file[path]
            return np.asarray(self._arrays[path][selection])
        except Exception as error:
            raise DataError(
                f"{self.path} is damaged: {path} cannot be read: {error}; make the file again"
            ) from None

    def _compare(self, path: str, values: NDArray[Any] | bytes, sealed: str) -> None:
        """Compare an array, a text or a table with the digest that the array `sealed` has."""
        digests = Digests()
        digests.add(path, values)
        if digests.finished()[path] != self._seals[sealed]:
            raise DataError(
                f"{self.path} is damaged: {path} was changed, since its digest differs; make the "
                "file again"
            )
