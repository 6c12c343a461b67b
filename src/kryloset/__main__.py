# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset`, and `python -m kryloset`, which is the same: logging, and errors for people."""

import atexit
import gc
import io
import logging
import os
import sys
import time

from kryloset.errors import KrylosetError
from kryloset.extras import advised
from kryloset.progress import start_logging

#: What mpiexec is given to pass a last message on, also on a busy machine.
_SECONDS_TO_PASS_ON = 3.0


def main() -> None:
    """Run the command line; a user's mistake ends in one message and exit code 1."""
    # A file may hold bytes that are not characters, which terminals do not accept.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Looking for plugins of pydantic, of which there are none, takes as long as all its models.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Imports make nothing that could be collected, and commands little.
    gc.set_threshold(5000)
    atexit.register(_end_at_once)
    # Under MPI every rank logs warnings, and only the first one logs progress.
    rank = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")))
    if not {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"} & os.environ.keys():
        # UCX, by which MPI sends, hooks into the allocation of memory, and waits twice for that. A
        # process by itself sends nothing.
        os.environ.setdefault("UCX_MEM_EVENTS", "n")
    start_logging(logging.INFO if rank == 0 else logging.WARNING)
    try:
        with advised():
            from kryloset.cli import app

            app(standalone_mode=True)
    except KrylosetError as error:
        print(f"kryloset: error: {error}", file=sys.stderr)
        _stop_other_ranks()
        sys.exit(1)
    except Exception:
        logging.getLogger(__name__).exception("kryloset: a fault of the program, not of yours")
        _stop_other_ranks()
        sys.exit(2)


def _end_at_once() -> None:
    """Freeze what was imported.

    As it ends, Python looks for garbage in all of that, again and again, but leaves out what is
    frozen. Then triton, which torch may load, would print that it leaks.
    """
    if "triton" not in sys.modules:
        gc.freeze()


def _stop_other_ranks() -> None:
    """End the other processes of an MPI run, which would wait for this one for ever."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.COMM_WORLD.size > 1:
        # Once a rank aborts, mpiexec drops what it has not passed on yet, such as the message.
        sys.stderr.flush()
        time.sleep(_SECONDS_TO_PASS_ON)
        mpi.COMM_WORLD.Abort(1)


if __name__ == "__main__":
    main()
