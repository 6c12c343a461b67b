# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write files atomically: a file has its final name only once it is complete.

It is written under a temporary name in the same folder, flushed to the disk and renamed. POSIX
makes the rename atomic. Whoever opens the final name sees either the old file or the new one,
whatever is killed in between.
"""

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from kryloset.errors import DataError

#: What the user can do, by error number.
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows",
    errno.EACCES: "no permission to write there: change it, or choose another folder",
    errno.EPERM: "no permission to write there: change it, or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "its folder cannot be made, or was removed: choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another folder",
    errno.EEXIST: "a part of the path is a file, not a folder: choose another folder",
    errno.EISDIR: "there is a folder of that name: remove it, or choose another name",
}

#: Bytes that wait to be written together.
_JOINED = 2**20


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the system's errors about writing `path` into errors for people.

    Raises:
        DataError: The disk is full, or there is no permission to write.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        about = error.filename
        if advice is None or (about is not None and not _is_near(Path(about), path)):
            raise
        named = path if about is None or path not in Path(about).parents else Path(about)
        raise DataError(f"{named} cannot be written: {advice}") from error


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` if the body succeeds.

    The folder is made if it is missing. If the body raises, the temporary file is removed and an
    older file at `path` stays as it was.

    Args:
        path: Final name of the file.

    Yields:
        `path` with `.part` appended, in the same folder.

    Raises:
        DataError: The file cannot be written: no permission, no space.
    """
    with readable(path):
        # First, so that missing permissions are found before the work.
        part = _begin(path)
        try:
            yield part
            put_whole(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def require_writable(*paths: Path) -> None:
    """Make sure that files can be written, before work whose results they will hold.

    Raises:
        DataError: One cannot: no permission, no space, or a folder has its name.
    """
    for path in paths:
        with readable(path):
            _begin(path).unlink()


def _begin(path: Path) -> Path:
    """Return the temporary name of a file, where there is an empty one."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    part.touch()
    return part


def put_whole(part: Path, path: Path) -> None:
    """Flush a complete file to the disk and rename it.

    Args:
        part: The file, closed, on the disk of `path`.
        path: Its final name.

    Raises:
        OSError: The disk is full, or there is no permission to write.
    """
    _to_disk(part)
    os.replace(part, path)
    _to_disk(path.parent)


@contextmanager
def write_folder_whole(path: Path) -> Iterator[Path]:
    """Give a temporary folder to write to, which becomes `path` if the body succeeds.

    If the body raises, the temporary folder is removed.

    Args:
        path: Final name of the folder, where nothing is yet.

    Yields:
        `path` with `.part` appended, an empty folder. What a killed process left there is removed.

    Raises:
        DataError: The folder cannot be written: no permission, no space.
    """
    part = _part(path)
    with readable(path):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            for folder, _, names in os.walk(part):
                for name in (*names, "."):
                    _to_disk(Path(folder, name))
            os.rename(part, path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        _to_disk(path.parent)


def write_text_whole(path: Path, text: str) -> None:
    """Write a text file atomically, as `write_whole` does."""
    with write_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def link_whole(source: Path, path: Path) -> None:
    """Give a complete file a second name, or copy it where the file system has no links.

    Raises:
        DataError: It cannot be written.
    """
    with write_whole(path) as part:
        part.unlink()
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)


@contextmanager
def create_hdf5(path: Path, **options: Any) -> Iterator[h5py.File]:
    """Create an HDF5 file such that a full disk raises an error.

    HDF5 itself does not handle a full disk: data that it cannot write when an array is closed are
    dropped without an error, and later it may abort the process. Therefore it is given a file
    that never fails, and the first failure is raised at the end.

    Args:
        path: File to write; see `write_whole` for how to do so atomically.
        options: Options of `h5py.File`.

    Raises:
        OSError: The file could not be written.
    """
    with Sink(path, "w+b") as sink:
        try:
            with h5py.File(sink, "w", **options) as file:
                yield file
        finally:
            sink.deliver()


class Sink(io.FileIO):
    """A file for HDF5 that stores its first write error instead of raising it: see `create_hdf5`.

    Neighbouring writes are joined, since the system takes a megabyte in half the time of 32 parts.
    """

    failure: OSError | None = None
    #: Where the first write of each length was since this was cleared.
    places: dict[int, int]

    def __init__(self, path: Path, mode: str) -> None:
        """Open the file."""
        super().__init__(path, mode)
        self._waiting = memoryview(bytearray(_JOINED))
        #: Where in the file the waiting bytes begin, and how many there are.
        self._begin = self._count = 0
        self.places = {}

    def write(self, data: Any) -> int:
        """Write all data, or nothing once a write has failed."""
        size = len(data)
        self.places.setdefault(size, self._begin + self._count)
        if self._count + size > len(self._waiting):
            self._write_waiting()
        if size > len(self._waiting):
            self._write(memoryview(data))
            self._begin += size
        else:
            self._waiting[self._count : self._count + size] = data
            self._count += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the file."""
        if whence == os.SEEK_SET and offset == self._begin + self._count:
            return offset
        self._write_waiting()
        self._begin = super().seek(offset, whence)
        return self._begin

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer."""
        self._write_waiting()
        size = super().readinto(buffer)
        self._begin += size or 0
        return size

    def truncate(self, size: int | None = None) -> int:
        """Truncate, unless a write has failed."""
        self._write_waiting()
        try:
            if self.failure is None:
                return super().truncate(size)
        except OSError as error:
            self.failure = error
        return self.tell() if size is None else size

    def flush(self) -> None:
        """Hand everything to the system."""
        if not self.closed:
            self._write_waiting()
        super().flush()

    def deliver(self) -> None:
        """Hand everything to the system.

        Raises:
            OSError: The first write error.
        """
        self.flush()
        if self.failure is not None:
            raise self.failure

    def _write_waiting(self) -> None:
        self._write(self._waiting[: self._count])
        self._begin, self._count = self._begin + self._count, 0

    def _write(self, rest: memoryview) -> None:
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _is_near(about: Path, path: Path) -> bool:
    """Return whether an error about one path may come from writing another."""
    inside = {path, _part(path)} & {*about.parents}
    return about in (path, _part(path), *path.parents) or bool(inside)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
