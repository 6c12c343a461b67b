# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The distance from resonance of waves in a rectangle with u = 0 on the boundary."""

from functools import lru_cache

import numpy as np

from kryloset.errors import DataError
from kryloset.problems.base import Array
from kryloset.sampling.portable import multiply, sine_of_fraction


def find_detuning(wavenumber: Array, sides: tuple[float, ...] = (1.0, 1.0)) -> float:
    r"""Return the distance to the nearest resonance, in mean distances between resonances.

    With $k^2$ replaced by $\mu k^2$, the waves resonate where
    $-\Delta u = \mu k^2 u$, $u = 0$ on the boundary, has a solution; k itself is at
    $\mu = 1$. Near there the mean distance of two such $\mu$ is $4 \pi / \int k^2$ (Weyl;
    Courant and Hilbert, Methods of Mathematical Physics I, section VI.4). With the detuning d,
    $\| k u \| \le \int k^2 / (4 \pi d)\, \| f / k \|$ for every source f.

    The eigenvalues are found by Galerkin's method with all products of sines whose wavenumber is
    up to a third more than the largest k, and some more. They are those of the equation and do not
    depend on a mesh. For smooth k, d is accurate to about one percent.

    Args:
        wavenumber: k > 0 on a grid of equidistant points, boundaries included.
        sides: Lengths of the sides of the rectangle.

    Raises:
        DataError: The grid has fewer than 5 points in the shortest wavelength.
    """
    largest, rules, waves = wavenumber.max(), [], []
    for points, side in zip(wavenumber.shape, sides, strict=True):
        intervals, half_waves = points - 1, largest * side / np.pi
        if 2.5 * half_waves > intervals:
            raise DataError(
                f"a wavenumber of {largest * side:.3g} radians a side is too large for a grid of "
                f"{points} points: take a grid of at least {int(2.5 * half_waves) + 2} points"
            )
        waves.append(min(int(1.3 * half_waves) + 4, intervals // 2))
        rules.append(_cosine_rule(2 * waves[-1], intervals))
    # Means of k^2 cos(p pi x / a) cos(q pi y / b) by the trapezoidal rule.
    cosines = multiply(multiply(rules[0], wavenumber**2), rules[1].T)
    i, j = (n.ravel() for n in np.mgrid[1 : waves[0] + 1, 1 : waves[1] + 1])
    inside = (i * waves[1]) ** 2 + (j * waves[0]) ** 2 <= (waves[0] * waves[1]) ** 2
    i, j = i[inside], j[inside]
    minus, plus = (abs(i[:, None] - i), abs(j[:, None] - j)), (i[:, None] + i, j[:, None] + j)
    # 2 sin(a) sin(b) = cos(a - b) - cos(a + b), along each axis.
    mass = sum(
        sign * cosines[p, q]
        for sign, p, q in (
            (1, minus[0], minus[1]),
            (-1, plus[0], minus[1]),
            (-1, minus[0], plus[1]),
            (1, plus[0], plus[1]),
        )
    )
    stiffness = np.pi * np.hypot(i / sides[0], j / sides[1])
    inverse = np.linalg.eigvalsh(mass / np.outer(stiffness, stiffness))
    distance = abs(1 / inverse[inverse > 0] - 1).min()
    return float(distance * cosines[0, 0] * sides[0] * sides[1] / (4 * np.pi))


@lru_cache(maxsize=16)
def _cosine_rule(most: int, intervals: int) -> Array:
    """Return the weights of the trapezoidal rule times cos(p pi x), p = 0 to `most`.

    Returns:
        Shape (most + 1, intervals + 1).
    """
    products = np.outer(np.arange(most + 1), np.arange(intervals + 1))
    weights = np.full(intervals + 1, 1 / intervals)
    weights[[0, -1]] /= 2
    return np.asarray(sine_of_fraction(2 * products + intervals, 2 * intervals) * weights)
