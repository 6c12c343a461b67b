# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Gaussian random fields on the unit square by a cosine series."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray


@dataclass(frozen=True)
class GaussianField:
    r"""A centred Gaussian field on [0, 1]^2 with homogeneous Neumann conditions.

    The covariance operator is $\sigma^2 c\,(-\Delta + \ell^{-2})^{-\alpha}$ on
    functions of mean zero, as in the Fourier-neural-operator Darcy set (Li et
    al., ICLR 2021, appendix A.3.2, where $\alpha = 2$, $\ell = 1/3$). In its
    eigenfunctions,

    $$ g(x, y) = \sum_{0 \le i, j < M,\ (i,j) \ne 0}
       \lambda_{ij}^{1/2}\, \xi_{ij}\, \phi_i(x)\, \phi_j(y), \qquad
       \phi_0 = 1,\ \phi_i(x) = \sqrt 2 \cos(i \pi x), $$

    with $\lambda_{ij} \propto (\pi^2 (i^2 + j^2) + \ell^{-2})^{-\alpha}$ and
    independent standard normal $\xi_{ij}$. The constant $c$ makes the variance,
    averaged over the square, $\sum \lambda_{ij} = \sigma^2$. The field is a
    function of the $\xi_{ij}$ and not of a grid: grids of any size see the same one.

    Attributes:
        deviation: $\sigma$, standard deviation averaged over the square.
        smoothness: $\alpha > 1$.
        length: $\ell > 0$, correlation length in sides of the square.
        modes: $M$, cosines along each axis.
    """

    deviation: float = 1.0
    smoothness: float = 2.0
    length: float = 1 / 3
    modes: int = 32

    @cached_property
    def scales(self) -> NDArray[np.float64]:
        r"""Standard deviations $\lambda_{ij}^{1/2}$, shape (modes, modes)."""
        i = np.arange(self.modes)
        eigenvalues = (np.pi**2 * (i[:, None] ** 2 + i**2) + self.length**-2) ** -self.smoothness
        eigenvalues[0, 0] = 0.0
        return self.deviation * np.sqrt(eigenvalues / eigenvalues.sum())

    def draw(self, generator: np.random.Generator, points: int) -> NDArray[np.float64]:
        """Draw a field.

        Args:
            generator: The randomness; modes^2 normal numbers are taken from it.
            points: Grid points a side, boundaries included.

        Returns:
            Values at the grid points, shape (points, points), axes x, y.

        Raises:
            ValueError: The grid is too coarse for the modes, which would alias.
        """
        if self.modes >= points:
            raise ValueError(f"{self.modes} modes need more than {points} points a side")
        coefficients = self.scales * generator.standard_normal((self.modes, self.modes))
        # SciPy's cosine transform of the first kind counts all but the first and
        # last coefficient twice, and phi_i has a root of 2 for i > 0.
        weights = np.full(self.modes, np.sqrt(0.5))
        weights[0] = 1.0
        padded = np.zeros((points, points))
        padded[: self.modes, : self.modes] = coefficients * weights[:, None] * weights
        return np.asarray(scipy.fft.dctn(padded, type=1, workers=1))
