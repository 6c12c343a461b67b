# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Work on files of unknown origin in a child process, which is stopped if it makes no progress.

A few flipped bits can make HDF5 loop forever, take all memory, or crash, since the structure of
the file says how much there is to read. Python cannot limit a call of HDF5, but the operating
system limits a child process.
"""

import os
import pickle
import resource
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kryloset.errors import DataError, KrylosetError

#: Processor seconds after which a child that has not reported progress is stopped. Waiting for a
#: disk does not count.
SECONDS = 2.0
#: Bytes a second that the slowest machine reads and digests.
_PACE = 2e7
#: Bytes of memory that a child may take in addition to those of its parent.
_MEMORY = 2**32

#: Signals that stop a child.
_SIGNALS = (
    signal.SIGPROF, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
    signal.SIGTERM,
)  # fmt: skip

_in_child = False


def progress(size: int = 0) -> None:
    """Report progress in a child; `size` is the number of bytes read before the next report."""
    if _in_child:
        signal.setitimer(signal.ITIMER_PROF, SECONDS + size / _PACE)


def in_child[T](path: Path, work: Callable[[], T]) -> T:
    """Do some work with a file in a child process, and return its result.

    Args:
        path: The file, for messages.
        work: The work. It calls `progress` regularly and returns something that can be pickled.

    Raises:
        KrylosetError: Raised by the work.
        DataError: The work made no progress, crashed, or raised any other exception.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns that a child may wait for a lock that a thread of its parent holds. This
        # child only calls HDF5, whose lock h5py keeps free while it forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(path, work, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if status or not answer:
        code = os.waitstatus_to_exitcode(status)
        how = "makes no progress with it" if code == -signal.SIGPROF else f"crashes on it ({code})"
        raise DataError(f"{path} is damaged: HDF5 {how}; use an intact copy")
    returned, raised = pickle.loads(answer)
    if raised is not None:
        raise raised
    found: T = returned
    return found


def _answer(path: Path, work: Callable[[], Any], writing: int) -> None:
    """Work in the child, send the result, and exit."""
    global _in_child
    try:
        # PETSc installs handlers that stop all processes of a run.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _in_child = True
        progress()
        try:
            answer: tuple[Any, KrylosetError | None] = work(), None
        except KrylosetError as error:
            answer = None, error
        except BaseException as error:  # HDF5 and h5py raise a dozen types for damage.
            what = f"{type(error).__name__}: {error}"
            answer = None, DataError(f"{path} is damaged: {what}; use an intact copy")
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
    finally:
        # Exits without flushing or closing what belongs to the parent.
        os._exit(0)
