# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Errors of predicted functions.

Functions are arrays (N, K, *grid): N instances of K fields on a tensor grid. Each error is an
array (N, K); its mean is reported. Integrals use the trapezoidal rule, so that the error of the
same functions does not depend on the grid. Many papers instead sum over all points with equal
weights, including those on the boundary.

Points where the truth is NaN lie outside the domain and are ignored. A relative error is NaN where
the truth is 0, so that it has no meaning; `mean` leaves it out. The error of a prediction that is
not finite is infinite, and so is every mean over it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kryloset.learn.norms import square_h1, square_l2

type Array = NDArray[np.float64]

#: Instances that are measured at once. It affects memory but not results.
BATCH = 32


def ratio(error: Array, size: Array) -> Array:
    """Return error / size: NaN where the size is 0, and infinity where the error is no number."""
    found = np.divide(error, size, where=size > 0, out=np.full(np.shape(error), np.nan))
    return np.where(np.isnan(error) & (size > 0), np.inf, found)


def mean(errors: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the mean of those errors that have a meaning; NaN where none has."""
    known = ~np.isnan(errors)
    count, total = known.sum(axis=axis), np.where(known, errors, 0).sum(axis=axis)
    nothing = np.full(np.shape(count), np.nan)
    return np.asarray(np.divide(total, count, where=count > 0, out=nothing))


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
    return np.asarray(np.sqrt(ratio(error, variance + epsilon)).squeeze(axes))


def maximum(prediction: Array, truth: Array) -> Array:
    """Return the relative error in the maximum norm, max |p - u| / max |u| over the points.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, of the same shape.
    """
    axes, outside = tuple(range(2, truth.ndim)), np.isnan(truth)

    def norm(values: Array) -> Array:
        return np.asarray(np.abs(np.where(outside, 0, values)).max(axis=axes))

    return ratio(norm(prediction - truth), norm(truth))


def boundary(prediction: Array, truth: Array, coordinates: Sequence[Array]) -> Array:
    """Return the root mean square of p - u at the boundary, relative to that of u in the domain.

    The points of the boundary are those at the ends of an axis that is not periodic, and those
    beside a point outside the domain. The denominator is a mean over all points of the domain,
    since solutions often vanish on the boundary. The numerator is bRMSE of PDEBench (Takamoto et
    al., NeurIPS 2022). It is NaN if there is no boundary, as where all axes are periodic.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, of the same shape.
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
    """
    axes, inside = tuple(range(2, truth.ndim)), ~np.isnan(truth)
    beside = np.zeros_like(inside)
    for axis, line in zip(axes, coordinates, strict=True):
        for shift, end in ((1, 0), (-1, -1)):
            neighbour = np.roll(inside, shift, axis)
            if len(line) == truth.shape[axis]:
                np.moveaxis(neighbour, axis, 0)[end] = False
            beside |= inside & ~neighbour

    def mean_square(values: Array, where: NDArray[np.bool_]) -> Array:
        squares = np.square(np.where(where, values, 0)).sum(axis=axes)
        return np.asarray(squares / np.maximum(where.sum(axis=axes), 1))

    found = ratio(mean_square(prediction - truth, beside), mean_square(truth, inside))
    return np.where(beside.any(axis=axes), np.sqrt(found), np.nan)


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
    error, size = (square(of, outside, axes).numpy() for of in (p - u, u))
    return np.asarray(np.sqrt(ratio(error, size)))
