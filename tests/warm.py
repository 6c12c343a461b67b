# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `kryloset`, forked from a process that has already imported everything.

`warm.py SOCKET` serves; `warm.py SOCKET ARGUMENTS...` is `kryloset ARGUMENTS...`.
"""

import json
import os
import socket
import sys


def serve(path: str) -> None:
    """Import what the stages need, then run each command in a forked process."""
    import signal

    from kryloset.run import check, compare, merge, report, solve, sort, verify  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for the children
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                run(connection)
            connection.close()


def run(connection: socket.socket) -> None:
    """Run the requested command in this process, and answer with its exit status."""
    import traceback

    from kryloset.__main__ import main

    status = 1
    try:
        request, streams, _, _ = socket.recv_fds(connection, 2**20, 3)
        arguments, folder, environment = json.loads(request)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["kryloset", *arguments]
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([status]))
        os._exit(status)


def ask(path: str, arguments: list[str]) -> int:
    """Request a command, with the streams, folder and environment of this process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(connection, [request], [0, 1, 2])
        answer = connection.recv(1)
    return answer[0] if answer else 137  # killed


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
