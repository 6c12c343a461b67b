# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The ski-rental rule: when a new preconditioner is worth its price."""

from dataclasses import dataclass
from typing import Self

from kryloset.krylov.fast_replace import fast_replace
from kryloset.krylov.reuse.recent_mean import recent_mean

FIRST_NEIGHBOURS = 3
"""Neighbours after a refresh whose iterations show what a new preconditioner would lead to."""

NEWEST_WEIGHT = 0.2
"""Weight of the newest figure in a mean over recent ones."""


@dataclass(frozen=True)
class SkiRental:
    """The account of the ski-rental rule: what a reference has cost its neighbours. A value.

    A system of i iterations costs s (i - level) seconds more than it would with a new
    preconditioner, where s is the time of an iteration and level the iterations that a new one
    would lead to: the mean iterations of the first `FIRST_NEIGHBOURS` neighbours of recent
    references or, if they are fewer, the iterations of the reference's own system plus the price
    of a refresh. The sum of these costs since the last refresh, never less than zero, is owed. When
    it reaches the price of a refresh, a new preconditioner is due.

    Suppose that a newer reference never leads to more iterations than an older one. Then any rule
    pays the price at least once in the time in which this rule comes to owe it, so that this one
    costs at most 2 + e times as much as the best rule that knows the future, where e is the
    largest cost of one system over the price (R. Karlin, M. Manasse, L. Rudolph and D. Sleator,
    "Competitive snoopy caching", Algorithmica 3, 1988; for the acknowledgement of packets D. Dooly,
    S. Goldman and S. Scott, J. ACM 48, 2001). Independent systems owe nothing on average and keep
    their reference.

    Seconds are the processor's, so that other work on the machine does not count.

    Attributes:
        price: seconds of a refresh, a mean over recent ones.
        step: seconds of an iteration, a mean over recent systems.
        own: iterations of the reference's own system.
        young: mean iterations of the first neighbours; 0 before the first.
        age: systems since the reference's own.
        owed: seconds.
    """

    price: float = 0.0
    step: float = 0.0
    own: float = 0.0
    young: float = 0.0
    age: int = 0
    owed: float = 0.0

    @property
    def due(self) -> bool:
        """Whether the price of a refresh is owed."""
        return self.owed > 0.0 and self.owed >= self.price

    def after_refresh(self, iterations: int, price: float, seconds: float) -> Self:
        """Return the account after the own system of a new reference.

        Args:
            iterations: iterations of its solve.
            price: seconds of the set-up.
            seconds: seconds of the iterations.
        """
        return fast_replace(
            self,
            price=recent_mean(self.price, price, NEWEST_WEIGHT),
            # Only the first time, when there is no better estimate.
            step=self.step or seconds / max(iterations, 1),
            own=float(iterations),
            age=0,
            owed=0.0,
        )

    def after_neighbour(self, iterations: int, seconds: float) -> Self:
        """Return the account after a system that used the reference's preconditioner."""
        first = self.young == 0.0
        step = seconds / max(iterations, 1)
        # The reference's own system takes too few iterations to tell the time of one.
        step = step if first else recent_mean(self.step, step, NEWEST_WEIGHT)
        young = self.young
        if self.age < FIRST_NEIGHBOURS:
            young = recent_mean(young, iterations, NEWEST_WEIGHT)
        level = min(young, self.own + self.price / step) if step > 0.0 else young
        owed = max(self.owed + step * (iterations - level), 0.0)
        return fast_replace(self, step=step, young=young, age=self.age + 1, owed=owed)
