# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Gaussian random fields on the unit interval, square and cube as series of eigenfunctions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import fsum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kryloset.sampling.portable import multiply, power, sine_of_fraction, sine_of_half_turns

type Array = NDArray[np.float64]
#: Condition on a face: zero normal derivative, zero, or equal to the opposite face.
type Boundary = Literal["neumann", "dirichlet", "periodic"]
#: The points of an axis: their number if they are equidistant and include both ends; otherwise
#: their places from 0 to 1, ascending.
type Line = int | Array


@dataclass(frozen=True)
class GaussianField:
    r"""A Gaussian field of mean zero on $[0, 1]^d$ with a boundary condition.

    The covariance operator is $\sigma^2 c\,(1 - \nabla\cdot(L^2\nabla))^{-\alpha}$
    with $L = \mathrm{diag}(\ell_1, \dots, \ell_d)$. For equal lengths it is
    proportional to $(-\Delta + \ell^{-2})^{-\alpha}$. With $\alpha = 2$, $\ell = 1/3$
    and Neumann conditions it is that of the Darcy set of the Fourier neural operator
    (Li et al., ICLR 2021, appendix A.3.2). Away from the boundary and apart from its
    mean, the field is nearly a Matern field with $\nu = \alpha - d/2$ and
    $\kappa = 1/\ell$. In the eigenfunctions of the operator,

    $$ g(x) = \sum_k \lambda_k^{1/2}\, \xi_k \prod_{a=1}^d \phi_{k_a}(x_a), \qquad
       \lambda_k \propto \Bigl(1 + \pi^2 \sum_a (\ell_a h_{k_a})^2\Bigr)^{-\alpha} $$

    with independent standard normal $\xi_k$, orthonormal functions $\phi$ and
    their numbers of half waves $h$:

    | boundary  | condition on a face      | functions                         | h  |
    | --------- | ------------------------ | --------------------------------- | -- |
    | neumann   | zero normal derivative   | 1, √2 cos(iπx), 0 < i < M         | i  |
    | dirichlet | zero                     | √2 sin(iπx), 0 < i <= M           | i  |
    | periodic  | equal on opposite faces  | cos(2πix) + sin(2πix), -M < i < M | 2i |

    Neumann and periodic series have no constant term, so each field has mean zero.
    The pair i, -i of the periodic functions spans cos(2πix) and sin(2πix): the
    series is the Fourier series in the real form of Hartley, and stationary.

    The constant $c$ makes the variance, averaged over the domain,
    $\sum \lambda_k = \sigma^2$. The field is a function of the $\xi_k$ and does not
    depend on a grid: grids of any size show the same field.

    Attributes:
        deviation: $\sigma > 0$, standard deviation averaged over the domain.
        smoothness: $\alpha > d / 2$. For smaller values the full series has infinite variance.
        length: $\ell > 0$, correlation length in sides of the domain, or one for each axis.
        modes: $M \ge 2$, number of modes along each axis.
        dimension: $d$, 1, 2 or 3.
        boundary: The boundary condition on all faces, or one for the faces across each axis.

    Raises:
        ValueError: A setting is out of its range.
    """

    deviation: float = 1.0
    smoothness: float = 2.0
    length: float | tuple[float, ...] = 1 / 3
    modes: int = 32
    dimension: int = 2
    boundary: Boundary | tuple[Boundary, ...] = "neumann"

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.dimension not in (1, 2, 3):
            raise ValueError(f"dimension {self.dimension} is not 1, 2 or 3")
        if len(self.boundaries) != self.dimension or not set(self.boundaries) <= _BASES.keys():
            raise ValueError(
                f"boundary {self.boundary!r} is not one of {', '.join(_BASES)}, nor one for each "
                f"of {self.dimension} axes"
            )
        if not self.smoothness > self.dimension / 2:
            raise ValueError(
                f"smoothness {self.smoothness} is not more than dimension / 2 = "
                f"{self.dimension / 2}: the variance would be infinite"
            )
        if len(self.lengths) != self.dimension or not all(each > 0 for each in self.lengths):
            raise ValueError(
                f"length {self.length} is neither a positive number nor {self.dimension} of them, "
                "one for each axis"
            )
        if not self.deviation > 0:
            raise ValueError(f"deviation {self.deviation} is not positive")
        if self.modes < 2:
            raise ValueError(f"{self.modes} modes are too few: take at least 2")

    @property
    def lengths(self) -> tuple[float, ...]:
        """Correlation length along each axis."""
        if isinstance(self.length, tuple):
            return self.length
        return (self.length,) * self.dimension

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        """Boundary condition on the faces across each axis."""
        if isinstance(self.boundary, tuple):
            return self.boundary
        return (self.boundary,) * self.dimension

    @property
    def half_waves(self) -> list[NDArray[np.int64]]:
        """Numbers of half waves of the functions along each axis, in the order of `scales`."""
        return [_BASES[boundary].half_waves(self.modes) for boundary in self.boundaries]

    @property
    def scales(self) -> Array:
        r"""Standard deviations $\lambda_k^{1/2}$, an array with an axis for each of the domain.

        The functions are in the order of the table above; periodic ones are ordered
        i = 0, 1, ..., M - 1, 1 - M, ..., -1.
        """
        return _scales(self)

    def draw(self, generator: "np.random.Generator", points: int | Sequence[Line]) -> Array:
        """Draw a field.

        Args:
            generator: Source of randomness; one normal number is drawn for each of `scales`.
            points: Number of equidistant grid points along each axis, boundaries included; or for
                each axis its number of points, or the points themselves as fractions of the side.

        Returns:
            Values at the grid points, axes in the order x, y, z.

        Raises:
            ValueError: The grid is so coarse that modes would alias, or has other axes.
        """
        lines = (points,) * self.dimension if isinstance(points, int | np.integer) else points
        if len(lines) != self.dimension:
            raise ValueError(f"{len(lines)} axes of points do not fit dimension {self.dimension}")
        axes = zip(self.boundaries, lines, strict=True)
        tables = [_tables(boundary, self.modes, _key(line)) for boundary, line in axes]
        scales = self.scales
        return _sum_products(scales * generator.standard_normal(scales.shape), tables)


def count_resolved(lines: Sequence[Line]) -> int:
    """Return the number of equidistant points that are as far apart as the widest spacing.

    Args:
        lines: The points along each axis. The axis with the widest spacing counts.
    """
    return min(
        int(line) if np.ndim(line) == 0 else int(1 / np.diff(line).max() + 1e-9) + 1
        for line in lines
    )


class _Basis(NamedTuple):
    """Orthonormal functions on [0, 1].

    Attributes:
        half_waves: From the number of modes to the half waves of each function.
        least_points: From the number of modes to the points of a grid without aliasing.
        tabulate: From the half waves of each function, and the sines and cosines of so many half
            waves at the points of a grid, to the values there.
    """

    half_waves: Callable[[int], NDArray[np.int64]]
    least_points: Callable[[int], int]
    tabulate: Callable[[NDArray[np.int64], Array, Array], Array]


# A family makes its fields for each instance anew. What they share is kept.
@lru_cache(maxsize=64)
def _scales(field: GaussianField) -> Array:
    # Relative to the first length, so that equal lengths give exact integers.
    along = zip(field.lengths, field.half_waves, strict=True)
    axes = [length / field.lengths[0] * half_waves for length, half_waves in along]
    squares = sum(axis * axis for axis in np.ix_(*axes))
    first = field.lengths[0]
    eigenvalues = power(np.pi**2 * squares + 1 / (first * first), -field.smoothness)
    eigenvalues[squares == 0] = 0.0
    scales = np.asarray(field.deviation * np.sqrt(eigenvalues / fsum(eigenvalues.flat)))
    scales.flags.writeable = False
    return scales


def _key(line: Line) -> int | bytes:
    """Return the points of an axis as a key: their number, or the bytes of their places."""
    if isinstance(line, int | np.integer):
        return int(line)
    return np.asarray(line, np.float64).tobytes()


@lru_cache(maxsize=16)
def _tables(boundary: str, modes: int, points: int | bytes) -> tuple[Array, Array]:
    """Return the functions at the points of an axis, (points, functions), and the transpose.

    Args:
        boundary: The boundary condition.
        modes: Number of modes.
        points: As `_key` returns them.

    Raises:
        ValueError: There are so few points that modes would alias.
    """
    basis = _BASES[boundary]
    finest = count_resolved([np.frombuffer(points) if isinstance(points, bytes) else points])
    if finest < (least := basis.least_points(modes)):
        raise ValueError(f"{modes} modes need at least {least} points a side, not {finest}")
    half_waves = basis.half_waves(modes)
    if isinstance(points, bytes):
        half_turns = np.outer(np.frombuffer(points), half_waves)
        sines, cosines = (sine_of_half_turns(half_turns + shift) for shift in (0.0, 0.5))
    else:
        products, intervals = np.outer(np.arange(points), half_waves), points - 1
        sines = sine_of_fraction(products, intervals)
        cosines = sine_of_fraction(2 * products + intervals, 2 * intervals)
    table = basis.tabulate(half_waves, sines, cosines)
    return table, np.ascontiguousarray(table.T)


def _sum_products(coefficients: Array, tables: Sequence[tuple[Array, Array]]) -> Array:
    """Return the values of a series of products of functions, summed axis by axis.

    For M modes and n points an axis takes M products a value. That is more operations than a fast
    transform needs, and less time, since n - 1 is seldom a product of small primes.

    Args:
        coefficients: Of the products.
        tables: The functions of each axis, as `_tables` returns them.
    """
    *before, (_, transposed) = tables
    values = multiply(coefficients.reshape(-1, len(transposed)), transposed)
    for table, _ in reversed(before):
        blocks = values.reshape(-1, table.shape[1], values.shape[-1])
        summed = [multiply(table, block) for block in blocks]
        values = np.concatenate(summed).reshape(len(blocks), -1) if len(blocks) > 1 else summed[0]
    return values.reshape([len(table) for table, _ in tables])


def _cosines(half_waves: NDArray[np.int64], sines: Array, cosines: Array) -> Array:
    """Return 1 and √2 cos(iπx)."""
    return np.asarray(cosines * np.where(half_waves == 0, 1.0, np.sqrt(2.0)))


def _sines(half_waves: NDArray[np.int64], sines: Array, cosines: Array) -> Array:
    """Return √2 sin(iπx)."""
    return np.asarray(np.sqrt(2.0) * sines)


def _waves(half_waves: NDArray[np.int64], sines: Array, cosines: Array) -> Array:
    """Return cos(2πix) + sin(2πix)."""
    return cosines + sines


_BASES = {
    "neumann": _Basis(np.arange, lambda modes: modes + 1, _cosines),
    "dirichlet": _Basis(lambda modes: np.arange(1, modes + 1), lambda modes: modes + 2, _sines),
    "periodic": _Basis(
        lambda modes: 2 * np.r_[:modes, 1 - modes : 0], lambda modes: 2 * modes, _waves
    ),
}
