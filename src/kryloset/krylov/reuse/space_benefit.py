# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whether a recycled space is worth using, judged by the iterations with it and without."""

from dataclasses import dataclass, replace
from typing import Self

from kryloset.krylov.reuse.recent_mean import recent_mean

JUDGED_AFTER = 3
"""Systems solved with a space before it is judged, since the first spaces are poor."""

RETRY_AFTER = 8
"""Systems solved without a space after one was not worth it; doubled each time."""

NEWEST_WEIGHT = 0.5
"""Weight of the newest system in the means."""


@dataclass(frozen=True)
class SpaceBenefit:
    """The iterations of systems with and without a recycled space: a value.

    A space takes room from each cycle. On strongly nonnormal sequences it saves less than new
    directions would, and is then set aside for a while. Counts decide, not seconds, so that the
    same systems are always solved in the same way. The k products that fit a space to a new
    operator are not counted: they depend on the k that the user chose.

    Attributes:
        without: mean over recent systems solved without a space, 0 before the first.
        using: mean over recent systems solved with one.
        trials: systems solved with the space since it was last taken up.
        waiting: systems still to be solved without it.
        refusals: how often it was set aside.
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
            without = recent_mean(self.without, iterations, NEWEST_WEIGHT)
            return replace(self, without=without, waiting=max(self.waiting - 1, 0))
        using, trials = recent_mean(self.using, iterations, NEWEST_WEIGHT), self.trials + 1
        if trials < JUDGED_AFTER or self.without == 0.0 or using <= self.without:
            return replace(self, using=using, trials=trials)
        return replace(
            self,
            using=0.0,
            trials=0,
            waiting=RETRY_AFTER * 2**self.refusals,
            refusals=self.refusals + 1,
        )
