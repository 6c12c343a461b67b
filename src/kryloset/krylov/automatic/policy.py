# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""When a strategy is tried, used and given up: decisions from measured seconds.

The most promising strategies are tried first, on two or three systems each. From then on the one
with the fewest seconds for a system is used. From time to time others are tried, and close rivals
tried again, as long as all these trials cost no more than a fixed fraction of the whole time.

Ensembles are many systems each, and few. The strategies of several lanes are in an order that the
pattern determines; the second is tried later, on one ensemble, and on another only if it is close
to the best. One that solves systems one after another is tried on two lanes of an ensemble that
another strategy solves (`sampled`).
"""

import math
from dataclasses import replace

from kryloset.krylov.automatic.state import AutomaticState
from kryloset.krylov.fast_replace import fast_replace
from kryloset.krylov.names import FACTORS
from kryloset.krylov.result import SolveResult
from kryloset.krylov.state import SolverState

TRIAL_SYSTEMS = 3
"""Systems on which a strategy is tried. On the first it allocates memory and makes orderings."""

CLOSE = 1.5
"""Two systems are enough if a strategy takes more than this many times the best one's seconds."""

PROMPT = 3
"""Number of strategies that are tried before one is chosen."""

LABORIOUS = 6
"""Where the first strategy of several lanes takes more iterations, the second is tried at once.
Elsewhere it waits for `INTERVAL` ensembles: its analysis takes as long as a few of them."""

CAP = 2.0
"""A trial ends when its iterations have taken this many times the best strategy's seconds."""

HOPELESS = 3.0
"""It ends early if the iterations are expected to take this many times the best one's seconds."""

ALLOWANCE = 0.005
"""Fraction of the whole time that later trials may take beyond the time of the best strategy."""

INTERVAL = 10
"""Systems between two decisions on such a trial, and on which strategy is used."""

MEDIAN_SYSTEMS = 5
"""Number of a strategy's last systems whose median time counts, so that an outlier does not."""


def choose(state: AutomaticState) -> tuple[int, bool, AutomaticState]:
    """Choose the strategy for the next system.

    Returns:
        Its number, whether this is a later trial, and the state after the decision.
    """
    there = [number for number, held in enumerate(state.states) if held is not None]
    together = state.together
    least = 1 if together else 2
    best = state.best
    usual = state.usual[best]
    price = _price_of_factor(state)
    # There are few ensembles: all that are due are tried once before one is tried twice.
    for number in sorted(there, key=lambda i: state.trials[i]) if together else there:
        trials = state.trials[number]
        if trials == 0:
            hopeless = state.strategies[number].method == "direct" and price > CAP * usual
            due = _is_next(state, number) if together else number < PROMPT and not hopeless
        else:
            close = state.usual[number] <= CLOSE * usual
            due = trials < least or (trials < TRIAL_SYSTEMS - together and close)
        if due:
            return number, not together and number >= PROMPT, state
    state = replace(state, current=best, until=len(state.choices) + INTERVAL)
    # Try a strategy that has not been tried yet, or else the closest rival.
    excess = {}
    for number in there:
        if number == best:
            continue
        if state.trials[number]:
            excess[number] = max(state.usual[number] - usual, 0.0)
        else:
            # Iterations can be stopped in time, a set-up cannot.
            strategy = state.strategies[number]
            costly = strategy.method == "direct" or strategy.refresh != "always"
            excess[number] = HOPELESS * usual + costly * price
    left = ALLOWANCE * state.spent - state.overhead
    affordable = [number for number in excess if excess[number] <= left]
    if not affordable:
        return best, False, state
    rival = min(affordable, key=lambda number: (state.trials[number] > 0, excess[number]))
    return rival, True, replace(state, until=0 if state.trials[rival] == 0 else state.until)


def _is_next(state: AutomaticState, number: int) -> bool:
    """Return whether a strategy of ensembles is to be tried for the first time."""
    lanes = state.strategies[number].lanes
    if number == 0 or lanes == 1:
        return lanes > 1
    laborious = state.iterations > LABORIOUS * lanes * state.systems
    return state.systems >= INTERVAL or laborious


def _price_of_factor(state: AutomaticState) -> float:
    """Return the seconds that the factor of a reference preconditioner took; 0 before the first.

    They may include the analysis of the pattern, which is less than half of them.
    """
    prices = [
        held.ski_rental.price
        for strategy, held in zip(state.strategies, state.states, strict=True)
        if held is not None and strategy.preconditioner in FACTORS and held.ski_rental.price > 0.0
    ]
    return min(prices, default=0.0)


def give_up(state: AutomaticState, number: int) -> AutomaticState:
    """Return the state after a strategy has failed.

    Its own state is dropped, unless it has solved systems: then a replay needs it.
    """
    states = state.states
    if number not in state.choices:
        states = _put(states, number, None)
    return replace(
        state,
        states=states,
        usual=_put(state.usual, number, math.inf),
        trials=_put(state.trials, number, TRIAL_SYSTEMS),
        until=0,
    )


def settle(
    state: AutomaticState,
    number: int,
    result: SolveResult,
    after: SolverState | None,
    seconds: float,
    spent: float,
    extra: bool,
) -> AutomaticState:
    """Return the state after a system.

    Args:
        state: before the system.
        number: number of the strategy that solved it, or that was tried last.
        result: the result of that strategy.
        after: the strategy's next state; None if no strategy solved the system.
        seconds: seconds that the strategy took.
        spent: seconds of all strategies that were tried on the system.
        extra: whether it was a later trial.
    """
    turns, recent, usual = state.trials[number], state.recent, state.usual
    overhead = state.overhead
    if extra:
        overhead += max(spent - state.usual[state.current], 0.0)
    # A zero right-hand side says nothing about the strategy.
    if after is not None and result.operator_applications:
        # On the first system it allocated memory and made orderings; only later ones count. The
        # seconds of an ensemble are without its analysis.
        before = recent[number][1 - MEDIAN_SYSTEMS :] if turns > 1 or state.together else ()
        recent = _put(recent, number, (*before, seconds))
        usual = _put(usual, number, sorted(recent[number])[len(before) // 2])
        turns = min(turns + 1, TRIAL_SYSTEMS)
    states = state.states if after is None else _put(state.states, number, after)
    if state.together and number == state.current:
        # Preconditioners of ensembles are large: those that are not in use go.
        others = (held and fast_replace(held, workspace=None) for held in states)
        states = _put(tuple(others), number, states[number])
    return fast_replace(
        state,
        states=states,
        trials=_put(state.trials, number, turns),
        recent=recent,
        usual=usual,
        spent=state.spent + spent,
        overhead=overhead,
        choices=state.choices.plus(number),
        failures=state.failures + result.failures,
        iterations=state.iterations + result.iterations,
        operator_applications=state.operator_applications + result.operator_applications,
        preconditioner_applications=(
            state.preconditioner_applications + result.preconditioner_applications
        ),
    )


def sampled(
    state: AutomaticState, number: int, seconds: float | None, spent: float
) -> AutomaticState:
    """Return the state after a strategy was tried on lanes of an ensemble, whose results are lost.

    Args:
        state: before that.
        number: of the strategy.
        seconds: what it would take for the ensemble; None if it failed.
        spent: seconds of the trial.
    """
    state = replace(state, spent=state.spent + spent, overhead=state.overhead + spent)
    if seconds is None:
        return give_up(state, number)
    return replace(
        state,
        recent=_put(state.recent, number, (seconds,)),
        usual=_put(state.usual, number, seconds),
        trials=_put(state.trials, number, TRIAL_SYSTEMS),
    )


def _put[T](values: tuple[T, ...], number: int, value: T) -> tuple[T, ...]:
    """Return the values with the one of a number replaced."""
    return (*values[:number], value, *values[number + 1 :])
