# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Integrals and derivatives of functions on a grid that may extend beyond the domain.

Functions are tensors (N, K, *grid). Their values at points outside the domain are ignored. If there
is one coordinate more than points along an axis, the axis is periodic: the last coordinate is its
end, where the first point comes again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def integrate(values: Tensor, outside: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """Return the integrals over the domain, (N, K), by the trapezoidal rule.

    Args:
        values: (N, K, *grid).
        outside: Whether a point is outside the domain, of the same shape.
        coordinates: Coordinates of the grid, one array per axis.
    """
    integrals = torch.where(outside, 0, values)
    for points in reversed(coordinates):
        if len(points) > integrals.shape[-1]:
            integrals = torch.cat((integrals, integrals[..., :1]), dim=-1)
        integrals = torch.trapezoid(integrals, points, dim=-1)
    return integrals


def square_l2(values: Tensor, outside: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """Return ∫ u² dx. Arguments are as for `integrate`."""
    return integrate(torch.where(outside, 0, values).square(), outside, coordinates)


def square_h1(values: Tensor, outside: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """Return ∫ u² + |∇u|² dx. Arguments are as for `integrate`.

    Derivatives are differences of second order along each axis: central where both neighbours of
    a point are in the domain, otherwise one-sided with three points, or with two if the domain has
    no more. The ends of a periodic axis are neighbours.
    """
    known = torch.where(outside, torch.nan, values)
    density = torch.where(outside, 0, values).square()
    for axis, points in enumerate(coordinates, start=values.ndim - len(coordinates)):
        # Square after `where`: the gradient of the square of NaN is NaN.
        slope = torch.where(outside, 0, derive(known, points, axis))
        density = density + slope.square()
    return integrate(density, outside, coordinates)


def derive(values: Tensor, points: Tensor, axis: int) -> Tensor:
    """Return the derivatives along an axis, as described in `square_h1`.

    Args:
        values: Values of any shape, NaN outside the domain.
        points: Coordinates along the axis.
        axis: The axis.
    """
    if len(points) > (count := values.shape[axis]):
        before = values.narrow(axis, count - 1, 1)
        around = torch.cat((before, values, values.narrow(axis, 0, 1)), dim=axis)
        first = points[:1] - points[-1:] + points[-2:-1]
        return derive(around, torch.cat((first, points)), axis).narrow(axis, 1, count)
    steps = points.diff()
    slopes = values.movedim(axis, -1).diff(dim=-1) / steps
    left, right, before, after = slopes[..., :-1], slopes[..., 1:], steps[:-1], steps[1:]
    bend = (right - left) / (before + after)
    candidates = (
        _pad(left + before * bend, 1, 1),
        _pad(left - before * bend, 0, 2),
        _pad(right + after * bend, 2, 0),
        _pad(slopes, 0, 1),
        _pad(slopes, 1, 0),
    )
    found, *others = candidates
    for other in others:
        found = torch.where(found.isnan(), other, found)
    # A point without neighbours has no derivative.
    return torch.where(found.isnan(), 0, found).movedim(-1, axis)


def _pad(values: Tensor, before: int, after: int) -> Tensor:
    return torch.nn.functional.pad(values, (before, after), value=torch.nan)
