# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Choosing a strategy by the statistics of earlier solves: a contextual bandit, as a value.

What a solver knows of its own work, such as its steps and how its error fell, tells how hard the
next problem is: A. Pal, Y. Ma, V. Shah and C. Rackauckas, "Opening the blackbox: accelerating
neural differential equations by regularizing internal solver heuristics" (ICML 2021).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]

TRIALS = 3
"""Systems that each strategy solves before statistics decide."""

OPTIMISM = 0.1
"""Of LinUCB, in logarithms of seconds: about what repeated solves differ by."""


@dataclass(frozen=True)
class Statistics:
    """What a solve says of itself.

    Attributes:
        iterations: That it took.
        seconds: That it took.
        bend: Share of the iterations that the first half of the digits took: half if the residual
            fell evenly, more if it fell faster and faster.
    """

    iterations: int
    seconds: float
    bend: float

    @classmethod
    def of(cls, iterations: int, seconds: float, residuals: Sequence[float]) -> Self:
        """Return those of a solve, from its residuals by iteration; there may be none."""
        bend = 0.5
        if len(residuals) > 2 and 0.0 < residuals[-1] < residuals[0]:
            middle = math.sqrt(residuals[0] * residuals[-1])
            first = next(step for step, size in enumerate(residuals) if size <= middle)
            bend = first / (len(residuals) - 1)
        return cls(iterations, seconds, bend)

    @property
    def features(self) -> tuple[float, float, float]:
        """Numbers of about unit size."""
        return math.log1p(self.iterations), math.log(self.seconds), self.bend


@dataclass(frozen=True, eq=False)
class StatisticsPolicy:
    """LinUCB for the logarithm of a strategy's seconds, linear in statistics of the last solve.

    L. Li, W. Chu, J. Langford and R. E. Schapire, "A contextual-bandit approach to personalized
    news article recommendation" (WWW 2010), algorithm 1. What statistics mean depends on the
    strategy that solved the last system, so each has coefficients of its own.

    Attributes:
        last: The last strategy, and its statistics; None before the first system.
        grams: (strategies, features, features), sums of f f', and the identity.
        moments: (strategies, features), sums of f log(seconds).
        trials: How many systems each strategy has solved.
        blind: Whether statistics are left out, which makes it a bandit without a context.
    """

    last: tuple[int, Statistics] | None
    grams: Array
    moments: Array
    trials: tuple[int, ...]
    blind: bool = False

    @classmethod
    def start(cls, strategies: int, *, blind: bool = False) -> Self:
        """Return a policy that has seen nothing."""
        size = 1 if blind else 4 * strategies
        grams = np.tile(np.eye(size), (strategies, 1, 1))
        return cls(None, grams, np.zeros((strategies, size)), (0,) * strategies, blind)

    def choose(self) -> int:
        """Return the number of the strategy for the next system."""
        fewest = min(self.trials)
        if fewest < TRIALS:
            return self.trials.index(fewest)
        f = self._features()
        inverses = np.linalg.inv(self.grams)
        expected = np.einsum("ijk,ik,j->i", inverses, self.moments, f)
        spread = np.sqrt(np.einsum("ijk,j,k->i", inverses, f, f))
        return int(np.argmin(expected - OPTIMISM * spread))

    def after(self, number: int, found: Statistics) -> Self:
        """Return the policy after a strategy has solved a system."""
        f, grams, moments = self._features(), self.grams.copy(), self.moments.copy()
        grams[number] += np.outer(f, f)
        moments[number] += math.log(found.seconds) * f
        return replace(
            self,
            last=(number, found),
            grams=grams,
            moments=moments,
            trials=tuple(n + (i == number) for i, n in enumerate(self.trials)),
        )

    def _features(self) -> Array:
        if self.blind:
            return np.ones(1)
        features = np.zeros((len(self.trials), 4))
        if self.last is not None:
            number, found = self.last
            features[number] = (1.0, *found.features)
        return features.ravel()


def replay(
    policy: StatisticsPolicy, table: Sequence[Sequence[Statistics]]
) -> tuple[list[int], float]:
    """Let a policy choose, system by system, where it is known what each strategy takes.

    Args:
        policy: Before the first system.
        table: Statistics of each system by each strategy.

    Returns:
        The choices, and the seconds that they take.
    """
    choices, seconds = [], 0.0
    for row in table:
        number = policy.choose()
        policy = policy.after(number, row[number])
        choices.append(number)
        seconds += row[number].seconds
    return choices, seconds
