# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The states of a trajectory among the inputs of an operator, which predicts the next one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def name_state(channels: tuple[str, ...], number: int, states: int) -> tuple[str, ...]:
    """Return the names of channels at one of several states, which end with its number.

    Args:
        channels: Names of the channels.
        number: That of the state.
        states: How many there are. A single one needs no number.
    """
    return tuple(f"{channel}_{number}" for channel in channels) if states > 1 else channels


@dataclass(frozen=True)
class States:
    """Which channels of the inputs are states of a trajectory.

    Inputs and outputs are those on a grid. At points they are (P, C) and (P, K) in the same way.

    Attributes:
        first: Place of the first channel of the earliest state.
        window: Number of states, of which the last one comes last.
        fields: Channels of each state.
        bundle: Number of states that are predicted at once. They are K channels in all.
    """

    first: int
    window: int
    fields: int
    bundle: int = 1

    @property
    def end(self) -> int:
        """Place of the first channel after the last state."""
        return self.first + self.window * self.fields

    @property
    def latest(self) -> slice:
        """Places of the channels of the last states, as many as are predicted at once."""
        return slice(self.end - self.bundle * self.fields, self.end)

    def last(self, x: Tensor) -> Tensor:
        """Return the last known states (N, K, *grid) of inputs (N, C, *grid)."""
        return x[:, self.latest]

    def advance(self, x: Tensor, state: Tensor) -> Tensor:
        """Return inputs (N, C, *grid) in which states come after the others, less the earliest.

        Args:
            x: Inputs (N, C, *grid).
            state: The next states, (N, K, *grid).
        """
        before = x[:, : self.first]
        known = x[:, self.first + self.bundle * self.fields : self.end]
        return torch.cat((before, known, state, x[:, self.end :]), dim=1)

    def roll_out(self, predict: Callable[[Tensor], Tensor], x: Tensor, steps: int) -> Tensor:
        """Apply an operator to what it has predicted, again and again.

        Args:
            predict: From inputs (N, C, *grid) to the next states (N, K, *grid).
            x: Inputs of the first step.
            steps: Number of steps S.

        Returns:
            The predicted states, (N, S, K, *grid).
        """
        found: list[Tensor] = []
        for _ in range(steps):
            if found:
                x = self.advance(x, found[-1])
            found.append(predict(x))
        return torch.stack(found, dim=1)

    def inputs(self, x: Tensor, later: Tensor) -> Tensor:
        """Return the inputs of each step along a known trajectory, (N, S, C, *grid).

        Args:
            x: Inputs of the first step, (N, C, *grid).
            later: The states after those of x, (N, S, K, *grid).
        """
        found = [x]
        for step in range(later.shape[1] - 1):
            found.append(self.advance(found[-1], later[:, step]))
        return torch.stack(found, dim=1)
