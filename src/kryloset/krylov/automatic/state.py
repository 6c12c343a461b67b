# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What automatic selection carries from one system to the next."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from petsc4py import PETSc

import numpy as np

from kryloset.krylov.automatic.growing_tuple import GrowingTuple
from kryloset.krylov.automatic.recording import Recording, read_strategy, write_strategy
from kryloset.krylov.collective import any_rank
from kryloset.krylov.solver import SequenceSolver
from kryloset.krylov.state import SolverState, reading_state, rows_of, write_arrays


@dataclass(frozen=True, eq=False)
class AutomaticState:
    """What automatic selection carries from one system to the next: a value.

    Attributes:
        strategies: empty before the first system.
        states: the state of each strategy; None once it has been given up.
        trials: how many systems each strategy has solved, up to `policy.TRIAL_SYSTEMS`.
        recent: seconds of the last systems that each strategy has solved, at most
            `policy.MEDIAN_SYSTEMS`.
        usual: lower median of `recent` for each strategy; infinite before its first system.
        spent: seconds of all systems, including those of failed trials.
        overhead: seconds that later trials, but not the first ones, took beyond the best
            strategy's.
        current: number of the strategy that is used outside trials.
        until: number of the system at which the next decision is due.
        choices: for each system or ensemble, the number of the strategy that solved it.
        failures: systems that no strategy solved.
        iterations: sum over the systems, counting the strategies that solved them; so are the
            next two.
        operator_applications: applications of A.
        preconditioner_applications: applications of M^-1.
    """

    strategies: tuple[SequenceSolver, ...] = ()
    states: tuple[SolverState | None, ...] = ()
    trials: tuple[int, ...] = ()
    recent: tuple[tuple[float, ...], ...] = ()
    usual: tuple[float, ...] = ()
    spent: float = 0.0
    overhead: float = 0.0
    current: int = 0
    until: int = 0
    choices: GrowingTuple = field(default_factory=GrowingTuple)
    failures: int = 0
    iterations: int = 0
    operator_applications: int = 0
    preconditioner_applications: int = 0

    @property
    def recording(self) -> Recording:
        """What a replay needs, without the strategies that solved nothing."""
        used = sorted(set(self.choices))
        strategies = []
        for number in used:
            strategy, state = self.strategies[number], self.states[number] or SolverState()
            strategies.append(
                strategy
                if strategy.refresh == "always"
                else replace(strategy, refresh=state.refreshes)
            )
        return Recording(tuple(strategies), tuple(used.index(choice) for choice in self.choices))

    @property
    def systems(self) -> int:
        """Number of systems that `Automatic.solve` was given; an ensemble counts as one."""
        return len(self.choices)

    @property
    def together(self) -> bool:
        """Whether there are strategies that solve the systems of an ensemble together."""
        return any(strategy.lanes > 1 for strategy in self.strategies)

    @property
    def best(self) -> int:
        """Number of the strategy with the fewest seconds for a system."""
        return min(range(len(self.usual)), key=self.usual.__getitem__)

    def for_operator(self, operator: PETSc.Mat) -> Self:
        """Return this state after `for_operator` of each strategy's state. Collective."""
        rows = rows_of(operator)
        misfits = not all(state is None or state.fits(rows) for state in self.states)
        if not any_rank(operator.comm, misfits):
            return self
        states = tuple(state and state.for_operator(operator) for state in self.states)
        return replace(self, states=states)

    def without_space(self) -> Self:
        """Return this state after `without_space` of each strategy's state."""
        return replace(self, states=tuple(state and state.without_space() for state in self.states))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to `path`, as `SolverState.save` does."""
        arrays: dict[str, Any] = {}
        for number, state in enumerate(self.states):
            if state is not None:
                held = state.to_arrays()
                arrays |= {f"{number}_{key}": value for key, value in held.items()}
        numbers = asdict(replace(self, strategies=(), states=(), choices=GrowingTuple()))
        del numbers["strategies"], numbers["states"]
        # The names of the file format.
        numbers = {"ways": [write_strategy(one) for one in self.strategies]} | numbers
        numbers["choices"] = list(self.choices)
        arrays["automatic"] = np.array(json.dumps(numbers))
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a state written by `save`.

        Raises:
            KrylosetError: if the file is missing, damaged or not such a state.
        """
        with reading_state(path) as file:
            arrays = {key: file[key] for key in file}
            numbers = json.loads(str(arrays["automatic"]))
            strategies = tuple(read_strategy(strategy) for strategy in numbers.pop("ways"))
            for key in ("trials", "usual"):
                numbers[key] = tuple(numbers[key])
            numbers["choices"] = GrowingTuple(numbers["choices"])
            numbers["recent"] = tuple(map(tuple, numbers["recent"]))
            states = tuple(_read_state(arrays, f"{number}_") for number in range(len(strategies)))
            return cls(strategies=strategies, states=states, **numbers)


def _read_state(arrays: dict[str, Any], prefix: str) -> SolverState | None:
    held = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    return SolverState.from_arrays(held) if held else None
