# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors of predicted functions.

Functions are arrays (N, K, *grid): N instances of K fields on a tensor grid. Each
error is an array (N, K); what is reported is its mean. Integrals are by the
trapezoidal rule on the grid, so that on a finer one the error of the same functions
is the same. Many papers sum over all points alike, those on the boundary too.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]


def relative_l2(prediction: Array, truth: Array, coordinates: Sequence[Array]) -> Array:
    """Return the relative L² error ||p - u|| / ||u|| with ||u||² = ∫ u² dx.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, alike.
        coordinates: Coordinates of the grid, an array an axis.
    """
    error = _integral(np.square(prediction - truth), coordinates)
    return np.sqrt(error / _integral(np.square(truth), coordinates))


def relative_h1(prediction: Array, truth: Array, coordinates: Sequence[Array]) -> Array:
    """Return the relative H¹ error ||p - u||₁ / ||u||₁ with ||u||₁² = ∫ u² + |∇u|² dx.

    Derivatives are differences of second order on the grid: central within, one-sided
    of three points on the boundary.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, alike.
        coordinates: Coordinates of the grid, an array an axis.
    """
    error = _integral(_density(prediction - truth, coordinates), coordinates)
    return np.sqrt(error / _integral(_density(truth, coordinates), coordinates))


def vrmse(prediction: Array, truth: Array, epsilon: float = 1e-7) -> Array:
    """Return the variance-scaled root mean squared error of The Well.

    √(⟨(p - u)²⟩ / (var u + ε)), where ⟨·⟩ is the mean over the points of the grid and
    var u = ⟨(u - ⟨u⟩)²⟩ n / (n - 1) the unbiased variance over its n points, both of
    one instance. The instance's own mean ⟨u⟩ as prediction has an error of about 1.

    Ohana et al., "The Well: a large-scale collection of diverse physics simulations
    for machine learning", NeurIPS 2024, section 4; ε is that of their code. It makes
    the error too small for fields whose variance is not well above 1e-7.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, alike.
        epsilon: ε, in the square of the field's unit.
    """
    axes = tuple(range(2, truth.ndim))
    error = np.square(prediction - truth).mean(axis=axes)
    return np.sqrt(error / (truth.var(axis=axes, ddof=1) + epsilon))


def measure(
    prediction: Array, truth: Array, coordinates: Sequence[Array]
) -> dict[str, NDArray[np.float64]]:
    """Return all the errors by name, arrays (N, K); arguments as of `relative_h1`."""
    return {
        "relative_l2": relative_l2(prediction, truth, coordinates),
        "relative_h1": relative_h1(prediction, truth, coordinates),
        "vrmse": vrmse(prediction, truth),
    }


def _integral(values: Array, coordinates: Sequence[Array]) -> Array:
    """Integrate over the trailing axes."""
    for points in reversed(coordinates):
        values = np.asarray(np.trapezoid(values, points, axis=-1))
    return values


def _density(values: Array, coordinates: Sequence[Array]) -> Array:
    """Return u² + |∇u|² at every point."""
    density = np.square(values)
    for axis, points in enumerate(coordinates, start=values.ndim - len(coordinates)):
        density = density + np.square(np.gradient(values, points, axis=axis, edge_order=2))
    return density
