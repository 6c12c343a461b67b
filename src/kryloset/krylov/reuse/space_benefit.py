# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether a recycled space pays: judged by what systems have cost with it and without."""

from dataclasses import dataclass, replace
from typing import Self

TRIALS = 3
"""Systems solved with a space before it is judged: the first harvests are poor."""

RETRY = 8
"""Systems solved without after a space has not paid; doubled each time."""

MEMORY = 0.5
"""Weight of the newest system in the means."""


@dataclass(frozen=True)
class Gain:
    """The iterations of a system with and without a recycled space: a value.

    A space takes room from each cycle, and on strongly nonnormal sequences it gives less for
    that than new directions would: then it is set aside. Counts decide and not seconds, so
    that the same systems are always solved in the same way; the k products that fit a space
    to a new operator are left to whoever chooses k.

    Attributes:
        without: mean over recent systems solved without a space, 0 before the first.
        using: mean over recent systems solved with one.
        trials: systems solved with the space since it was last taken up.
        waiting: systems still to be solved without.
        refusals: how often a space has not paid.
    """

    without: float = 0.0
    using: float = 0.0
    trials: int = 0
    waiting: int = 0
    refusals: int = 0

    @property
    def expected(self) -> bool:
        """Whether the next system should use the space."""
        return self.waiting == 0

    def after(self, iterations: int, used: bool) -> Self:
        """Return the value after one more system."""
        if not used:
            without = _mean(self.without, iterations)
            return replace(self, without=without, waiting=max(self.waiting - 1, 0))
        using, trials = _mean(self.using, iterations), self.trials + 1
        if trials < TRIALS or self.without == 0.0 or using <= self.without:
            return replace(self, using=using, trials=trials)
        return replace(
            self,
            using=0.0,
            trials=0,
            waiting=RETRY * 2**self.refusals,
            refusals=self.refusals + 1,
        )


def _mean(before: float, value: float) -> float:
    return value if before == 0.0 else (1 - MEMORY) * before + MEMORY * value
