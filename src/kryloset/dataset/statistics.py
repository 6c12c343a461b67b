# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Mean and variance of a quantity from one pass over it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Moments:
    """Count, mean, sum of squared deviations and range of all values added.

    Parts are combined by the update of Chan, Golub and LeVeque ("Algorithms for computing the
    sample variance", The American Statistician 37, 1983, eq. 2.1), which stays accurate if the
    mean is large compared to the deviation.

    Mean and squares are those of the values divided by 2^exponent, which is exact. The largest
    magnitude is then 0 or between 1/2 and 1, so that no square overflows and none that matters
    underflows.
    """

    count: int = 0
    exponent: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: NDArray[np.float64]) -> None:
        """Add an array of any shape, which may be empty."""
        if not values.size:
            return
        self._rescale(values)
        values = np.ldexp(values, -self.exponent)
        mean, count = float(values.mean()), self.count + values.size
        delta = mean - self.mean
        self.squares += float(np.square(values - mean).sum())
        self.squares += delta**2 * self.count * values.size / count
        self.mean += delta * values.size / count
        self.count = count

    def _rescale(self, values: NDArray[np.float64]) -> None:
        """Extend the range to new values, and adapt the exponent of the sums to them."""
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        largest = max(abs(self.minimum), abs(self.maximum))
        exponent = math.frexp(largest)[1] if math.isfinite(largest) else self.exponent
        change = self.exponent - exponent
        self.mean = math.ldexp(self.mean, change)
        self.squares = math.ldexp(self.squares, 2 * change)
        self.exponent = exponent

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
