# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the benches share: methods that take turns on the same systems.

A bench is a module with

- `run`, which yields rows, those of a case at a time;
- columns in `columns.toml` in which the rows of a case are shown, or `describe`, which says more;
- `conclude`, which shows what follows from all rows, if there is more to show;
- `judge`, which compares all rows with the goals, if some were set.

Arguments of one name mean the same in all of them: `kind` of a reference sequence, `size` points a
side, `count` systems or instances, `tolerance` on the true relative residual, and options are
described in `benches.toml`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from mpi4py import MPI  # isort: skip  # noqa: F401  (PETSc needs it to be first)
from petsc4py import PETSc

from kryloset.bench.tables import Row
from kryloset.errors import KrylosetError
from kryloset.krylov import SolveResult, delta, wanted_space
from kryloset.progress import track
from kryloset.run.comparison import Method, in_turn
from kryloset.run.solve_record import SolveRecord


@dataclass
class Turn(SolveRecord):
    """What a method needed for one system, the seconds of the processor too."""

    seconds_processor: float = 0.0


@dataclass(eq=False)
class Contestant:
    """A method on its way through a sequence.

    Attributes:
        method: Its solver, and whether the solver's state goes from one system to the next.
        order: Numbers of the systems as it meets them.
        start: The first place of the order that it takes part in.
        about: What its row says of it.
        state: Of its solver after the last system.
        turns: One for each system so far.
    """

    method: Method
    order: Sequence[int] = ()
    start: int = 0
    about: Row = field(default_factory=dict)
    state: Any = None
    turns: list[Turn] = field(default_factory=list)

    def begin(self, number: int, operator: PETSc.Mat) -> Any:
        """Return the state that a system is solved with."""
        if self.state is None:
            return self.method.solver.init()
        return self.state if self.method.carries else self.state.without_space()

    def solve(self, number: int, operator: PETSc.Mat, rhs: PETSc.Vec) -> SolveResult:
        """Solve one more system, and keep what it took."""
        result: SolveResult
        began = time.process_time()
        before = self.begin(number, operator)
        result, self.state = self.method.solver.solve(operator, rhs, before)
        turn = Turn(number, seconds_processor=time.process_time() - began)
        turn.add(result)
        self.turns.append(turn)
        return result

    def values(self, key: str) -> list[Any]:
        """Return a quantity of all turns."""
        return [getattr(turn, key) for turn in self.turns]

    def to_row(self) -> Row:
        """Return what the row says of it, and figures over all systems; seconds are processor's."""
        seconds = self.values("seconds_processor")
        return self.about | {
            "seconds": sum(seconds),
            "ms": 1e3 * median(seconds),
            "mean_ms": 1e3 * fmean(seconds),
            "iterations": fmean(self.values("iterations")),
            "true_residual": max(self.values("true_residual")),
        }


type Look = Callable[[Contestant, int, PETSc.Mat, Any], None]
"""Is shown a contestant that has just solved a system, the system, A, and the state before."""


def race(
    contestants: Sequence[Contestant],
    load: Callable[[int], tuple[PETSc.Mat, PETSc.Vec]],
    places: Sequence[int],
    *,
    first: int = 0,
    look: Look | None = None,
    description: str = "",
) -> None:
    """Let all contestants solve the systems at some places of their orders, one each in turn.

    Who begins moves on by one each place, so that none always finds the memory cold.

    Args:
        contestants: What is compared.
        load: Returns A and b of a system, in storage that all systems may share.
        places: Of the orders.
        first: Which contestant begins.
        look: Is shown every solved system.
        description: Names the work in the progress bar; there is none without it.
    """
    for place in track(places, description) if description else places:
        for contestant in in_turn(contestants, first + place):
            if place < contestant.start:
                continue
            number, before = contestant.order[place], contestant.state
            operator, rhs = load(number)
            contestant.solve(number, operator, rhs)
            if look is not None:
                look(contestant, number, operator, before)


WANTED = 3
"""Eigenvectors of smallest modulus whose space delta is for, as in the SKR paper's script."""


class Deltas:
    """A `Look`: how far recycled subspaces are from the wanted one, before a system is solved.

    Attributes:
        found: By contestant delta at each system that was looked at and had a recycled subspace,
            unless ARPACK found no wanted one.
    """

    def __init__(self, systems: Iterable[int]) -> None:
        """Choose the systems to look at; the wanted subspace of each is found once."""
        self.found: dict[Contestant, list[float]] = {}
        self._wanted: dict[int, Any] = dict.fromkeys(systems)

    def __call__(
        self, contestant: Contestant, system: int, operator: PETSc.Mat, before: Any
    ) -> None:
        """Look at a contestant that has just solved a system."""
        workspace = contestant.state.workspace
        if system not in self._wanted or before is None or before.space is None or not workspace:
            return
        with suppress(KrylosetError):
            if self._wanted[system] is None:
                self._wanted[system] = wanted_space(operator, workspace.ksp.getPC(), WANTED)
            distance = delta(self._wanted[system], before.space)
            self.found.setdefault(contestant, []).append(distance)

    def mean(self, contestant: Contestant) -> float | None:
        """Return the mean of a contestant, None where nothing was seen."""
        return fmean(self.found[contestant]) if contestant in self.found else None


def warm_up(methods: Iterable[Method], operator: PETSc.Mat, rhs: PETSc.Vec) -> None:
    """Solve a system by all methods before anything counts: libraries are loaded by that."""
    for method in methods:
        method.solver.solve(operator, rhs, method.solver.init())
