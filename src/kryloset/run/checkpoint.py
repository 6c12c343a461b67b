# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checkpoints of a chunk: states of the solver beside its journal, from which a solve resumes."""

import re
import time
from pathlib import Path

from mpi4py import MPI

from kryloset.dataset.atomic import readable
from kryloset.errors import KrylosetError
from kryloset.krylov import ResumableSolver, State

#: Seconds between two saved states, which a kill may cost. A state may take megabytes, and an
#: instance only milliseconds.
SAVE_EVERY = 1.0


def working_folder(output: Path) -> Path:
    """Return the folder of the journal and the saved states while a chunk is being solved."""
    return output.with_name(output.name + ".working")


class Checkpoints:
    """The saved states in a folder, one file for each position and process.

    A position is a number of solved groups of instances. Each process keeps its last two states: it
    may be killed before it has saved the state that the others have.

    Args:
        folder: The working folder.
        comm: Processes that share each solve.
    """

    def __init__(self, folder: Path, comm: MPI.Comm) -> None:
        """Read and write nothing yet."""
        self._folder = folder
        self._comm = comm
        self._saved = 0.0

    def start_clock(self) -> None:
        """Count the seconds to the next saved state from now on."""
        self._saved = time.monotonic()

    def save_if_due(self, state: State, position: int, *, last: bool) -> None:
        """Save the state before `position`, if the last save is long ago. Collective.

        Args:
            state: The state.
            position: Number of solved groups.
            last: Whether it is the end of the chunk, where it is saved in any case.

        Raises:
            DataError: The folder cannot be written to.
        """
        # Rank 0 decides, so that all processes have states for the same positions.
        due = last or time.monotonic() - self._saved >= SAVE_EVERY
        if not self._comm.bcast(due):
            return
        with readable(self._folder):
            state.save(self._path(position))
            for old in self._positions()[2:]:
                self._path(old).unlink()
        self.start_clock()

    def restore[S: State](self, solver: ResumableSolver[S], done: int) -> tuple[S, int]:
        """Return the last state that every process has saved, and its position. Collective.

        Args:
            solver: The solver, which starts anew if there is no such state.
            done: Number of groups in the journal. Those after the position are solved again.

        Raises:
            DataError: The folder cannot be written to.
        """
        with readable(self._folder):
            mine = set(self._positions())
            common = set.intersection(*self._comm.allgather(mine))
            for position in sorted((p for p in common if p <= done), reverse=True):
                try:
                    state = solver.load(self._path(position))
                except KrylosetError:  # damaged by a power cut
                    state = None
                if self._comm.allreduce(int(state is not None), MPI.MIN) and state is not None:
                    return state, position
            # Otherwise they would be taken for states of positions that are reached again.
            for position in mine:
                self._path(position).unlink()
        return solver.init(), 0

    def _path(self, position: int) -> Path:
        return self._folder / f"state-{position}-{self._comm.rank}.npz"

    def _positions(self) -> list[int]:
        """Return the positions whose states this process has saved, the last one first."""
        # Other files in the folder are left alone.
        found = (
            re.fullmatch(rf"state-(0|[1-9]\d*)-{self._comm.rank}\.npz", path.name)
            for path in self._folder.iterdir()
        )
        return sorted((int(match[1]) for match in found if match), reverse=True)
