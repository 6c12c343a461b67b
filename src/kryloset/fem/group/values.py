# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The values of changing coefficients for all lanes of a group."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.krylov.ensemble.vectors import zeros

type Coefficient = fem.Function | fem.Constant
type Numbers = NDArray[np.float64]


class GroupValues:
    """The values of Functions and Constants for each lane.

    With one lane, the arrays are those of the Functions and Constants themselves.

    Attributes:
        changing: The Functions and Constants.
        lanes: Number of instances, 1 or the width of an ensemble.
    """

    def __init__(self, changing: Sequence[Coefficient], lanes: int) -> None:
        """Begin with the present values in all lanes."""
        self.changing, self.lanes = list(changing), lanes
        own = [numbers_of(coefficient)[:, None] for coefficient in changing]
        self._arrays = own if lanes == 1 else [np.broadcast_to(a, (len(a), lanes)) for a in own]
        if lanes > 1:
            for number, array in enumerate(self._arrays):
                self._arrays[number] = zeros(*array.shape)
                self._arrays[number][:] = array

    def __getitem__(self, coefficient: Coefficient) -> Numbers:
        """Return the values of one, (numbers, lanes), to read and to write."""
        found = self.find(coefficient._cpp_object)
        if found is None:
            raise KeyError("the coefficient is not one of those that change")
        return found

    def find(self, cpp_object: Any) -> Numbers | None:
        """Return the values of the coefficient that DOLFINx holds as an object, or None."""
        for coefficient, array in zip(self.changing, self._arrays, strict=True):
            if coefficient._cpp_object is cpp_object:
                return array
        return None

    def take(self, lane: int) -> None:
        """Give a lane the present values of the Functions and Constants."""
        if self.lanes > 1:
            for coefficient, array in zip(self.changing, self._arrays, strict=True):
                array[:, lane] = numbers_of(coefficient)

    def give(self, lane: int) -> None:
        """Give the Functions and Constants the values of a lane."""
        if self.lanes > 1:
            for coefficient, array in zip(self.changing, self._arrays, strict=True):
                numbers_of(coefficient)[:] = array[:, lane]


def numbers_of(coefficient: Coefficient) -> NDArray[Any]:
    """Return the values of a coefficient as a view."""
    function = isinstance(coefficient, fem.Function)
    return np.asarray(coefficient.x.array if function else coefficient.value).reshape(-1)
