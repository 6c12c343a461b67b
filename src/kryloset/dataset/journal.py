# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A journal of what a process has finished, from which another one resumes if it is killed.

A journal is an append-only file of records. A record is a head, a CRC-32 and a payload of named
arrays: their names, types and shapes in JSON, then their bytes, which takes a tenth of the time of
NumPy's zip files. At its end are the HDF5 chunks of encoded rows. Each ends with a checksum of its
own, so that the CRC-32 covers these checksums and not all of their bytes. The first record names
the work and holds no instance. A process that is killed with signal 9 leaves at most one torn
record at the end, which the next process cuts off. What is read is always a prefix of what was
written.
"""

import fcntl
import json
import logging
import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import readable
from kryloset.dataset.checksum import CHECKED, fletcher32
from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.integrity import DIGEST

logger = logging.getLogger(__name__)

#: Length of the payload, number of HDF5 chunks at its end, number of instances, and CRC-32 of these
#: three and the payload. The payload begins with the lengths of its HDF5 chunks.
_HEAD = struct.Struct("<QIII")
#: What the CRC-32 begins with.
_COUNTS = struct.Struct("<QII")
_LENGTH = struct.Struct("<Q")
_MAGIC = b"kryloset journal 4\n"
#: Most parts that the system takes at once.
_MOST_PARTS = os.sysconf("SC_IOV_MAX")


class Journal:
    """The journal in a folder, which one process holds at a time.

    Opening it waits until no other process holds it, cuts off a torn record and discards the
    records of other work. Each record is handed to the operating system, so that it outlives the
    process. It is not flushed to the disk, since checksums show what a power cut took.

    Args:
        folder: The folder of this journal alone, made if it is missing.
        fingerprint: Identifies the work: a digest of everything that the records depend on. A
            journal with another fingerprint is discarded.

    Raises:
        DataError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Wait for the lock, then read the journal."""
        self.folder = folder
        self._ends: list[int] = []
        self._instances: list[int] = []
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
        """Close the journal; the records stay."""
        self.close()

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._ends) - 1

    @property
    def instances(self) -> int:
        """Number of instances that the records hold."""
        return sum(self._instances)

    def append(self, arrays: Mapping[str, NDArray[Any] | Encoded], instances: int) -> None:
        """Add a record.

        Args:
            arrays: Arrays by name, which may be numbers or strings, but not objects; or encoded
                rows.
            instances: Number of instances that they hold.

        Raises:
            DataError: The disk is full. The records before are safe.
            ValueError: An array of objects.
        """
        parts, pieces = _pack(arrays)
        with readable(self.folder):
            self._write(parts, pieces, instances)

    def records(self) -> Iterator[dict[str, NDArray[Any] | Encoded]]:
        """Yield the records, in the order in which they were appended."""
        for begin, end in zip(self._ends, self._ends[1:], strict=False):
            _, pieces, *_ = _HEAD.unpack(self._read(begin, _HEAD.size))
            payload = self._read(begin + _HEAD.size, end - begin - _HEAD.size)
            (_, arrays), encoded = _split(payload, pieces)
            yield _unpack(arrays, encoded)

    def truncate(self, count: int) -> None:
        """Keep the first `count` records."""
        del self._ends[count + 1 :], self._instances[count + 1 :]
        self._file.truncate(self._ends[-1])

    def discard(self) -> None:
        """Remove the folder once the work is complete, and close the journal."""
        shutil.rmtree(self.folder)
        self.close()

    def close(self) -> None:
        """Release the journal for the next process."""
        self._file.close()
        self._lock.close()

    def _write(self, parts: Sequence[Any], pieces: Sequence[Any], instances: int) -> None:
        """Append a record: parts that its CRC-32 covers, and HDF5 chunks with own checksums."""
        parts = [np.array([len(piece) for piece in pieces], "<u8").tobytes(), *parts]
        counts = sum(map(len, (*parts, *pieces))), len(pieces), instances
        head = _HEAD.pack(*counts, _checksum(counts, parts, pieces))
        waiting = [memoryview(part) for part in (head, *parts, *pieces)]
        end = self._ends[-1] if self._ends else 0
        try:
            while waiting:
                # An unbuffered file may take less than it is given.
                taken = os.writev(self._file.fileno(), waiting[:_MOST_PARTS])
                done = 0
                while done < len(waiting) and taken >= len(waiting[done]):
                    taken -= len(waiting[done])
                    done += 1
                del waiting[:done]
                if taken:
                    waiting[0] = waiting[0][taken:]
        except BaseException:
            self._file.truncate(end)
            raise
        self._ends.append(os.fstat(self._file.fileno()).st_size)
        self._instances.append(instances)

    def _recover(self, header: bytes) -> None:
        """Find the complete records, and cut off what follows them."""
        size = os.fstat(self._file.fileno()).st_size
        for end, instances in self._whole(header, size):
            self._ends.append(end)
            self._instances.append(instances)
        end = self._ends[-1] if self._ends else 0
        if end < size:
            if end:
                logger.warning(
                    "%s: an incomplete record is cut off, %d are complete", self.folder, len(self)
                )
            else:
                logger.warning("%s is the journal of other work and is discarded", self.folder)
            self._file.truncate(end)
        if not self._ends:
            self._write([header], [], 0)

    def _whole(self, header: bytes, size: int) -> Iterator[tuple[int, int]]:
        """Yield ends and numbers of instances of header and records, up to a damaged one."""
        begin = 0
        while begin + _HEAD.size <= size:
            length, pieces, instances, checksum = _HEAD.unpack(self._read(begin, _HEAD.size))
            end = begin + _HEAD.size + length
            if end > size:
                return
            payload = self._read(begin + _HEAD.size, length)
            try:
                parts, encoded = _split(payload, pieces)
            except ValueError:
                return
            if _checksum((length, pieces, instances), parts, encoded) != checksum:
                return
            if any(fletcher32(piece[:-CHECKED]) != piece[-CHECKED:] for piece in encoded):
                return
            if begin == 0 and parts[1] != header:
                return
            yield end, instances
            begin = end

    def _read(self, begin: int, length: int) -> memoryview:
        return memoryview(os.pread(self._file.fileno(), length, begin))


def count_instances(path: Path, begin: int = 0) -> tuple[int, int]:
    """Count the instances of a journal from the heads of its records alone.

    Args:
        path: The file, which a process may be appending to.
        begin: Position to begin at: 0, or where an earlier call ended.

    Returns:
        The number of instances in complete records from there on, and where these end.

    Raises:
        OSError: The file is not there.
    """
    count = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while len(head := os.pread(file.fileno(), _HEAD.size, begin)) == _HEAD.size:
            length, _, instances, _ = _HEAD.unpack(head)
            end = begin + _HEAD.size + length
            if end > size:
                break
            count, begin = count + instances, end
    return count, begin


def _checksum(counts: tuple[int, ...], parts: Sequence[Any], pieces: Sequence[Any]) -> int:
    """Return the CRC-32 of a record: of all but what the checksums of HDF5 chunks cover."""
    checksum = zlib.crc32(_COUNTS.pack(*counts))
    for part in (*parts, *(piece[-CHECKED:] for piece in pieces)):
        checksum = zlib.crc32(part, checksum)
    return checksum


def _split(payload: memoryview, count: int) -> tuple[list[memoryview], list[memoryview]]:
    """Return the parts of a payload that `Journal._write` was given, after the lengths of pieces.

    Raises:
        ValueError: The lengths are damaged.
    """
    begin = 8 * count
    lengths = np.frombuffer(payload[:begin], "<u8").tolist()
    middle = len(payload) - sum(lengths)
    if middle < begin or min(lengths, default=CHECKED) < CHECKED:
        raise ValueError("the lengths of HDF5 chunks are not those of a record")
    ends = [middle, *(middle + end for end in accumulate(lengths))]
    return [payload[:begin], payload[begin:middle]], [payload[a:b] for a, b in pairwise(ends)]


def _pack(arrays: Mapping[str, NDArray[Any] | Encoded]) -> tuple[list[Any], list[Any]]:
    """Return named arrays as bytes, those of large arrays without a copy; and HDF5 chunks."""
    head: list[Any] = []
    parts: list[Any] = []
    pieces: list[Any] = []
    for name, values in arrays.items():
        if isinstance(values, Encoded):
            head.append((name, *astuple(values.storage), len(values), len(values.pieces)))
            parts.append(values.digests)
            pieces += values.pieces
            continue
        array = np.ascontiguousarray(values)
        if array.dtype.hasobject:
            raise ValueError(f"{name} is an array of objects, which a journal does not hold")
        head.append((name, array.dtype.str, np.shape(values)))
        parts.append(array.reshape(-1).view(np.uint8).data)
    text = json.dumps(head).encode()
    return [_LENGTH.pack(len(text)) + text, *parts], pieces


def _unpack(data: memoryview, pieces: Sequence[memoryview]) -> dict[str, NDArray[Any] | Encoded]:
    """Return the arrays that `_pack` was given; they share the payload and are read-only."""
    (length,) = _LENGTH.unpack_from(data)
    begin, used = _LENGTH.size + length, 0
    arrays: dict[str, NDArray[Any] | Encoded] = {}
    for name, kind, shape, *encoded in json.loads(bytes(data[_LENGTH.size : begin])):
        if encoded:
            chunk, compressed, rows, count = encoded
            storage = Storage(kind, tuple(shape), tuple(chunk), compressed)
            digests = bytes(data[begin : begin + rows * DIGEST])
            arrays[name] = Encoded(storage, digests, pieces[used : used + count])
            begin, used = begin + rows * DIGEST, used + count
            continue
        dtype, size = np.dtype(kind), math.prod(shape)
        arrays[name] = np.frombuffer(data, dtype, size, begin).reshape(shape)
        begin += size * dtype.itemsize
    return arrays


def _lock(folder: Path) -> int:
    """Return a file handle that locks the folder until it is closed, or the process ends."""
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
        # The other process discarded the folder in the meantime, and the locked file with it.
        os.close(handle)


def _wait(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning(
            "%s is in use by another process, perhaps one that a killed run left behind; "
            "waiting until it has finished",
            folder,
        )
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        # Lustre and NFS may be mounted without locks. Snakemake's own lock is still there.
        logger.warning("%s: the file system has no locks (%s); going on", folder, error.strerror)
