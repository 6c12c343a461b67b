# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Generators that return chosen numbers, which show the linear map of a random field."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]


class Chosen:
    """A substitute for a generator, whose "random" normal numbers are given."""

    def __init__(self, numbers: Array) -> None:
        """Keep the numbers."""
        self.numbers = numbers

    def standard_normal(self, size: Any) -> Array:
        """Return the numbers in the shape asked for."""
        return self.numbers.reshape(size)


def exact_covariance(draw: Callable[[Any], Array], count: int) -> Array:
    """Return the covariance of all values that `draw` makes from `count` normal numbers.

    A Gaussian field is linear in its numbers; its covariance is that map times its transpose.
    """
    columns = [draw(Chosen(row)).ravel() for row in np.eye(count)]
    return np.transpose(columns) @ np.array(columns)
