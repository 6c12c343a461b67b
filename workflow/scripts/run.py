# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""run.py SNAKEMAKE [ARGUMENT]...: run Snakemake, and recover from however the last run ended.

A Snakemake killed with -9 leaves its folder locked and its jobs running, and one that is asked
to stop may wait for itself for ever. The next run recovers with the help of two files:

- `.make.lock` is the standard input of this process, of Snakemake and of its jobs, so all of them
  hold the lock on it. A process that gets the lock is alone; one that does not finds the holders
  in /proc. The file contains the id of this process until Snakemake has ended by itself.
- `.snakemake/alive.lock` is held by every Snakemake of this workflow, including those started
  without this script (workflow/rules/common/datasets.smk). A process that gets it may unlock the
  folder. Jobs carry the folder in their environment.

Orphaned jobs are stopped: solving resumes from their journals.
"""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOCK = Path(".make.lock")
ALIVE = Path(".snakemake/alive.lock")

#: Seconds that Snakemake and its jobs get to stop before they are killed.
PATIENCE = 20.0
#: Seconds between progress lines, by whether the output is a terminal, where a line is rewritten.
INTERVALS = {True: 1.0, False: 15.0}


def say(text: str) -> None:
    """Print a message to the user."""
    print(text, file=sys.stderr, flush=True)


def holders() -> list[int]:
    """Return the other processes whose standard input is the lock file."""
    mine, found = os.fstat(0), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            same = os.path.samestat((process / "fd/0").stat(), mine)
        except OSError:  # the process has ended, or belongs to another user
            continue
        if same and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def jobs() -> list[int]:
    """Return the jobs that any Snakemake of this workflow started in this folder."""
    mark, found = os.fsencode(f"KRYLOSET_FOLDER={os.getcwd()}"), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # the process has ended, or belongs to another user
            continue
        if mark in environment.split(b"\0") and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def tell(processes: list[int], number: signal.Signals) -> None:
    """Send a signal."""
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue


def end(find: Callable[[], list[int]]) -> None:
    """Interrupt the processes found, and kill those that do not stop in time."""
    tell(find(), signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    while processes := find():
        if time.monotonic() > deadline:
            tell(processes, signal.SIGKILL)
        time.sleep(0.1)


def be_alone() -> bool:
    """Take the lock, once no other run is active and no job of one is left.

    Returns:
        Whether the previous run was interrupted or killed.
    """
    os.dup2(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666), 0)
    try:
        fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.5)  # the holder may be about to write its id
        master, found = LOCK.read_text(), holders()
        if master in map(str, found):
            say(f"Another run is active in this folder (process {master}); waiting for it to end.")
        elif found:
            say(f"Stopping jobs that a killed run left behind: {' '.join(map(str, found))}")
            end(holders)
        fcntl.flock(0, fcntl.LOCK_EX)
    except OSError as error:
        say(
            f"This file system does not support locks ({error.strerror}): "
            "do not start a second run in this folder."
        )
    killed = bool(LOCK.read_text())
    LOCK.write_text(str(os.getpid()))
    return killed


def unlock() -> str | None:
    """Remove the locks of a killed Snakemake; wait for one that is running.

    Returns:
        Why the locks must stay, or None once there are none.
    """

    def locks() -> list[Path]:
        return list(Path(".snakemake/locks").glob("*.lock"))

    if not locks():
        return None
    told = False
    try:
        with ALIVE.open("r+") as alive:
            while locks():
                try:
                    fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not told:
                        say("Another Snakemake is running in this folder; waiting for it to end.")
                        told = True
                    time.sleep(0.5)
                    continue
                say("A Snakemake was killed in this folder; removing its locks.")
                if left := jobs():
                    say(f"Stopping jobs that it left behind: {' '.join(map(str, left))}")
                    end(jobs)
                for lock in locks():
                    lock.unlink()
    except OSError as error:
        return (
            f"The folder is locked, and it is unknown whether the Snakemake that locked it still "
            f"runs ({error}). If it does not, run: {sys.argv[1]} --unlock"
        )
    return None


class Screen:
    """The output of Snakemake, with a progress line below it."""

    def __init__(self, results: Path) -> None:
        """Begin without a progress line."""
        # Imported while Snakemake starts.
        from finished import Finished
        from solving import Solving

        self._solving = Solving(results)
        self._finished = Finished(results)
        self._terminal = sys.stderr.isatty()
        self._below = ""
        self._due = time.monotonic() + INTERVALS[self._terminal]

    def write(self, output: bytes) -> None:
        """Show output."""
        self._put(b"\r\x1b[K" if self._below else b"", output)
        self._below = ""

    def progress(self) -> None:
        """Show the progress line, if it is time to."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + INTERVALS[self._terminal]
        line = self._solving.line()
        if line and self._terminal:
            self._put(b"\r\x1b[K", line.encode())
            self._below = line
        elif line:
            self._put(line.encode(), b"\n")

    def announce(self) -> None:
        """Say which datasets have been made and checked."""
        for line in self._finished.lines():
            self.write(f"{line}\n".encode())

    def close(self) -> None:
        """Remove the progress line."""
        self.write(b"")

    def _put(self, *parts: bytes) -> None:
        sys.stderr.buffer.write(b"".join(parts))
        sys.stderr.buffer.flush()


class Supervision:
    """A running Snakemake, in its own session: interrupts reach it through this process."""

    def __init__(self, command: list[str], file: Path) -> None:
        """Start it, with a configuration file."""
        self._signal: int | None = None
        self._deadline: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        # On a terminal, give Snakemake one too, so that it writes in colour.
        self._output, theirs = os.openpty() if sys.stderr.isatty() else os.pipe()
        self._process = subprocess.Popen(
            command, stdin=0, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self._screen = Screen(results_folder(file))

    def _interrupt(self, number: int, _: object) -> None:
        if self._signal is not None:  # the second interrupt kills at once
            self._deadline = time.monotonic()
        self._signal = self._signal or number

    def wait(self) -> int:
        """Return the exit status: Snakemake's, or 128 + the signal that ended the run."""
        while (status := self._process.poll()) is None:
            self._show(0.2)
            if self._signal is None:
                self._screen.announce()
                self._screen.progress()
            else:
                self._end()
        # A job may still hold the other end, so there may be no end of file to wait for.
        while self._show(0.0):
            pass
        self._screen.close()
        if self._signal is None:
            return status if status >= 0 else 128 - status
        end(holders)
        return 128 + self._signal

    def _show(self, patience: float) -> bool:
        """Show what Snakemake wrote, except after an interrupt, when it is noise."""
        ready, _, _ = select.select([self._output], [], [], patience)
        try:
            output = os.read(self._output, 2**16) if ready else b""
        except OSError:  # the other end of the terminal is closed
            output = b""
        if ready and not output:
            time.sleep(patience)
        if output and self._signal is None:
            self._screen.write(output)
        return bool(output)

    def _end(self) -> None:
        """Interrupt Snakemake and its jobs; kill what is left after the deadline."""
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE
            self._screen.close()
            say("Interrupted: run again to continue from here.")
            tell(holders(), signal.SIGINT)
        elif time.monotonic() > self._deadline:
            tell(holders(), signal.SIGKILL)


def config_file(arguments: list[str]) -> Path:
    """Return the configuration file that the arguments name, or the default."""
    option = "--configfile"
    named = arguments[arguments.index(option) + 1] if option in arguments else "config/config.yaml"
    return Path(named)


def refusal(file: Path) -> str:
    """Return what is wrong with a configuration file that Snakemake would crash on, or ''."""
    from kryloset.errors import KrylosetError
    from kryloset.yaml_text import read_yaml

    try:
        if file.is_file():
            read_yaml(file)
    except KrylosetError as error:
        return str(error)
    return ""


def results_folder(file: Path) -> Path:
    """Return the results folder that a configuration names."""
    from kryloset.config import load_config
    from kryloset.errors import KrylosetError

    try:
        return Path(load_config(file).pathvars.get("results", "results"))
    except KrylosetError:  # Snakemake will report it
        return Path("results")


def main(command: list[str]) -> int:
    """Run Snakemake, the only one in the folder."""
    if be_alone():
        say("The previous run was interrupted or killed; continuing from what it left.")
    file = config_file(command)
    wrong = unlock() or refusal(file)
    if wrong:
        say(wrong)
        status = 1
    else:
        status = Supervision(command, file).wait()
    # Above 128 a signal ended the run: the id stays as a mark.
    if status < 128:
        LOCK.write_text("")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # while waiting for another run
        sys.exit(128 + signal.SIGINT)
