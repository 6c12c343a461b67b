# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Work on files of unknown origin, in a child process that is ended when it gets nowhere.

With a few flipped bits HDF5 never comes to an end with a file, takes all memory, or crashes
(its own structure tells it how much there is to read). No bound of ours can reach into it, but a
child process has bounds that the system keeps.
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

#: Seconds of the processor after which a child has got nowhere, unless it says otherwise; what it
#: waits for a disk does not count.
SECONDS = 2.0
#: Bytes a second that are read and digested by the slowest machine.
_PACE = 2e7
#: Memory a child may take beyond what the process has.
_MEMORY = 2**32

#: Signals that end a child.
_SIGNALS = (
    signal.SIGPROF, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
    signal.SIGTERM,
)  # fmt: skip

_in_child = False


def progress(size: int = 0) -> None:
    """Say that the work goes on, and how many bytes are read before it is said again."""
    if _in_child:
        signal.setitimer(signal.ITIMER_PROF, SECONDS + size / _PACE)


def in_child[T](path: Path, work: Callable[[], T]) -> T:
    """Do something with a file in a child process.

    Args:
        path: The file, for the messages.
        work: What to do; it calls `progress` as it goes, and what it returns can be pickled.

    Raises:
        DataError: The child got nowhere, crashed, or raised whatever else than:
        KrylosetError: What the work raises.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Of a process with threads a child may wait for what one of them held. This child calls
        # HDF5 alone, whose lock h5py keeps free while it forks.
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
        how = "gets nowhere with it" if code == -signal.SIGPROF else f"crashes on it ({code})"
        raise DataError(f"{path} is damaged: HDF5 {how}; use an intact copy")
    returned, raised = pickle.loads(answer)
    if raised is not None:
        raise raised
    found: T = returned
    return found


def _answer(path: Path, work: Callable[[], Any], writing: int) -> None:
    """Work in the child, send what came of it, and end."""
    global _in_child
    try:
        # PETSc has handlers that end all processes of a run.
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
        # Nothing of the parent's is flushed or ended twice.
        os._exit(0)
