# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The quickest way through a sequence, found while it is solved.

The structure of the first matrix says which ways there are. Those that promise most are tried
at once, on two or three systems each, and from then on the one whose systems took the fewest
seconds is used. The others are tried, and all are tried again, from time to time, for a part
of the whole time that is set beforehand.
"""

import json
import math
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from mpi4py import MPI  # noqa: F401  (before petsc4py)
from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph

from kryloset.errors import KrylosetError
from kryloset.krylov.automatic.growing_tuple import Choices
from kryloset.krylov.collective import any_rank, largest
from kryloset.krylov.fast_replace import evolve
from kryloset.krylov.names import FACTORS
from kryloset.krylov.preconditioners.multigrid import has_interpolations
from kryloset.krylov.reason import Reason
from kryloset.krylov.result import SolveResult
from kryloset.krylov.reuse.reference import NEIGHBOUR_LIMIT
from kryloset.krylov.solver import SequenceSolver, check_sizes
from kryloset.krylov.state import SolverState, reading_state, write_arrays
from kryloset.krylov.structure import (
    FACTOR_LIMIT,
    Structure,
    confirm_structure,
    probe_structure,
)

TRIALS = 3
"""Systems on which a way is tried. The first is for making its memory and orderings."""

CLOSE = 1.5
"""Two will do for a way that takes more than this many times the best way's time."""

PROMPT = 3
"""Ways that are tried at once."""

SHORT = 25
"""Iterations after which a way on trial is looked at."""

CAP = 2.0
"""A way on trial is given up when its iterations take this many times the best way's time."""

HOPELESS = 3.0
"""And it is given up after `SHORT` when they promise to take this many times it."""

ALLOWANCE = 0.005
"""Part of the time that all other trials may cost beyond what the best way would."""

INTERVAL = 10
"""Systems from one decision to the next: on such a trial, and on the way that is used."""

MEMORY = 5
"""Systems of a way of whose times the median counts: one that was held up is not the way's
fault."""

FRONT = 2.5
"""Bandwidth (after reverse Cuthill-McKee), in units of the root of the number of rows, up to
which factors are among the ways. It is about the size of the largest dense block in a factor:
the root for linear elements on a square, twice that for quadratic ones, and for a cube 3 n^(1/6)
/ 4 times it, where a factor takes longer to apply than incomplete ones to iterate with."""


def choose_ways(
    structure: Structure,
    *,
    factors: bool,
    tolerance: float,
    max_iterations: int,
    multigrid: bool = False,
) -> tuple[SequenceSolver, ...]:
    """Return the ways for a kind of matrix, those that promise most first.

    Args:
        structure: of the matrices.
        factors: whether factors are sparse (`has_sparse_factors`).
        tolerance: as for `SequenceSolver`; likewise the next.
        max_iterations: per system.
        multigrid: whether the matrices bring interpolations along (`has_interpolations`).
    """
    symmetric = "cholesky" if structure.symmetric else "lu"
    direct: dict[str, Any] = {"method": "direct", "preconditioner": symmetric}
    owner: dict[str, Any] = {"method": "cg", "preconditioner": "cholesky", "refresh": "rental"}
    geometric: dict[str, Any] = {"method": "cg", "preconditioner": "multigrid"}
    icc: dict[str, Any] = {"method": "cg", "preconditioner": "icc"}
    # In a plane levels of fill pay, in space they grow too large, and sweeps need no set-up.
    filled = icc | {"fill": 2}
    swept: dict[str, Any] = {"method": "cg", "preconditioner": "sor", "omega": 1.5}
    gamg: dict[str, Any] = {"method": "cg", "preconditioner": "gamg", "refresh": "rental"}
    recycling: dict[str, Any] = {"method": "rcg", "preconditioner": "icc", "restart": 80}
    general: list[dict[str, Any]] = [
        {"method": method} for method in ("bicgstab", "rbicgstab", "gcrodr", "gmres")
    ]
    # Made once for all systems of a matrix, and applied in less time than MUMPS's.
    once: dict[str, Any] = {
        "method": "cg" if structure.definite else "gmres",
        "preconditioner": "cholesky" if structure.definite else "lu",
    }
    rows: list[dict[str, Any]]
    if structure.saddle_point:
        if structure.constant:
            # A guess takes less time than MUMPS's factor, and is often good enough.
            direct["guess"] = "projection"
        rows = [{**direct, "preconditioner": "lu"}, direct] if structure.symmetric else [direct]
    elif structure.singular and structure.definite:
        # The last pivot of a factor is rounding, which misleads no method that knows the null
        # space; where it is negative the method says so, and another one solves the system.
        rows = [*([once] if structure.constant else []), *([geometric] if multigrid else [])]
        rows += [icc, gamg, recycling]
    elif structure.singular:
        rows = general
    elif structure.constant:
        rows = [once, direct, {**once, "refresh": "rental"}]
        rows += [icc, gamg] if structure.definite else general
    elif structure.definite and multigrid:
        # A factor is best where many systems have one matrix, icc where that is nearly diagonal.
        rows = [geometric, owner, filled, direct, icc] if factors else [geometric, swept, icc]
    elif structure.definite and factors:
        rows = [owner, direct, filled, gamg, recycling]
    elif structure.definite:
        rows = [icc, gamg, recycling]
    elif factors:
        rows = [{"method": "gmres", "preconditioner": "lu", "refresh": "rental"}, direct]
        rows += [{"method": "gmres", "preconditioner": "ilu", "fill": 3}, *general]
        if multigrid and structure.symmetric:
            # For waves; where there is a wind it fails on some systems.
            rows.insert(2, geometric | {"method": "gmres"})
    else:
        # Incomplete factors may fail here, which takes long where there is nothing to compare.
        rows = [direct, *general]
    return tuple(
        SequenceSolver(tolerance=tolerance, max_iterations=max_iterations, **row) for row in rows
    )


def has_sparse_factors(operator: PETSc.Mat) -> bool:
    """Return whether a factor is cheap to apply. Collective; from the pattern alone.

    Not on several ranks, where MUMPS applies its factors slowly.
    """
    if operator.comm.size > 1 or operator.getSize()[0] > FACTOR_LIMIT:
        return False
    offsets, columns, entries = operator.getValuesCSR()
    pattern = sp.csr_array((np.ones(len(entries)), columns, offsets), shape=operator.getSize())
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(pattern)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    rows = np.repeat(np.arange(len(order)), np.diff(offsets))
    front = np.abs(place[rows] - place[columns]).max(initial=0)
    return bool(front <= FRONT * math.sqrt(len(order)))


@dataclass(frozen=True)
class Recording:
    """Which way solved which system: enough to solve the sequence in the same way again.

    Attributes:
        ways: with the systems at which each made a preconditioner, where it reuses one.
        choices: number of the way of each system.
    """

    ways: tuple[SequenceSolver, ...]
    choices: tuple[int, ...]

    def to_json(self) -> str:
        """Return the recording as text."""
        return json.dumps(
            {"ways": [_written(way) for way in self.ways], "choices": list(self.choices)}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KrylosetError: if it is not that.
        """
        try:
            read = json.loads(text)
            ways = tuple(_read_way(way) for way in read["ways"])
            choices = tuple(range(len(ways))[int(choice)] for choice in read["choices"])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise KrylosetError(
                f"this is no recording of a solver's choices ({error}): use a file that an "
                "automatic run wrote"
            ) from error
        return cls(ways, choices)


def _written(strategy: SequenceSolver) -> dict[str, Any]:
    """Return the settings of a strategy for JSON; PETSc's options only where there are some."""
    fields = asdict(strategy)
    if not strategy.petsc_options:
        del fields["petsc_options"]
    return fields


def _read_way(fields: dict[str, Any]) -> SequenceSolver:
    refresh = fields["refresh"]
    refresh = tuple(refresh) if isinstance(refresh, list) else refresh
    return SequenceSolver().change(**{**fields, "refresh": refresh})


@dataclass(frozen=True, eq=False)
class AutomaticState:
    """What goes from one system to the next: a value.

    Attributes:
        ways: empty before the first system.
        states: of each way; None where it has been given up.
        trials: systems that each way has solved, up to `TRIALS`.
        recent: seconds of the last systems that each way has solved, at most `MEMORY`.
        usual: their lower median, infinite before the first.
        spent: seconds of all systems, trials and all.
        overhead: seconds of trials, the prompt ones left out, beyond those of the best way.
        current: number of the way that is used where there is no trial.
        until: number of the system at which that is thought over.
        choices: number of the way that solved each system.
        failures: systems that no way solved.
        iterations: of the ways that solved the systems; likewise the next two.
        operator_applications: applications of A.
        preconditioner_applications: applications of M^-1.
    """

    ways: tuple[SequenceSolver, ...] = ()
    states: tuple[SolverState | None, ...] = ()
    trials: tuple[int, ...] = ()
    recent: tuple[tuple[float, ...], ...] = ()
    usual: tuple[float, ...] = ()
    spent: float = 0.0
    overhead: float = 0.0
    current: int = 0
    until: int = 0
    choices: Choices = field(default_factory=Choices)
    failures: int = 0
    iterations: int = 0
    operator_applications: int = 0
    preconditioner_applications: int = 0

    @property
    def recording(self) -> Recording:
        """What a replay needs: ways that solved nothing are left out."""
        used = sorted(set(self.choices))
        ways = []
        for number in used:
            way, state = self.ways[number], self.states[number] or SolverState()
            ways.append(way if way.refresh == "always" else replace(way, refresh=state.refreshes))
        return Recording(tuple(ways), tuple(used.index(choice) for choice in self.choices))

    @property
    def systems(self) -> int:
        """Systems handed to `Automatic.solve`."""
        return len(self.choices)

    @property
    def best(self) -> int:
        """The way with the fewest seconds a system."""
        return min(range(len(self.usual)), key=self.usual.__getitem__)

    def for_operator(self, operator: PETSc.Mat) -> Self:
        """As `SolverState.for_operator`, for the state of each way. Collective."""
        rows = operator.getLocalSize()[0]
        misfits = not all(state is None or state.fits(rows) for state in self.states)
        if not any_rank(operator.comm, misfits):
            return self
        states = tuple(state and state.for_operator(operator) for state in self.states)
        return replace(self, states=states)

    def without_space(self) -> Self:
        """As `SolverState.without_space`, for the state of each strategy."""
        return replace(self, states=tuple(state and state.without_space() for state in self.states))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to `path`, as `SolverState.save` does."""
        arrays: dict[str, Any] = {}
        for number, state in enumerate(self.states):
            if state is not None:
                held = state.to_arrays()
                arrays |= {f"{number}_{key}": value for key, value in held.items()}
        numbers = asdict(replace(self, ways=(), states=(), choices=Choices()))
        del numbers["states"]
        numbers["ways"] = [_written(way) for way in self.ways]
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
            ways = tuple(_read_way(way) for way in numbers.pop("ways"))
            for key in ("trials", "usual"):
                numbers[key] = tuple(numbers[key])
            numbers["choices"] = Choices(numbers["choices"])
            numbers["recent"] = tuple(map(tuple, numbers["recent"]))
            states = tuple(_read_state(arrays, f"{number}_") for number in range(len(ways)))
            return cls(ways=ways, states=states, **numbers)


def _read_state(arrays: dict[str, Any], prefix: str) -> SolverState | None:
    held = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
    return SolverState.from_arrays(held) if held else None


@dataclass(frozen=True)
class Automatic:
    """How to solve a sequence without saying how; used like `SequenceSolver`.

    Seconds decide, so that two runs need not choose alike; the solutions are within the
    tolerance either way. A replay of what `AutomaticState.recording` kept looks at no clock and
    gives the same solutions bit for bit.

    Attributes:
        tolerance: on the true relative residual ||b - A x|| / ||b||.
        max_iterations: per system.
        structure: of the matrices, where it is known, and confirmed by the first; else found
            from that.
        ways: those to choose from, best guess first; if empty those of `choose_ways`.
        replay: choices to follow.
    """

    tolerance: float = 1e-8
    max_iterations: int = 10_000
    structure: Structure | None = None
    ways: tuple[SequenceSolver, ...] = ()
    replay: Recording | None = None

    def init(self) -> AutomaticState:
        """Return the state before the first system."""
        return AutomaticState()

    def load(self, path: str | os.PathLike[str]) -> AutomaticState:
        """As `AutomaticState.load`."""
        return AutomaticState.load(path)

    def used(self, state: AutomaticState) -> SequenceSolver:
        """Return the strategy of the last system."""
        return state.ways[state.choices[-1]]

    def solve(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: AutomaticState
    ) -> tuple[SolveResult, AutomaticState]:
        """Solve operator x = rhs by the way that is expected to be quickest. Collective.

        If that fails the others are tried. The result is that of the way that solved the
        system, its seconds those of that way; `AutomaticState.spent` has the failed trials too.

        Raises:
            ValueError: if the sizes do not fit.
            KrylosetError: where a replay has no choice for this system, or the first matrix
                is not what `structure` says.
        """
        if not state.ways:
            check_sizes(operator, rhs)
            state = self._start(operator, state)
        if self.replay is not None:
            return self._follow(operator, rhs, state, self.replay)
        number, extra, trial = state.current, False, False
        if len(state.choices) >= state.until:
            number, extra, state = _choose(state)
            best = state.best
            known = math.isfinite(state.usual[best])
            trial = known and number != best and state.trials[number] < TRIALS
        result, after, seconds = self._try(operator, rhs, state, number, trial)
        spent = seconds
        tried = {number}
        while after is None:
            # A way that gave up or failed is not used again while another is there.
            state = _give_up(state, number)
            rest = [i for i, held in enumerate(state.states) if held and i not in tried]
            if not rest:
                break
            number = min(rest, key=state.usual.__getitem__)
            tried.add(number)
            result, after, seconds = self._try(operator, rhs, state, number, False)
            spent += seconds
        return result, _settle(state, number, result, after, seconds, spent, extra)

    def _start(self, operator: PETSc.Mat, state: AutomaticState) -> AutomaticState:
        """Look at the first matrix and make room for the ways."""
        ways = self.replay.ways if self.replay is not None else self.ways
        if not ways:
            structure = self.structure or probe_structure(operator)
            if self.structure is not None:
                confirm_structure(operator, structure)
            ways = choose_ways(
                structure,
                factors=has_sparse_factors(operator),
                multigrid=has_interpolations(operator),
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
            )
        count = len(ways)
        return replace(
            state,
            ways=ways,
            states=tuple(way.init() for way in ways),
            trials=(0,) * count,
            recent=((),) * count,
            usual=(math.inf,) * count,
        )

    def _follow(
        self, operator: PETSc.Mat, rhs: PETSc.Vec, state: AutomaticState, recording: Recording
    ) -> tuple[SolveResult, AutomaticState]:
        """Solve by the way that was recorded."""
        turn = len(state.choices)
        if turn >= len(recording.choices):
            raise KrylosetError(
                f"the recording has the choices for {len(recording.choices)} systems, this is "
                "another one: replay it on the sequence that it was made on"
            )
        number = recording.choices[turn]
        held = state.states[number] or SolverState()
        result, after, seconds = _time(recording.ways[number], operator, rhs, held)
        return result, _settle(state, number, result, after, seconds, seconds, False)

    def _try(
        self,
        operator: PETSc.Mat,
        rhs: PETSc.Vec,
        state: AutomaticState,
        number: int,
        trial: bool,
    ) -> tuple[SolveResult, SolverState | None, float]:
        """Solve by one way, on trial only while it promises to be quick enough.

        Returns:
            The result, the next state of the way (None if it did not solve the system) and the
            seconds that all of it took.
        """
        way, held = state.ways[number], state.states[number] or SolverState()
        if not trial:
            result, after, seconds = _time(way, operator, rhs, held)
            return result, after if result.converged else None, seconds
        best = state.usual[state.best]
        # What is reused is strong, and would be renewed where it takes longer.
        limit = SHORT if way.refresh == "always" else NEIGHBOUR_LIMIT
        short = replace(way, max_iterations=min(limit, way.max_iterations))
        result, after, seconds = _time(short, operator, rhs, held)
        if result.converged:
            return result, after, seconds
        if result.reason is not Reason.ITERATION_LIMIT or not 0 < result.true_residual < 1:
            return result, None, seconds
        wall = result.seconds_setup + result.seconds_rebuild + result.seconds_iterate
        step = largest(operator.comm, result.seconds_iterate / wall * seconds) / result.iterations
        # Krylov methods tend to get faster on the way: what is promised is an upper bound.
        promised = result.iterations * math.log(way.tolerance) / math.log(result.true_residual)
        if step * promised > HOPELESS * best:
            return result, None, seconds
        limit = min(int(CAP * best / step), way.max_iterations)
        longer = replace(way, max_iterations=max(limit, SHORT))
        again, after, more = _time(longer, operator, rhs, held)
        return again, after if again.converged else None, seconds + more


def _time(
    way: SequenceSolver, operator: PETSc.Mat, rhs: PETSc.Vec, held: SolverState
) -> tuple[SolveResult, SolverState, float]:
    """Solve, and return the seconds on the rank where it took longest.

    Those of the processor: what others do on the machine is not the way's fault.
    """
    result, after = way.solve(operator, rhs, held)
    return result, after, largest(operator.comm, result.seconds_processor)


def _choose(state: AutomaticState) -> tuple[int, bool, AutomaticState]:
    """Choose the way for the next system.

    Returns:
        Its number, whether that is an extra trial, and the state that knows of the decision.
    """
    there = [number for number, held in enumerate(state.states) if held is not None]
    best = state.best
    usual = state.usual[best]
    price = _price_of_factor(state)
    for number in there:
        trials = state.trials[number]
        if trials == 0:
            hopeless = state.ways[number].method == "direct" and price > CAP * usual
            due = number < PROMPT and not hopeless
        else:
            due = trials < 2 or (trials < TRIALS and state.usual[number] <= CLOSE * usual)
        if due:
            return number, number >= PROMPT, state
    state = replace(state, current=best, until=len(state.choices) + INTERVAL)
    # A way that has not been tried yet, else the closest rival.
    excess = {}
    for number in there:
        if number == best:
            continue
        if state.trials[number]:
            excess[number] = max(state.usual[number] - usual, 0.0)
        else:
            # Iterations are given up in time, a set-up is not.
            way = state.ways[number]
            costly = way.method == "direct" or way.refresh != "always"
            excess[number] = HOPELESS * usual + costly * price
    left = ALLOWANCE * state.spent - state.overhead
    affordable = [number for number in excess if excess[number] <= left]
    if not affordable:
        return best, False, state
    rival = min(affordable, key=lambda number: (state.trials[number] > 0, excess[number]))
    return rival, True, replace(state, until=0 if state.trials[rival] == 0 else state.until)


def _price_of_factor(state: AutomaticState) -> float:
    """Return the seconds that a factor takes, as known from owners; 0 before the first.

    The analysis of the pattern, which is less than half of it, can be among them.
    """
    prices = [
        held.rental.price
        for way, held in zip(state.ways, state.states, strict=True)
        if held is not None and way.preconditioner in FACTORS and held.rental.price > 0.0
    ]
    return min(prices, default=0.0)


def _give_up(state: AutomaticState, number: int) -> AutomaticState:
    """Return the state without a way, unless it has solved systems: a replay needs it."""
    states = state.states
    if number not in state.choices:
        states = _put(states, number, None)
    return replace(
        state,
        states=states,
        usual=_put(state.usual, number, math.inf),
        trials=_put(state.trials, number, TRIALS),
        until=0,
    )


def _settle(
    state: AutomaticState,
    number: int,
    result: SolveResult,
    after: SolverState | None,
    seconds: float,
    spent: float,
    extra: bool,
) -> AutomaticState:
    """Return the state after a system that a way solved, or that none did."""
    turns, recent, usual = state.trials[number], state.recent, state.usual
    overhead = state.overhead
    if extra:
        overhead += max(spent - state.usual[state.current], 0.0)
    # A zero right-hand side says nothing of the way.
    if after is not None and result.operator_applications:
        # The first system made memory and orderings, the later ones count.
        before = recent[number][1 - MEMORY :] if turns > 1 else ()
        recent = _put(recent, number, (*before, seconds))
        usual = _put(usual, number, sorted(recent[number])[len(before) // 2])
        turns = min(turns + 1, TRIALS)
    return evolve(
        state,
        states=state.states if after is None else _put(state.states, number, after),
        trials=_put(state.trials, number, turns),
        recent=recent,
        usual=usual,
        spent=state.spent + spent,
        overhead=overhead,
        choices=state.choices.plus(number),
        failures=state.failures + (not result.converged),
        iterations=state.iterations + result.iterations,
        operator_applications=state.operator_applications + result.operator_applications,
        preconditioner_applications=(
            state.preconditioner_applications + result.preconditioner_applications
        ),
    )


def _put[T](values: tuple[T, ...], number: int, value: T) -> tuple[T, ...]:
    """Return the values with one replaced."""
    return (*values[:number], value, *values[number + 1 :])
