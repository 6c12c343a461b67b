# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""run.py SNAKEMAKE [ARGUMENT]...: run Snakemake so that a run after any end of it goes on.

Snakemake killed with -9 leaves its folder locked and its jobs at work, and one that is told to
end may wait for itself for ever. Two files tell the next run of both:

- `.make.lock` is the standard input of this process, of Snakemake and of its jobs, and with it
  the lock on it. Who gets the lock is alone; who does not finds the holders in /proc. It has
  the id of this process in it until Snakemake has ended by itself.
- `.snakemake/alive.lock` is held by every Snakemake of this workflow, one that was started
  without this script too (workflow/rules/common.smk). Who gets it may unlock the folder. Jobs
  have the folder in their environment.

Jobs left behind are ended: solving goes on from its journal, where they stopped.
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

from solving import Solving

LOCK = Path(".make.lock")
ALIVE = Path(".snakemake/alive.lock")

#: Seconds that Snakemake and jobs have to end after they were told to.
PATIENCE = 20.0
#: Seconds between two lines that say how far solving is: rewritten on a terminal, or one by one.
INTERVALS = {True: 1.0, False: 15.0}


def say(text: str) -> None:
    """Tell the user."""
    print(text, file=sys.stderr, flush=True)


def holders() -> list[int]:
    """Return the processes whose standard input is the lock file, but for this one."""
    mine, found = os.fstat(0), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            same = os.path.samestat((process / "fd/0").stat(), mine)
        except OSError:  # ended meanwhile, or of another user
            continue
        if same and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def jobs() -> list[int]:
    """Return the jobs here of any Snakemake of this workflow."""
    mark, found = os.fsencode(f"KRYLOSET_FOLDER={os.getcwd()}"), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:  # ended meanwhile, or of another user
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
    """Interrupt all processes that are found, and kill those that have not ended in time."""
    tell(find(), signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    while processes := find():
        if time.monotonic() > deadline:
            tell(processes, signal.SIGKILL)
        time.sleep(0.1)


def be_alone() -> bool:
    """Take the lock, when no other run is under way and no job of one is left.

    Returns:
        Whether the run before did not end by itself.
    """
    os.dup2(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666), 0)
    try:
        fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.5)  # the holder may just be writing its id
        master, found = LOCK.read_text(), holders()
        if master in map(str, found):
            say(f"Another run is under way here (process {master}); waiting for its end.")
        else:
            say(f"Ending jobs that a killed run left behind: {' '.join(map(str, found))}")
            end(holders)
        fcntl.flock(0, fcntl.LOCK_EX)
    except OSError as error:
        say(f"This file system has no locks ({error.strerror}): start no second run here.")
    killed = bool(LOCK.read_text())
    LOCK.write_text(str(os.getpid()))
    return killed


def unlock() -> str | None:
    """Remove the locks of a Snakemake that was killed; wait for one that is at work.

    Returns:
        Why the locks have to stay; None where there are none any more.
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
                        say("Another Snakemake is at work here; waiting for its end.")
                        told = True
                    time.sleep(0.5)
                    continue
                say("A Snakemake was killed here; its locks are removed.")
                if left := jobs():
                    say(f"Ending jobs that it left behind: {' '.join(map(str, left))}")
                    end(jobs)
                for lock in locks():
                    lock.unlink()
    except OSError as error:
        return (
            f"The folder is locked by a Snakemake, and whether that one lives cannot be told "
            f"({error}). If it does not, run: {sys.argv[1]} --unlock"
        )
    return None


class Screen:
    """Where the output of Snakemake goes, with a line below it that says how far solving is."""

    def __init__(self, results: Path) -> None:
        """Begin with no such line."""
        self._solving = Solving(results)
        self._terminal = sys.stderr.isatty()
        self._below = ""
        self._due = time.monotonic() + INTERVALS[self._terminal]

    def write(self, output: bytes) -> None:
        """Show output."""
        self._put(b"\r\x1b[K" if self._below else b"", output)
        self._below = ""

    def progress(self) -> None:
        """Say how far solving is, where it is time to."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + INTERVALS[self._terminal]
        line = self._solving.line()
        if line and self._terminal:
            self._put(b"\r\x1b[K", line.encode())
            self._below = line
        elif line:
            self._put(line.encode(), b"\n")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.write(b"")

    def _put(self, *parts: bytes) -> None:
        sys.stderr.buffer.write(b"".join(parts))
        sys.stderr.buffer.flush()


class Supervision:
    """Snakemake at work, in a session of its own: an interrupt reaches it through this process."""

    def __init__(self, command: list[str], screen: Screen) -> None:
        """Start it."""
        self._screen = screen
        self._signal: int | None = None
        self._deadline: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        # On a terminal Snakemake shall see one, and write in colours.
        self._output, theirs = os.openpty() if sys.stderr.isatty() else os.pipe()
        self._process = subprocess.Popen(
            command, stdin=0, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def _interrupt(self, number: int, _: object) -> None:
        if self._signal is not None:  # once more: at once
            self._deadline = time.monotonic()
        self._signal = self._signal or number

    def wait(self) -> int:
        """Return the exit status: Snakemake's, or 128 and the signal that ended the run."""
        while (status := self._process.poll()) is None:
            self._show(0.2)
            if self._signal is None:
                self._screen.progress()
            else:
                self._end()
        # A job may hold the other end, so that there is no end of file to wait for.
        while self._show(0.0):
            pass
        self._screen.close()
        if self._signal is None:
            return status if status >= 0 else 128 - status
        end(holders)
        return 128 + self._signal

    def _show(self, patience: float) -> bool:
        """Show what Snakemake wrote; after an interrupt it is of no use to anybody."""
        ready, _, _ = select.select([self._output], [], [], patience)
        try:
            output = os.read(self._output, 2**16) if ready else b""
        except OSError:  # a terminal whose other end is closed
            output = b""
        if ready and not output:
            time.sleep(patience)
        if output and self._signal is None:
            self._screen.write(output)
        return bool(output)

    def _end(self) -> None:
        """Interrupt Snakemake and its jobs; kill what is left in the end."""
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE
            self._screen.close()
            say("Interrupted: run again to go on from here.")
            tell(holders(), signal.SIGINT)
        elif time.monotonic() > self._deadline:
            tell(holders(), signal.SIGKILL)


def config_file(arguments: list[str]) -> Path:
    """Return the configuration that is named in the arguments, or the one that is taken else."""
    option = "--configfile"
    named = arguments[arguments.index(option) + 1] if option in arguments else "config/config.yaml"
    return Path(named)


def refusal(file: Path) -> str:
    """Return what is wrong with a configuration that Snakemake could not read, or never whole."""
    from kryloset.errors import KrylosetError
    from kryloset.yaml_text import read_yaml

    try:
        if file.is_file():
            read_yaml(file)
    except KrylosetError as error:
        return str(error)
    return ""


def results_folder(file: Path) -> Path:
    """Return the folder of the results, as a configuration has it."""
    from kryloset.config import load_config
    from kryloset.errors import KrylosetError

    try:
        return Path(load_config(file).pathvars.get("results", "results"))
    except KrylosetError:  # Snakemake will say so
        return Path("results")


def main(command: list[str]) -> int:
    """Run Snakemake alone in the folder."""
    if be_alone():
        say("The run before was interrupted or killed; going on from what it left.")
    file = config_file(command)
    wrong = unlock() or refusal(file)
    if wrong:
        say(wrong)
        status = 1
    else:
        status = Supervision(command, Screen(results_folder(file))).wait()
    # Above 128: ended by a signal, so the mark stays.
    if status < 128:
        LOCK.write_text("")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # while waiting for another run
        sys.exit(128 + signal.SIGINT)
