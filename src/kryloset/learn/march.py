# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How operators go along the trajectories of a dataset.

To predict several states at once is the temporal bundling of Brandstetter et al., "Message passing
neural PDE solvers", ICLR 2022.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import ConfigError, DataError

#: Steps of an operator over a trajectory, unless the configuration says how long they are.
USUAL_STEPS = 20


@dataclass(frozen=True)
class March:
    """From which states of a trajectory an operator predicts the next one.

    Attributes:
        window: Number of these states; 0 for an operator from the parameters to the last state.
        stride: Time steps of the dataset from one state to the next.
        bundle: Number of states that it predicts at once, of at most as many.
    """

    window: int = 0
    stride: int = 1
    bundle: int = 1

    @classmethod
    def choose(
        cls,
        times: NDArray[np.float64] | None,
        window: int | None = None,
        stride: int | None = None,
        bundle: int = 1,
        *,
        steps: int = 1,
    ) -> Self:
        """Return what is configured, or what suits a dataset.

        By default, an operator sees as many states as it predicts, and there are at most
        `USUAL_STEPS` from the beginning of a trajectory to its end.

        Args:
            times: Times of the stored states; None for a steady problem.
            window: `training.window`.
            stride: `training.stride`.
            bundle: `training.bundle`.
            steps: `training.steps`.

        Raises:
            ConfigError: There are no trajectories, or none that are so long; or more states are
                predicted than are seen.
        """
        last = 0 if times is None or not _are_even(times) else len(times) - 1
        usual = window is None and stride is None and bundle == steps == 1
        if window == 0 or (usual and not last):
            return cls()
        found = cls(window or bundle, stride or max(1, ceil(last / USUAL_STEPS)), bundle)
        if bundle > found.window:
            raise ConfigError(
                f"training.bundle: {bundle} states are predicted from at least as many, and "
                f"training.window is {window}: raise it, or leave it out"
            )
        needed = (found.window + steps * bundle - 1) * found.stride
        if needed > last:
            has = f"a trajectory has {last}" if last else "the family has none of one length"
            needs = f"{needed} time step{'' if needed == 1 else 's'}"
            raise ConfigError(
                f"training.window {found.window}, stride {found.stride}, bundle {bundle} and steps "
                f"{steps} need {needs}, and {has}: lower them, or leave them out"
            )
        return found

    @classmethod
    def along(
        cls, times: NDArray[np.float64] | None, window: int, bundle: int, time_step: float
    ) -> Self:
        """Return how an operator with states so far apart goes along other trajectories.

        Args:
            times: Times of the stored states; None for a steady problem.
            window: States that it sees.
            bundle: States that it predicts at once.
            time_step: Time from one of its states to the next.

        Raises:
            DataError: That is no whole number of time steps of the dataset, or those differ.
        """
        if times is None:
            raise DataError("the model needs states of a trajectory, and it has no time steps")
        if not _are_even(times):
            raise DataError("the model takes equal steps in time, and its time steps differ")
        own = float(times[1] - times[0])
        stride = round(time_step / own)
        if stride < 1 or abs(stride * own - time_step) > 1e-6 * time_step:
            raise DataError(
                f"the model takes steps of {time_step:g} in time, which is no whole number of its "
                f"time steps of {own:g}"
            )
        return cls(window, stride, bundle)


@dataclass(frozen=True)
class Walk:
    """Which states of a trajectory the items of a split have: all of one instance, then the next.

    Attributes:
        starts: The states at which items begin.
        known: The states among the inputs of an item, counted from that at which it begins.
        later: Those of its outputs, in the same way.
        steps: Steps of an item.
        several: Whether outputs have an axis of steps.
    """

    starts: range
    known: tuple[int, ...]
    later: tuple[int, ...]
    steps: int
    several: bool

    @classmethod
    def find(cls, path: Path, states: int, march: March, steps: int | None) -> Self:
        """Return that along trajectories, or the last state alone if there is no window.

        Args:
            path: The dataset's file.
            states: States of a trajectory.
            march: Which of them an item has.
            steps: Steps of an item; None for all that there are, from the first state.

        Raises:
            DataError: There are not so many states.
        """
        if not march.window:
            return cls(range(states - 1, states), (), (0,), 1, several=steps is None)
        if march.bundle > march.window:
            raise DataError(
                f"{path}: {march.bundle} states are predicted from at least as many, and the "
                f"window has {march.window}"
            )
        stride, bundle = max(march.stride, 1), max(march.bundle, 1)
        found = ((states - 1) // stride + 1 - march.window) // bundle if steps is None else steps
        count = march.window + max(found, 1) * bundle
        starts = range(states - (count - 1) * stride)
        if not starts or min(found, march.window, march.stride, march.bundle) < 1:
            has = f"{states} states" if states > 1 else "no time steps"
            raise DataError(
                f"{path} has {has}: there are no {count} that are {march.stride} steps apart"
            )
        places = tuple(stride * state for state in range(count))
        known, later = places[: march.window], places[march.window :]
        first = starts if steps is not None else range(1)
        return cls(first, known, later, found, several=steps is None or steps > 1)

    @property
    def present(self) -> int:
        """The latest state among the inputs, counted from that at which an item begins."""
        return max(self.known, default=0)

    def times(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the times of the states of the first item of an instance."""
        return times[[self.starts.start + state for state in (*self.known, *self.later)]]

    def place(
        self, items: Iterable[int], instances: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return of each item its instance, and the state at which it begins.

        Args:
            items: Their numbers, which may be counted from the end.
            instances: Number of the instances of the split.

        Raises:
            IndexError: There is no such item.
        """
        found, count = np.fromiter(items, np.intp), instances * len(self.starts)
        if len(found) and not -count <= found.min() <= found.max() < count:
            raise IndexError(f"there is no such item: the split has {count} items")
        numbers, starts = np.divmod(found % count, len(self.starts))
        return numbers, starts + self.starts.start


def _are_even(times: NDArray[np.float64]) -> bool:
    steps = np.diff(times)
    return np.allclose(steps, steps[:1], rtol=1e-6)


#: From the parameters to the last state.
STEADY = March()
