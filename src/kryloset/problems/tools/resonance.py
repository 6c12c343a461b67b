# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The distance from resonance of waves in a rectangle with u = 0 on the boundary, if it has one."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError
from kryloset.problems.base import Array
from kryloset.sampling.portable import multiply, sine_of_fraction


def find_detuning(
    wavenumber: Array,
    sides: tuple[float, ...] = (1.0, 1.0),
    periodic: tuple[bool, ...] = (False, False),
) -> float:
    r"""Return the distance to the nearest resonance, in mean distances between resonances.

    With $k^2$ replaced by $\mu k^2$, the waves resonate where
    $-\Delta u = \mu k^2 u$, $u = 0$ on the boundary, has a solution; k itself is at
    $\mu = 1$. Near there the mean distance of two such $\mu$ is $4 \pi / \int k^2$ (Weyl;
    Courant and Hilbert, Methods of Mathematical Physics I, section VI.4). With the detuning d,
    $\| k u \| \le \int k^2 / (4 \pi d)\, \| f / k \|$ for every source f.

    The eigenvalues are found by Galerkin's method with all products of waves along the axes whose
    wavenumber is up to a third more than the largest k, and some more: sines, or complex
    exponentials along a periodic axis. They are those of the equation and do not depend on a mesh.
    For smooth k, d is accurate to about one percent.

    Args:
        wavenumber: k > 0 on a grid of equidistant points, boundaries included, and without the
            ends of periodic axes.
        sides: Lengths of the sides of the rectangle.
        periodic: Which axes are periodic; not both.

    Raises:
        DataError: The grid has fewer than 5 points in the shortest wavelength.
    """
    axes = [
        _Axis.of(points, side, float(wavenumber.max()), closed=closed)
        for points, side, closed in zip(wavenumber.shape, sides, periodic, strict=True)
    ]
    means = axes[1].average(axes[0].average(wavenumber**2).T).T
    i, j = (n.ravel() for n in np.meshgrid(*(axis.half_waves for axis in axes), indexing="ij"))
    most = [int(axis.half_waves[-1]) for axis in axes]
    inside = (i * most[1]) ** 2 + (j * most[0]) ** 2 <= (most[0] * most[1]) ** 2
    i, j = i[inside], j[inside]
    mass = sum(
        sign * other * means[p, q]
        for other, q in axes[1].products(j)
        for sign, p in axes[0].products(i)
    )
    stiffness = np.pi * np.hypot(i / sides[0], j / sides[1])
    inverse = np.linalg.eigvalsh(mass / np.outer(stiffness, stiffness))
    distance = abs(1 / inverse[inverse > 0] - 1).min()
    mean = means[axes[0].constant, axes[1].constant].real
    return float(distance * mean * sides[0] * sides[1] / (4 * np.pi))


@dataclass(frozen=True)
class _Axis:
    """The waves along an axis: sqrt(2) sin(i pi x), or exp(i pi x) with even i if it is periodic.

    Attributes:
        half_waves: Numbers i of the waves, ascending.
        rule: (products, points), to take means with every product of two waves.
        closed: Whether the axis is periodic.
    """

    half_waves: NDArray[np.int64]
    rule: NDArray[Any]
    closed: bool

    @classmethod
    def of(cls, points: int, side: float, largest: float, *, closed: bool) -> Self:
        """Choose the waves for a largest wavenumber.

        Raises:
            DataError: The grid does not resolve them.
        """
        intervals, half_waves = points - (not closed), largest * side / np.pi
        if 2.5 * half_waves > intervals:
            raise DataError(
                f"a wavenumber of {largest * side:.3g} radians a side is too large for a grid of "
                f"{points} points: take a grid of at least {int(2.5 * half_waves) + 2} points"
            )
        if closed:
            count = min(int(0.65 * half_waves) + 2, (points - 1) // 2)
            return cls(2 * np.arange(-count, count + 1), _exponential_rule(2 * count, points), True)
        count = min(int(1.3 * half_waves) + 4, intervals // 2)
        return cls(np.arange(1, count + 1), _cosine_rule(2 * count, intervals), False)

    @property
    def constant(self) -> int:
        """The row of `rule` that takes the mean itself."""
        return len(self.rule) // 2 if self.closed else 0

    def average(self, values: Array) -> NDArray[Any]:
        """Return the means of some functions, (points, n), with each product of waves."""
        if self.closed or values.dtype.kind == "c":
            return np.asarray(self.rule @ values)
        return multiply(self.rule, values)

    def products(self, waves: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        """Return signs and rows of `rule` whose sum is the product of each two of some waves."""
        first, second = waves[:, None], waves
        if self.closed:
            return [(1, (second - first) // 2 + self.constant)]
        # 2 sin(a) sin(b) = cos(a - b) - cos(a + b).
        return [(1, abs(first - second)), (-1, first + second)]


@lru_cache(maxsize=16)
def _exponential_rule(most: int, points: int) -> NDArray[np.complex128]:
    """Return exp(2 pi i p x) at equidistant points, over their number, p = -`most` to `most`."""
    turns = np.outer(np.arange(-most, most + 1), np.arange(points))
    return np.asarray(np.exp(2j * np.pi * (turns % points) / points) / points)


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
