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

    Parts are joined by the update of Chan, Golub and LeVeque ("Algorithms for
    computing the sample variance", The American Statistician 37, 1983, eq. 2.1),
    which loses nothing where the mean is large against the deviation.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: NDArray[np.float64]) -> None:
        """Add an array of any shape."""
        mean, count = float(values.mean()), self.count + values.size
        delta = mean - self.mean
        self.squares += float(np.square(values - mean).sum())
        self.squares += delta**2 * self.count * values.size / count
        self.mean += delta * values.size / count
        self.count = count
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))

    def summary(self) -> dict[str, float]:
        """Return mean, std (of the population), rms, min and max."""
        variance = self.squares / self.count
        return {
            "mean": self.mean,
            "std": math.sqrt(variance),
            "rms": math.sqrt(variance + self.mean**2),
            "min": self.minimum,
            "max": self.maximum,
        }
