# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random fields with any covariance function by a truncated Karhunen-Loeve expansion."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import NDArray

type Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KarhunenLoeve:
    r"""A Gaussian field of mean zero with a given covariance function at given points.

    $$ g(x) = \sum_{k \le m} \lambda_k^{1/2}\, \xi_k\, \phi_k(x), \qquad
       \int c(x, y)\, \phi_k(y)\, dy = \lambda_k\, \phi_k(x), \qquad
       \lambda_1 \ge \lambda_2 \ge \dots $$

    with independent standard normal $\xi_k$. The integral equation is solved by
    Nystrom's method (Rasmussen and Williams, "Gaussian processes for machine
    learning", 2006, section 4.3.2): with the weights w of a quadrature rule at
    the points, $\lambda_k$ are eigenvalues of the symmetric matrix
    $\sqrt{w_i}\, c(x_i, x_j) \sqrt{w_j}$, and its eigenvectors are
    $\sqrt{w_i}\, \phi_k(x_i)$. On a mesh use the diagonal of the lumped mass matrix
    as weights (`p1_matrices`). No other expansion with m terms has a smaller mean square
    error. The matrix is dense: memory grows with the square of the number of points n,
    and time with the cube.

    The sign of a mode is chosen so that its first large value is positive. Modes of a
    multiple eigenvalue, as the symmetry of a square causes, are arbitrary in their span
    and may differ between versions of LAPACK.

    Attributes:
        covariance: Function c of arrays of points of shapes (n, 1, d) and (1, n, d)
            to values of shape (n, n).
        points: Points of the quadrature rule, shape (n, d).
        weights: Positive weights of the rule, shape (n,).
        terms: m; all n if neither this nor `energy` is given.
        energy: Instead of `terms`, the least fraction of the variance integrated over
            the domain, $\sum_{k \le m} \lambda_k / \sum_k \lambda_k$, that the terms
            must reach, 0 < energy <= 1.

    Raises:
        ValueError: A setting is out of its range.
    """

    covariance: Callable[[Array, Array], Array]
    points: Array
    weights: Array
    terms: int | None = None
    energy: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        n = len(self.points)
        if self.points.ndim != 2 or self.weights.shape != (n,):
            raise ValueError(
                f"points of shape {self.points.shape} and weights of shape {self.weights.shape} "
                "are not of shapes (n, d) and (n,)"
            )
        if not (self.weights > 0).all():
            raise ValueError("the weights are not all positive")
        if self.terms is not None and self.energy is not None:
            raise ValueError("terms and energy are both given: one sets the other")
        if self.terms is not None and not 1 <= self.terms <= n:
            raise ValueError(f"{self.terms} terms are not between 1 and {n}, the number of points")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise ValueError(f"energy {self.energy} is not in (0, 1]")

    @cached_property
    def _expansion(self) -> tuple[Array, Array]:
        values = self.covariance(self.points[:, None, :], self.points[None, :, :])
        roots = np.sqrt(self.weights)
        matrix = roots[:, None] * values * roots
        n = len(matrix)
        if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=1e-12 * np.abs(matrix).max()):
            raise ValueError("the covariance function is not symmetric: c(x, y) != c(y, x)")
        first = 0 if self.terms is None else n - self.terms
        eigenvalues, vectors = scipy.linalg.eigh(matrix, subset_by_index=(first, n - 1))
        eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
        # Rounding leaves the smallest eigenvalues of a smooth covariance a little below zero.
        if eigenvalues[-1] < -1e-10 * eigenvalues[0]:
            raise ValueError(
                f"the covariance function is not positive semidefinite: eigenvalue "
                f"{eigenvalues[-1]:.3g} beside {eigenvalues[0]:.3g}"
            )
        eigenvalues = eigenvalues.clip(min=0)
        if self.energy is not None:
            reached = np.cumsum(eigenvalues) >= self.energy * eigenvalues.sum() * (1 - 1e-12)
            terms = int(np.argmax(reached)) + 1
            eigenvalues, vectors = eigenvalues[:terms], vectors[:, :terms]
        modes = vectors / roots[:, None]
        sizes = np.abs(modes)
        large = np.argmax(sizes > sizes.max(axis=0) / 2, axis=0)
        return eigenvalues, modes * np.sign(modes[large, np.arange(modes.shape[1])])

    @property
    def eigenvalues(self) -> Array:
        r"""$\lambda_k$, the largest first, shape (m,).

        Raises:
            ValueError: The covariance function is not symmetric or not positive semidefinite.
        """
        return self._expansion[0]

    @property
    def modes(self) -> Array:
        r"""$\phi_k$ at the points, orthonormal in the weighted sum, shape (n, m).

        Raises:
            ValueError: As for `eigenvalues`.
        """
        return self._expansion[1]

    def draw(self, generator: "np.random.Generator") -> Array:
        """Draw a field.

        Args:
            generator: Source of randomness; one normal number is drawn for each term.

        Returns:
            Values at the points, shape (n,).

        Raises:
            ValueError: As for `eigenvalues`.
        """
        xi = generator.standard_normal(len(self.eigenvalues))
        return self.modes @ (np.sqrt(self.eigenvalues) * xi)
