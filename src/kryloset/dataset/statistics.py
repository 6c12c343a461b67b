# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Mean and variance of a quantity from one pass over it, in parts that are merged."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

#: Base-2 logarithm up to which numbers are not scaled: sums of their squares do not overflow, and
#: what underflows does not matter.
_UNSCALED = 256


@dataclass
class Moments:
    """Count, mean, sum of squared deviations and range of all values added.

    Mean and squares are those of the values divided by 2^exponent, which is exact. The exponent is
    0, unless the values are so large or so small that their squares would overflow or underflow.
    """

    count: int = 0
    exponent: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """Return the moments of an array of any shape, which may be empty."""
        if not values.size:
            return cls()
        minimum, maximum = float(values.min()), float(values.max())
        largest = max(abs(minimum), abs(maximum))
        exponent = math.frexp(largest)[1] if math.isfinite(largest) else 0
        if abs(exponent) <= _UNSCALED:
            exponent = 0
        else:
            values = np.ldexp(values, -exponent)
        mean = float(values.mean())
        squares = float(np.square(values - mean).sum())
        return cls(values.size, exponent, mean, squares, minimum, maximum)

    def add(self, values: NDArray[np.float64]) -> None:
        """Add an array of any shape, which may be empty."""
        self.merge(self.of(values))

    def merge(self, other: Self) -> None:
        """Add all values of other moments.

        This is the update of Chan, Golub and LeVeque ("Algorithms for computing the sample
        variance", The American Statistician 37, 1983, eq. 2.1), which stays accurate if the mean is
        large compared to the deviation.
        """
        if not other.count:
            return
        exponent = max(self.exponent, other.exponent) if self.count else other.exponent
        mean, squares = self._scaled(exponent)
        mean_other, squares_other = other._scaled(exponent)
        count, delta = self.count + other.count, mean_other - mean
        self.mean = mean + delta * other.count / count
        self.squares = squares + squares_other + delta**2 * self.count * other.count / count
        self.count, self.exponent = count, exponent
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def _scaled(self, exponent: int) -> tuple[float, float]:
        """Return mean and squares of the values divided by another power of two."""
        change = self.exponent - exponent
        return math.ldexp(self.mean, change), math.ldexp(self.squares, 2 * change)

    def summary(self) -> dict[str, float]:
        """Return mean, std (of the population), rms, min and max."""
        variance = self.squares / self.count
        return {
            "mean": math.ldexp(self.mean, self.exponent),
            "std": math.ldexp(math.sqrt(variance), self.exponent),
            "rms": math.ldexp(math.sqrt(variance + self.mean**2), self.exponent),
            "min": self.minimum,
            "max": self.maximum,
        }
