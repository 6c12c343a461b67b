# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random polynomials: truncated series of Chebyshev polynomials."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from kryloset.sampling.portable import multiply

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class ChebyshevSeries:
    r"""A random polynomial on $[0, 1]^d$ with uniform Chebyshev coefficients.

    $$ p(x) = \sum_{0 \le k_a \le n} c_k \prod_{a=1}^d T_{k_a}(2 x_a - 1), \qquad
       c_k \sim U(-1, 1) \text{ independent}. $$

    As $|T_k| \le 1$ on $[-1, 1]$, $|p| \le \sum |c_k| \le (n + 1)^d$.

    Attributes:
        degree: $n \ge 0$, along each axis.
        dimension: $d$, 1, 2 or 3.

    Raises:
        ValueError: A setting is out of its range.
    """

    degree: int
    dimension: int = 1

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.degree < 0:
            raise ValueError(f"degree {self.degree} is negative")
        if self.dimension not in _EVALUATORS:
            raise ValueError(f"dimension {self.dimension} is not 1, 2 or 3")

    def draw(self, generator: "np.random.Generator") -> Array:
        """Draw the coefficients c, shape (degree + 1,) * dimension."""
        return generator.uniform(-1.0, 1.0, size=(self.degree + 1,) * self.dimension)

    def evaluate(self, coefficients: Array, *coordinates: ArrayLike) -> Array:
        """Evaluate a polynomial at points.

        Args:
            coefficients: Coefficients, as `draw` returns them.
            coordinates: An array for each axis, with values from 0 to 1 and shapes that broadcast.

        Returns:
            Values in the broadcast shape of the coordinates.

        Raises:
            ValueError: There is not one array of coordinates for each axis.
        """
        if len(coordinates) != self.dimension:
            raise ValueError(
                f"{len(coordinates)} arrays of coordinates do not fit dimension {self.dimension}"
            )
        scaled = [2 * axis - 1 for axis in np.broadcast_arrays(*map(np.asarray, coordinates))]
        return np.asarray(_EVALUATORS[self.dimension](*scaled, coefficients))

    def evaluate_on_grid(self, coefficients: Array, *axes: Array) -> Array:
        """Evaluate a polynomial on a grid, summed one axis after another.

        Args:
            coefficients: Coefficients, as `draw` returns them.
            axes: The grid's coordinates along each axis, from 0 to 1.

        Returns:
            Values of the shape of the grid.
        """
        values = coefficients
        for axis in axes:
            # The first axis becomes the last, until all have had their turn.
            summed = multiply(self._polynomials(axis), values.reshape(self.degree + 1, -1))
            values = np.moveaxis(summed.reshape(len(axis), *values.shape[1:]), 0, -1)
        return values

    def _polynomials(self, axis: Array) -> Array:
        """Return T_0 to T_n at points, shape (points, degree + 1), by their recurrence."""
        x = 2 * axis - 1
        found = [np.ones_like(x), x]
        while len(found) <= self.degree:
            found.append(2 * x * found[-1] - found[-2])
        return np.stack(found[: self.degree + 1], axis=1)


_EVALUATORS: dict[int, Callable[..., Any]] = {
    1: chebyshev.chebval,
    2: chebyshev.chebval2d,
    3: chebyshev.chebval3d,
}
