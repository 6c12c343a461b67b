# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A journal: what a killed process has finished, to go on from there.

An append-only file of records. Each is its length, a CRC-32 and a payload of
named arrays (their names, types and shapes in JSON, then their bytes, which takes a tenth of
the time of NumPy's zip files); the first names the work. A process killed with -9 leaves at worst
one torn record at the end, which the next one cuts off: what is read is always
a prefix of what was written.
"""

import fcntl
import json
import logging
import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import readable

logger = logging.getLogger(__name__)

#: Length of the payload, and CRC-32 of that length and the payload.
_HEAD = struct.Struct("<QI")
_LENGTH = struct.Struct("<Q")
_MAGIC = b"kryloset journal 2\n"


class Journal:
    """The journal in a folder, held by one process at a time.

    Opening it waits until no other process holds it, cuts off a torn tail and
    discards records of other work. Records are handed to the operating system
    one by one, so that they outlive the process; they are not forced to the
    disk one by one, for the checksums tell what a power cut took.

    Args:
        folder: The journal's own folder, made if missing.
        fingerprint: Names the work: all that the records depend on. A journal
            with another fingerprint is discarded.

    Raises:
        DataError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Wait for the lock, then read the journal."""
        self.folder = folder
        self._ends: list[int] = []
        with readable(folder):
            self._lock = os.fdopen(_lock(folder), "rb")
            self._file = (folder / "journal").open("a+b", buffering=0)
            self._recover(_MAGIC + fingerprint.encode())

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; the records stay."""
        self.close()

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._ends) - 1

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add a record.

        Args:
            arrays: Arrays by name; numbers and strings are arrays too, objects are not.

        Raises:
            DataError: The disk is full. The records before are safe.
            ValueError: An array of objects.
        """
        payload = _pack({name: np.asarray(values) for name, values in arrays.items()})
        with readable(self.folder):
            self._write(payload)

    def records(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the records, in the order in which they were appended."""
        for begin, end in zip(self._ends, self._ends[1:], strict=False):
            payload = os.pread(self._file.fileno(), end - begin - _HEAD.size, begin + _HEAD.size)
            yield _unpack(payload)

    def truncate(self, count: int) -> None:
        """Keep the first `count` records."""
        del self._ends[count + 1 :]
        self._file.truncate(self._ends[-1])

    def discard(self) -> None:
        """Remove the folder, when what it was for is in place; then close."""
        shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        """Let the next process have it."""
        self._file.close()
        self._lock.close()

    def _write(self, payload: bytes) -> None:
        length = _LENGTH.pack(len(payload))
        head = _HEAD.pack(len(payload), zlib.crc32(payload, zlib.crc32(length)))
        record = memoryview(head + payload)
        end = self._ends[-1] if self._ends else 0
        try:
            # An unbuffered file may take less than it is given.
            while record:
                record = record[self._file.write(record) :]
        except BaseException:
            self._file.truncate(end)
            raise
        self._ends.append(os.fstat(self._file.fileno()).st_size)

    def _recover(self, header: bytes) -> None:
        """Find the records that are whole, and cut off what follows them."""
        size = os.fstat(self._file.fileno()).st_size
        self._ends = list(self._whole(header, size))
        end = self._ends[-1] if self._ends else 0
        if end < size:
            if end:
                logger.warning("%s: a torn record is cut off, %d are whole", self.folder, len(self))
            else:
                logger.warning("%s is the journal of other work, and is discarded", self.folder)
            self._file.truncate(end)
        if not self._ends:
            self._write(header)

    def _whole(self, header: bytes, size: int) -> Iterator[int]:
        """Yield the end of the header and of each record, as far as all are whole."""
        handle, begin = self._file.fileno(), 0
        while begin + _HEAD.size <= size:
            length, checksum = _HEAD.unpack(os.pread(handle, _HEAD.size, begin))
            end = begin + _HEAD.size + length
            if end > size:
                return
            payload = os.pread(handle, length, begin + _HEAD.size)
            if zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) != checksum:
                return
            if begin == 0 and payload != header:
                return
            yield end
            begin = end


def count_records(path: Path, begin: int = 0) -> tuple[int, int]:
    """Count the records of a journal from their lengths alone, the one that names the work too.

    Args:
        path: The file, which a process may be appending to.
        begin: Where to begin: 0, or where an earlier call ended.

    Returns:
        Number of records from there on, and where they end.

    Raises:
        OSError: The file is not there.
    """
    count = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while len(head := os.pread(file.fileno(), _HEAD.size, begin)) == _HEAD.size:
            end = begin + _HEAD.size + _HEAD.unpack(head)[0]
            if end > size:
                break
            count, begin = count + 1, end
    return count, begin


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return named arrays as bytes."""
    for name, values in arrays.items():
        if values.dtype.hasobject:
            raise ValueError(f"{name} is an array of objects, which a journal does not hold")
    head = [(name, values.dtype.str, values.shape) for name, values in arrays.items()]
    text = json.dumps(head).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(v.tobytes() for v in arrays.values())])


def _unpack(payload: bytes) -> dict[str, NDArray[Any]]:
    """Return what `_pack` was given; the arrays share the payload, and cannot be written to."""
    (length,) = _LENGTH.unpack_from(payload)
    begin = _LENGTH.size + length
    arrays = {}
    for name, kind, shape in json.loads(payload[_LENGTH.size : begin]):
        dtype, size = np.dtype(kind), math.prod(shape)
        arrays[name] = np.frombuffer(payload, dtype, size, begin).reshape(shape)
        begin += size * dtype.itemsize
    return arrays


def _lock(folder: Path) -> int:
    """Return a handle that holds the folder until it is closed, at the latest by death."""
    path = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # discarded in between
            continue
        try:
            _wait(handle, folder)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        # The holder discarded the folder while we waited: what we locked is gone.
        os.close(handle)


def _wait(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning(
            "%s is held by another process, perhaps one that a killed run left behind; "
            "waiting until it has finished",
            folder,
        )
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        # Lustre and NFS may be mounted without locks. Snakemake's own lock remains.
        logger.warning("%s: the file system has no locks (%s); going on", folder, error.strerror)
