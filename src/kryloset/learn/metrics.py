# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors of predicted functions.

Functions are arrays (N, K, *grid): N instances of K fields on a tensor grid. Each error is an
array (N, K); its mean is reported. Integrals use the trapezoidal rule, so that the error of the
same functions does not depend on the grid. Many papers instead sum over all points with equal
weights, including those on the boundary.

Points where the truth is NaN lie outside the domain and are ignored.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.norms import square_h1, square_l2

type Array = NDArray[np.float64]


def relative_l2(prediction: Array, truth: Array, coordinates: Sequence[Array]) -> Array:
    """Return the relative L² error ||p - u|| / ||u|| with ||u||² = ∫ u² dx.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, of the same shape.
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
    """
    return _relative(square_l2, prediction, truth, coordinates)


def relative_h1(prediction: Array, truth: Array, coordinates: Sequence[Array]) -> Array:
    """Return the relative H¹ error ||p - u||₁ / ||u||₁ with ||u||₁² = ∫ u² + |∇u|² dx.

    Derivatives are differences of second order: central inside the domain, one-sided with three
    points on the boundary.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, of the same shape.
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
    """
    return _relative(square_h1, prediction, truth, coordinates)


def vrmse(prediction: Array, truth: Array, epsilon: float = 1e-7) -> Array:
    """Return the variance-scaled root mean squared error of The Well.

    √(⟨(p - u)²⟩ / (var u + ε)), where ⟨·⟩ is the mean over the points of the grid and
    var u = ⟨(u - ⟨u⟩)²⟩ n / (n - 1) is the unbiased variance over its n points, both for one
    instance. Predicting the instance's own mean ⟨u⟩ gives an error of about 1.

    Ohana et al., "The Well: a large-scale collection of diverse physics simulations
    for machine learning", NeurIPS 2024, section 4; ε is taken from their code. It makes
    the error too small for fields whose variance is not well above 1e-7.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, of the same shape.
        epsilon: ε, in the square of the field's unit.
    """
    axes, inside = tuple(range(2, truth.ndim)), ~np.isnan(truth)
    points = inside.sum(axis=axes, keepdims=True)

    def add(values: Array) -> Array:
        return np.where(inside, values, 0).sum(axis=axes, keepdims=True)

    deviation = truth - add(truth) / points
    variance = add(np.square(deviation)) / (points - 1)
    error = add(np.square(prediction - truth)) / points
    return np.asarray(np.sqrt(error / (variance + epsilon)).squeeze(axes))


def measure(
    prediction: Array, truth: Array, coordinates: Sequence[Array]
) -> dict[str, NDArray[np.float64]]:
    """Return all errors by name, as arrays (N, K). Arguments are as for `relative_h1`."""
    return {
        "relative_l2": relative_l2(prediction, truth, coordinates),
        "relative_h1": relative_h1(prediction, truth, coordinates),
        "vrmse": vrmse(prediction, truth),
    }


def _relative(
    square: Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor],
    prediction: Array,
    truth: Array,
    coordinates: Sequence[Array],
) -> Array:
    """Return ||p - u|| / ||u|| for the square of a norm."""
    p, u, *axes = (
        torch.as_tensor(a, dtype=torch.float64) for a in (prediction, truth, *coordinates)
    )
    outside = u.isnan()
    error = square(p - u, outside, axes) / square(u, outside, axes)
    return np.asarray(error.sqrt().numpy())
