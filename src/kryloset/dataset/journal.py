# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A journal of what a process has finished, from which another one resumes if it is killed.

A journal is an append-only file of records, each a head with a CRC-32 and named arrays. Encoded
rows are written only once, to a file beside the journal that in the end becomes that of all rows;
the record has their places and checksums. Each process has such a file of its own, since HDF5
cannot go on with one that a killed process left behind. What is read is always a prefix of what was
written: a torn or damaged record is cut off, with all that follow.
"""

import fcntl
import logging
import os
import re
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import batched, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from kryloset.dataset.atomic import put_whole, readable
from kryloset.dataset.checksum import CHECKED, fletcher32
from kryloset.dataset.encoding import Encoded
from kryloset.dataset.growing import GrowingFile
from kryloset.dataset.record import Placed, pack, unpack
from kryloset.dataset.staged import StagedWriter

logger = logging.getLogger(__name__)

#: Length of the payload, number of instances, and CRC-32 of these two and the payload.
_HEAD = struct.Struct("<QII")
#: What the CRC-32 begins with.
_COUNTS = struct.Struct("<QI")
_MAGIC = b"kryloset journal 5\n"


class Journal:
    """The journal in a folder, which one process holds at a time.

    Opening it waits until no other process holds it, cuts off a torn record and discards the
    records of other work. Each record is handed to the operating system, so that it outlives the
    process. It is not flushed to the disk, since checksums show what a power cut took.

    Args:
        folder: The folder of this journal alone, made if it is missing.
        fingerprint: Identifies the work: a digest of everything that the records depend on. A
            journal with another fingerprint is discarded.
        count: Number of instances in the end.

    Raises:
        DataError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, fingerprint: str, count: int) -> None:
        """Wait for the lock, then read the journal."""
        self.folder, self._count = folder, count
        self._handles: dict[int, int] = {}
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
        with readable(self.folder):
            placed = {
                name: self._place(name, values) if isinstance(values, Encoded) else values
                for name, values in arrays.items()
            }
            if any(isinstance(values, Placed) for values in placed.values()):
                self._growing.deliver()
            self._write(pack(placed), instances)

    def records(self) -> Iterator[dict[str, NDArray[Any] | Encoded]]:
        """Yield the records, in the order in which they were appended.

        The HDF5 chunks of encoded rows are read when they are asked for.
        """
        for record in self._stored():
            yield {
                name: self._find(values) if isinstance(values, Placed) else values
                for name, values in record.items()
            }

    @contextmanager
    def finish(self, path: Path) -> Iterator[StagedWriter]:
        """Give the file of all rows to write the rest to; it is at `path` if the body succeeds.

        Rows that earlier processes wrote are copied to it.

        Raises:
            DataError: The file cannot be written.
        """
        with readable(path):
            growing, first = self._growing, 0
            writer = StagedWriter(growing.file)
            for record, count in zip(self._stored(), self._instances[1:], strict=True):
                for name, values in record.items():
                    if isinstance(values, Placed):
                        if values.number != self._own:
                            growing.write(name, self._find(values), first)
                        writer.note_rows(name, values.digests)
                first += count
            growing.shorten(first)
            yield writer
            writer.seal()
            growing.close()
            put_whole(growing.path, path)

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
        if "_growing" in vars(self):
            with suppress(OSError):
                self._growing.close()
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
        self._file.close()
        self._lock.close()

    @cached_property
    def _own(self) -> int:
        """The number of this process's file of rows."""
        return 1 + max(self._rows_files(), default=-1)

    @cached_property
    def _growing(self) -> GrowingFile:
        """This process's file of rows, made when it is needed."""
        return GrowingFile(self._rows_file(self._own), self._count)

    def _rows_file(self, number: int) -> Path:
        return self.folder / f"rows-{number}.h5"

    def _rows_files(self) -> list[int]:
        """Return the numbers of the files of rows."""
        found = (re.fullmatch(r"rows-(\d+)\.h5", path.name) for path in self.folder.iterdir())
        return [int(match[1]) for match in found if match]

    def _stored(self) -> Iterator[dict[str, NDArray[Any] | Placed]]:
        """Yield the records as they are stored."""
        for begin, end in pairwise(self._ends):
            yield unpack(self._read(begin + _HEAD.size, end - begin - _HEAD.size))

    def _place(self, name: str, rows: Encoded) -> Placed:
        """Write rows to this process's file."""
        places, checksums = self._growing.write(name, rows, self.instances)
        return Placed(rows.storage, self._own, rows.digests, places, checksums)

    def _find(self, placed: Placed) -> Encoded:
        """Return rows that a process wrote.

        Raises:
            OSError: Its file is not there.
        """
        number = placed.number
        if number not in self._handles:
            self._handles[number] = os.open(self._rows_file(number), os.O_RDONLY)
        pieces = _Pieces(self._handles[number], placed.places.tolist())
        return Encoded(placed.storage, placed.digests, pieces)

    def _write(self, payload: bytes, instances: int) -> None:
        """Append a record."""
        head = _HEAD.pack(len(payload), instances, _checksum(payload, instances))
        rest = memoryview(head + payload)
        end = self._ends[-1] if self._ends else 0
        try:
            while rest:
                # An unbuffered file may take less than it is given.
                rest = rest[self._file.write(rest) :]
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
            self._write(header, 0)
        for number in set(self._rows_files()) - self._handles.keys():
            self._rows_file(number).unlink()

    def _whole(self, header: bytes, size: int) -> Iterator[tuple[int, int]]:
        """Yield ends and numbers of instances of header and records, up to a damaged one."""
        begin = 0
        while begin + _HEAD.size <= size:
            length, instances, checksum = _HEAD.unpack(self._read(begin, _HEAD.size))
            end = begin + _HEAD.size + length
            if end > size:
                return
            payload = self._read(begin + _HEAD.size, length)
            if _checksum(payload, instances) != checksum:
                return
            if begin == 0 and payload != header:
                return
            if begin and not all(map(self._is_whole, unpack(payload).values())):
                return
            yield end, instances
            begin = end

    def _is_whole(self, values: NDArray[Any] | Placed) -> bool:
        """Return whether rows are where a record says."""
        if not isinstance(values, Placed):
            return True
        try:
            pieces = self._find(values).pieces
        except OSError:
            return False
        told = batched(values.checksums, CHECKED)
        return all(
            piece[-CHECKED:] == bytes(checksum) == fletcher32(piece[:-CHECKED])
            for piece, checksum in zip(pieces, told, strict=True)
        )

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
            length, instances, _ = _HEAD.unpack(head)
            end = begin + _HEAD.size + length
            if end > size:
                break
            count, begin = count + instances, end
    return count, begin


class _Pieces(Iterable[memoryview]):
    """HDF5 chunks in a file, each read when it is asked for."""

    def __init__(self, handle: int, places: Sequence[tuple[int, int]]) -> None:
        self._handle, self._places = handle, places

    def __iter__(self) -> Iterator[memoryview]:
        for begin, length in self._places:
            yield memoryview(os.pread(self._handle, length, begin))


def _checksum(payload: bytes | memoryview, instances: int) -> int:
    """Return the CRC-32 of a record."""
    return zlib.crc32(payload, zlib.crc32(_COUNTS.pack(len(payload), instances)))


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
