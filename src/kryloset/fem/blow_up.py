# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A trajectory that blows up: its states grow by a large factor in each of many steps."""

import math

#: Growth in a step that a time step this long does not resolve, if one follows the other.
FACTOR = 1.5
#: Such steps in a row that make a run; a source that sets in makes some.
LEAST = 12
#: Growth in a run that no trajectory of the equation has.
BLOWN = 1e9


class Growth:
    """Follows the largest number of the state from step to step, whatever its unit.

    Attributes:
        largest: Of the present state.
    """

    def __init__(self, largest: float) -> None:
        """Begin at the initial state.

        Args:
            largest: Its largest number.
        """
        self.largest = largest
        self._steps = 0
        self._before = largest

    def add(self, largest: float) -> None:
        """Follow a step.

        Args:
            largest: The largest number of the state after it; not finite where it has no such.
        """
        # From nothing to something is no growth that has a factor; NaN continues any.
        if largest <= FACTOR * self.largest or not self.largest:
            self._steps, self._before = 0, largest
        else:
            self._steps += 1
        self.largest = largest

    @property
    def blown(self) -> bool:
        """Whether the states of the last steps have grown as no solution does."""
        if not math.isfinite(self.largest):
            return True
        return self._steps >= LEAST and self.largest > BLOWN * self._before

    def describe(self) -> str:
        """Return in words how far the state has grown, and what to do."""
        steps = f"{self._steps} step{'s' if self._steps > 1 else ''}"
        return (
            f"the trajectory blows up, from {self._before:.3g} to {self.largest:.3g} in {steps}: "
            "take shorter steps (more parameters.steps), or treat more of the terms implicitly"
        )
