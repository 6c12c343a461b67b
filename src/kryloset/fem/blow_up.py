# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Detects a trajectory that blows up: a state that grows by a large factor in many steps."""

import math

#: Growth in one step that the time step does not resolve, if it occurs in many steps in a row.
GROWTH_IN_STEP = 1.5
#: Least number of such steps in a row. A source that sets in causes some.
STEPS_IN_ROW = 12
#: Growth over these steps that no solution of the equation has.
GROWTH_IN_ALL = 1e9


class Growth:
    """Follows the largest absolute value of the state from step to step, in any unit.

    Attributes:
        largest: Largest absolute value of the present state.
    """

    def __init__(self, largest: float) -> None:
        """Begin at the initial state.

        Args:
            largest: Its largest absolute value.
        """
        self.largest = largest
        self._steps = 0
        self._before = largest

    def add(self, largest: float) -> None:
        """Add a step.

        Args:
            largest: Largest absolute value of the state after it; may be infinite or NaN.
        """
        # Growth from zero has no factor. NaN compares false and continues a run.
        if largest <= GROWTH_IN_STEP * self.largest or not self.largest:
            self._steps, self._before = 0, largest
        else:
            self._steps += 1
        self.largest = largest

    @property
    def blown(self) -> bool:
        """Whether the last states have grown faster than any solution does."""
        if not math.isfinite(self.largest):
            return True
        return self._steps >= STEPS_IN_ROW and self.largest > GROWTH_IN_ALL * self._before

    def describe(self) -> str:
        """Describe how far the state has grown, and what to do."""
        steps = f"{self._steps} step{'s' if self._steps > 1 else ''}"
        return (
            f"the trajectory blows up, from {self._before:.3g} to {self.largest:.3g} in {steps}: "
            "take shorter steps (more parameters.steps), or treat more of the terms implicitly"
        )
