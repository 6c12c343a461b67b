# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parts of an error in low, middle and high frequencies.

Along an axis with the weights w of the trapezoidal rule, a function is expanded in the eigenvectors
φ of K φ = λ W φ, where W = diag(w), and K is the stiffness matrix of linear elements on its points,
without conditions on the boundary. On equidistant points they are the cosines of the discrete
cosine transform (DCT-I), along a periodic axis the waves of the discrete Fourier transform, and
they exist for any distances. By Sturm's theorem the jth one, counted from 0, has j changes of sign
(Gantmacher and Krein, "Oscillation matrices and kernels and small vibrations of mechanical
systems", 2002, chapter II), so it is j/2 waves; along a periodic axis there are two for each number
of waves. Products of them are a basis on the grid.

They are orthonormal in the inner product of the trapezoidal rule, so that Parseval's identity is
exact: the squares of all coefficients add to ∫ u² dx as `kryloset.learn.norms` computes it.

The limits of the bands, in waves over the length of the domain, are those of PDEBench (Takamoto et
al., NeurIPS 2022), which applies the discrete Fourier transform to non-periodic functions as well,
and so finds the high frequencies of the jump at the ends of an axis.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]

#: The number of waves at which each band begins; it ends where the next one begins.
BANDS: Mapping[str, float] = MappingProxyType({"low": 0.0, "middle": 5.0, "high": 13.0})


class Waves:
    """The basis on a grid, by which functions are divided into bands.

    Args:
        grid: Points along each axis.
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
    """

    def __init__(self, grid: Sequence[int], coordinates: Sequence[Array]) -> None:
        """Compute the eigenvectors along each axis."""
        axes = [
            _waves(count, np.asarray(line, np.float64).tobytes())
            for count, line in zip(grid, coordinates, strict=True)
        ]
        self._transforms = [transform for transform, _ in axes]
        numbers = np.meshgrid(*(number for _, number in axes), indexing="ij")
        #: How many waves each element of the basis has over the domain, (*grid).
        self.numbers = np.sqrt(np.sum(np.square(numbers), axis=0))

    def energies(self, values: Array) -> dict[str, Array]:
        """Return by band the squares of the coefficients, added up: (N, K), in all ∫ u² dx.

        Args:
            values: Functions (N, K, *grid), 0 outside the domain.
        """
        squares = np.square(self.expand(values))
        starts = [*BANDS.values(), np.inf]
        bands = {
            name: (self.numbers >= start) & (self.numbers < end)
            for name, start, end in zip(BANDS, starts, starts[1:], strict=False)
        }
        return {name: squares[..., band].sum(axis=-1) for name, band in bands.items()}

    def expand(self, values: Array) -> Array:
        """Return the coefficients of functions (N, K, *grid), in the order of `numbers`."""
        for axis, transform in enumerate(self._transforms, start=2):
            values = np.moveaxis(np.tensordot(values, transform, axes=(axis, 1)), -1, axis)
        return values


@lru_cache(maxsize=16)
def _waves(count: int, octets: bytes) -> tuple[Array, Array]:
    """Return what maps values along an axis to coefficients, (n, n), and waves of each, (n,).

    Args:
        count: Points n.
        octets: Their coordinates, with the end of a periodic axis, as bytes: a key of the cache.
    """
    line = np.frombuffer(octets)
    periodic, steps = len(line) > count, np.diff(line)
    # The cells of the axis, each between a point and the next one.
    left = np.arange(len(steps))
    right = (left + 1) % count
    weights = np.bincount(left, steps / 2, count) + np.bincount(right, steps / 2, count)
    difference = np.zeros((len(steps), count))
    difference[left, right] += 1
    difference[left, left] -= 1
    # A symmetric problem with the same eigenvalues, for √W φ.
    scaled = difference / np.sqrt(steps[:, None] * weights)
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    order = np.arange(count, dtype=np.float64)
    return vectors.T * np.sqrt(weights), np.ceil(order / 2) if periodic else order / 2
