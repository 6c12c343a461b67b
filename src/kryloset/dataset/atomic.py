# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A file appears under its final name only whole.

It is written under another name in the same folder, brought to the disk and
renamed. POSIX makes the rename atomic: whoever opens the final name sees the
old file or the new one, whatever is killed in between.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kryloset.errors import DataError

#: What the user can do, by error number.
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows",
    errno.EACCES: "no permission to write there: change it, or choose another folder",
    errno.EPERM: "no permission to write there: change it, or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another folder",
    errno.EEXIST: "a part of the path is a file, not a folder: choose another folder",
    errno.EISDIR: "there is a folder of that name: remove it, or choose another name",
}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the system's errors about writing `path` into errors for people.

    Raises:
        DataError: The disk is full, or one may not write there.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        advice = _ADVICE.get(_number(error))
        about = getattr(error, "filename", None)
        if advice is None or (about is not None and Path(about) not in (path, *_around(path))):
            raise
        raise DataError(f"{path} cannot be written: {advice}") from error


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` when all went well.

    The folder is made if it is missing. When the body raises, the temporary
    file is removed and an older file at `path` stays as it was.

    Args:
        path: Final name of the file.

    Yields:
        `path` with `.part` appended, in the same folder.

    Raises:
        DataError: The file cannot be written: no permission, no space.
    """
    part = _part(path)
    with readable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Touched first, so that a folder one may not write to is found before the work.
        part.touch()
        try:
            yield part
            _to_disk(part)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _to_disk(path.parent)


def write_text_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as `write_whole` does."""
    with write_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _around(path: Path) -> tuple[Path, ...]:
    """Return the files and folders that an error about writing `path` may name."""
    return (_part(path), path / "lock", path / "journal", *path.parents)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _number(error: OSError | RuntimeError) -> int:
    """Return the system's number of an error, 0 if it has none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    # HDF5 gives the number in the text of its own error, and no other way.
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else 0
