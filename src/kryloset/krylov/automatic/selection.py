# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Automatic selection: the quickest strategy, found while the sequence is solved.

The structure of the first matrix says which strategies suit it (`strategies`); measured seconds
decide among them (`policy`).
"""

import math
import os
from dataclasses import dataclass, replace

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

from kryloset.errors import KrylosetError
from kryloset.krylov.automatic.policy import (
    CAP,
    HOPELESS,
    TRIAL_SYSTEMS,
    choose,
    give_up,
    sampled,
    settle,
)
from kryloset.krylov.automatic.recording import Recording
from kryloset.krylov.automatic.state import AutomaticState
from kryloset.krylov.automatic.strategies import choose_strategies, judge_factors
from kryloset.krylov.collective import largest
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.krylov.names import check_limits
from kryloset.krylov.native.kernels import load_kernels
from kryloset.krylov.preconditioners.multigrid import has_interpolations
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import SolveResult
from kryloset.krylov.reuse.reference import NEIGHBOUR_LIMIT
from kryloset.krylov.solver import SequenceSolver, check_sizes
from kryloset.krylov.state import SolverState
from kryloset.krylov.structure import (
    Structure,
    confirm_definite,
    confirm_structure,
    probe_structure,
)

SAMPLED_LANES = 2
"""Number of lanes on which a strategy that solves one system after another is tried."""

SHORT = 25
"""Number of iterations after which the duration of a trial is estimated."""


@dataclass(frozen=True)
class Automatic:
    """A solver that selects the quickest strategy by measured seconds. A `Solver`.

    Two runs may select differently; the solutions are within the tolerance in any case. A replay
    of `AutomaticState.recording` reads no clock and gives the same solutions, bit for bit.

    Attributes:
        tolerance: on the true relative residual ||b - A x|| / ||b||.
        max_iterations: per system.
        structure: the structure of the matrices, if it is known; the first matrix is checked by
            `confirm_structure`, and by `confirm_definite` if its system is not solved. Otherwise
            the structure is found from that matrix.
        strategies: the strategies to choose from, the most promising first; by default those of
            `choose_strategies`.
        replay: a recorded selection to follow.
    """

    tolerance: float = 1e-8
    max_iterations: int = 10_000
    structure: Structure | None = None
    strategies: tuple[SequenceSolver, ...] = ()
    replay: Recording | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: One of them is out of range.
        """
        check_limits(self.tolerance, self.max_iterations)

    def init(self) -> AutomaticState:
        """Return the state before the first system."""
        return AutomaticState()

    def load(self, path: str | os.PathLike[str]) -> AutomaticState:
        """Read a state that `AutomaticState.save` wrote."""
        return AutomaticState.load(path)

    def used(self, state: AutomaticState) -> SequenceSolver:
        """Return the strategy of the last system."""
        return state.strategies[state.choices[-1]]

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: AutomaticState
    ) -> tuple[SolveResult, AutomaticState]:
        """Solve operator x = rhs by the strategy that is expected to be quickest. Collective.

        If it fails, the others are tried. The result and its seconds are those of the strategy
        that solved the system; `AutomaticState.spent` includes failed trials.

        Raises:
            ValueError: if the sizes do not fit.
            KrylosetError: if a replay has no strategy for this system, or the first matrix is not
                what `structure` says.
        """
        if not state.strategies:
            check_sizes(operator, rhs)
            state = self._start(operator, state)
        if self.replay is not None:
            return self._follow(operator, rhs, state, self.replay)
        number, extra, trial = state.current, False, False
        if len(state.choices) >= state.until:
            number, extra, state = choose(state)
            best = state.best
            known = math.isfinite(state.usual[best])
            trial = known and number != best and state.trials[number] < TRIAL_SYSTEMS
            if extra and state.together and state.strategies[number].lanes == 1:
                state = self._sample(operator, rhs, state, number)
                number, extra, trial = state.best, False, False
        result, after, seconds = self._try(operator, rhs, state, number, trial)
        if not state.choices and not result.converged:
            self._explain(operator, result)
        spent = seconds
        tried = {number}
        while after is None:
            # A strategy that failed is not used again as long as there is another.
            state = give_up(state, number)
            rest = [i for i, held in enumerate(state.states) if held and i not in tried]
            if not rest:
                break
            number = min(rest, key=state.usual.__getitem__)
            tried.add(number)
            result, after, seconds = self._try(operator, rhs, state, number, False)
            spent += seconds
        return result, settle(state, number, result, after, seconds, spent, extra)

    def _start(self, operator: PETSc.Mat, state: AutomaticState) -> AutomaticState:
        """Examine the first matrix and make the first state of each strategy."""
        strategies = self.replay.strategies if self.replay is not None else self.strategies
        if not strategies:
            ensemble = ensemble_of(operator)
            matrix = operator if ensemble is None else ensemble.lane(0)
            structure = self.structure or probe_structure(matrix)
            if self.structure is not None:
                confirm_structure(matrix, structure)
            strategies = choose_strategies(
                structure,
                factors=judge_factors(matrix),
                multigrid=has_interpolations(matrix),
                lanes=1 if ensemble is None or load_kernels() is None else ensemble.lanes,
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
            )
        count = len(strategies)
        return replace(
            state,
            strategies=strategies,
            states=tuple(strategy.init() for strategy in strategies),
            trials=(0,) * count,
            recent=((),) * count,
            usual=(math.inf,) * count,
        )

    def _explain(self, operator: PETSc.Mat, result: SolveResult) -> None:
        """Look for the reason of a first failure in a false declaration. Collective.

        A matrix that is not definite need not make a method fail. Then its solution is right.

        Raises:
            KrylosetError: the matrix is declared positive definite, and is not.
        """
        if self.structure is None:
            return
        ensemble = ensemble_of(operator)
        failed = next(lane for lane, one in enumerate(result.of_each) if not one.converged)
        matrix = operator if ensemble is None else ensemble.lane(failed)
        if math.isfinite(matrix.norm()):
            confirm_definite(matrix, self.structure)

    def _follow(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: AutomaticState, recording: Recording
    ) -> tuple[SolveResult, AutomaticState]:
        """Solve by the recorded strategy."""
        turn = len(state.choices)
        if turn >= len(recording.choices):
            raise KrylosetError(
                f"the recorded selection is for {len(recording.choices)} systems, and this is one "
                "more: replay it on the sequence that it was recorded on"
            )
        number = recording.choices[turn]
        held = state.states[number] or SolverState()
        result, after, seconds = _time(recording.strategies[number], operator, rhs, held)
        return result, settle(state, number, result, after, seconds, seconds, False)

    def _try(
        self,
        operator: PETSc.Mat,
        rhs: PETSc.Vec,
        state: AutomaticState,
        number: int,
        trial: bool,
    ) -> tuple[SolveResult, SolverState | None, float]:
        """Solve by one strategy; end a trial when it is expected to take too long.

        Returns:
            The result, the strategy's next state (None if it did not solve the system) and the
            seconds that all of it took.
        """
        strategy, held = state.strategies[number], state.states[number] or SolverState()
        if not trial:
            result, after, seconds = _time(strategy, operator, rhs, held)
            return result, after if _serves(result) else None, seconds
        best = state.usual[state.best]
        # A reference preconditioner is strong, and would be replaced if it took longer.
        limit = SHORT if strategy.refresh == "always" else NEIGHBOUR_LIMIT
        short = replace(strategy, max_iterations=min(limit, strategy.max_iterations))
        result, after, seconds = _time(short, operator, rhs, held)
        if _serves(result):
            return result, after, seconds
        if result.reason is not Reason.ITERATION_LIMIT or not 0 < result.true_residual < 1:
            return result, None, seconds
        wall = result.seconds_setup + result.seconds_rebuild + result.seconds_iterate
        iterations = max(one.iterations for one in result.of_each)
        step = largest(operator.comm, result.seconds_iterate / wall * seconds) / iterations
        # Krylov methods tend to get faster as they go, so that this is an upper bound.
        promised = iterations * math.log(strategy.tolerance) / math.log(result.true_residual)
        if step * promised > HOPELESS * best:
            return result, None, seconds
        limit = min(int(CAP * best / step), strategy.max_iterations)
        longer = replace(strategy, max_iterations=max(limit, SHORT))
        again, after, more = _time(longer, operator, rhs, held)
        return again, after if _serves(again) else None, seconds + more

    def _sample(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: AutomaticState, number: int
    ) -> AutomaticState:
        """Try a strategy of one lane on two lanes of an ensemble, and forget what they gave."""
        ensemble = ensemble_of(operator)
        if ensemble is None:
            return state
        strategy, spent, seconds = state.strategies[number], 0.0, 0.0
        held = strategy.init()
        # On the first it allocates memory and makes orderings.
        for lane in range(min(SAMPLED_LANES, ensemble.active)):
            result, held, seconds = _time(strategy, *ensemble.system(lane, rhs), held)
            spent += seconds
            if not result.converged:
                return sampled(state, number, None, spent)
        return sampled(state, number, seconds * ensemble.active, spent)


def _serves(result: SolveResult) -> bool:
    """Return whether a strategy solved a system, or most lanes of an ensemble."""
    return 2 * result.failures < len(result.of_each)


def _time(
    strategy: SequenceSolver, operator: PETSc.Mat, rhs: PETSc.Vec, held: SolverState
) -> tuple[SolveResult, SolverState, float]:
    """Solve, and return the processor's seconds on the rank that took longest.

    Other work on the machine does not count in the processor's seconds.
    """
    result, after = strategy.solve(operator, rhs, held)
    return result, after, largest(operator.comm, result.seconds_processor)
