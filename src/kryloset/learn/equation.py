# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The equation of an instance: how far predicted states are from solving it.

The residual is that by which solutions are verified. It is 0 for the exact solution of the discrete
equation, and torch differentiates it: the unknowns are a selection of the predicted values, A x is
a sparse product, and `kryloset.learn.assembled` has what a family assembles.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from kryloset.learn.assembled import Assembled


@dataclass(frozen=True, eq=False)
class Equation(ABC):
    """The equation of an instance.

    Attributes:
        places: Where the values of the unknowns are in a predicted state as a vector, (n,).
        nbytes: Bytes of what belongs to this instance alone.
    """

    places: Tensor
    nbytes: int

    def residual(self, prediction: Tensor, states: Sequence[int] = (-1,)) -> Tensor:
        """Return the mean of `residuals`."""
        return self.residuals(prediction, states).mean()

    @abstractmethod
    def residuals(self, prediction: Tensor, states: Sequence[int] = (-1,)) -> Tensor:
        """Return the relative residual of each of M predicted states, (M,).

        Args:
            prediction: (K, *grid), or at the nodes of a mesh (P, K); of several states, one after
                another.
            states: The numbers of the states in their trajectory; -1 for the last, or the only one.
        """

    def unknowns(self, prediction: Tensor, count: int) -> Tensor:
        """Return the unknowns of some predicted states, (count, n), in float64."""
        return prediction.to(torch.float64).reshape(count, -1)[:, self.places]

    def to(self, device: torch.device) -> Self:
        """Return the same equation on another device."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        moved = {n: part.to(device) for n, part in parts.items() if isinstance(part, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class LinearEquation(Equation):
    """One linear system A x = b, whose residual is ||b - A x|| / ||b||, or ||A x|| if b = 0.

    Attributes:
        matrix: A, (n, n), sparse, in float64.
        rhs: b, (n,), in float64.
    """

    matrix: Tensor
    rhs: Tensor

    def residuals(self, prediction: Tensor, states: Sequence[int] = (-1,)) -> Tensor:
        """Return the residual, (1,)."""
        (x,) = self.unknowns(prediction, len(states))
        return _relative(self.rhs - self.matrix @ x, self.rhs)[None]


@dataclass(frozen=True, eq=False)
class NonlinearEquation(Equation):
    """A nonlinear system F(u) = 0, whose residual is ||F(u)|| / ||F(0)||, or ||F(u)|| if F(0) = 0.

    Attributes:
        function: F.
        zero: F(0), (n,), in float64.
    """

    function: Assembled
    zero: Tensor

    def residuals(self, prediction: Tensor, states: Sequence[int] = (-1,)) -> Tensor:
        """Return the residual, (1,)."""
        (u,) = self.unknowns(prediction, len(states))
        return _relative(self.function(u), self.zero)[None]


@dataclass(frozen=True, eq=False)
class SteppedEquation(Equation):
    """A linear system A u_k = b(u_{k-1}, ...) for each time step, with the same A.

    The residual of a predicted state u_k is ||b - A u_k|| / ||b||. The states before it are those
    predicted with it, as far as they are, one before another; and stored ones otherwise.

    Attributes:
        matrix: A, (n, n), sparse, in float64.
        step: Returns b as a function of the states before, of the step to a state of some number.
        stored: Returns the unknowns of a stored state, (n,), in float64, by its number.
        levels: Number of states that b depends on.
        count: Number of states of the trajectory, the initial one included, which is also the one
            before itself.
    """

    matrix: Tensor
    step: Callable[[int], Assembled]
    stored: Callable[[int], Tensor]
    levels: int
    count: int

    def residuals(self, prediction: Tensor, states: Sequence[int] = (-1,)) -> Tensor:
        """Return the residual of each step, (M,)."""
        numbers = [number % self.count for number in states]
        predicted = dict(zip(numbers, self.unknowns(prediction, len(numbers)), strict=True))
        found = []
        for number, u in predicted.items():
            rhs = self.step(number)(*self._before(number, predicted, u.device))
            found.append(_relative(rhs - self.matrix @ u, rhs))
        return torch.stack(found)

    def _before(
        self, number: int, predicted: dict[int, Tensor], device: torch.device
    ) -> list[Tensor]:
        """Return the states before one, the latest first."""
        before, unbroken = [], True
        for earlier in (max(number - level, 0) for level in range(1, self.levels + 1)):
            unbroken = unbroken and earlier in predicted
            before.append(predicted[earlier] if unbroken else self.stored(earlier).to(device))
        return before


def _relative(difference: Tensor, size: Tensor) -> Tensor:
    """Return ||difference|| / ||size||, or ||difference|| if the size is 0."""
    norm = size.norm()
    return difference.norm() / torch.where(norm > 0, norm, 1)
