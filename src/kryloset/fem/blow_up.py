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
    """Follows the norm of the state from step to step, in any unit.

    Attributes:
        norm: Of the present state.
    """

    def __init__(self, norm: float) -> None:
        """Begin at the initial state.

        Args:
            norm: Its norm.
        """
        self.norm = norm
        self._steps = 0
        self._before = norm

    def add(self, norm: float) -> None:
        """Add a step.

        Args:
            norm: Of the state after it; may be infinite or NaN.
        """
        # Growth from zero has no factor. NaN compares false and continues a run.
        if norm <= GROWTH_IN_STEP * self.norm or not self.norm:
            self._steps, self._before = 0, norm
        else:
            self._steps += 1
        self.norm = norm

    @property
    def blown(self) -> bool:
        """Whether the last states have grown faster than any solution does."""
        if not math.isfinite(self.norm):
            return True
        return self._steps >= STEPS_IN_ROW and self.norm > GROWTH_IN_ALL * self._before

    def describe(self) -> str:
        """Describe how far the state has grown, and what to do."""
        steps = f"{self._steps} step{'s' if self._steps > 1 else ''}"
        return (
            f"the trajectory blows up, from {self._before:.3g} to {self.norm:.3g} in {steps}: "
            "take shorter steps (more parameters.steps), or treat more of the terms implicitly"
        )
