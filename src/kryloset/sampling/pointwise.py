# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Positive coefficients that are pointwise functions of a random field."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.sampling.portable import exponential, logarithm

type Array = NDArray[np.float64]


class RandomField(Protocol):
    """A random field on a grid, such as `GaussianField`, or on a mesh, such as `MaternField`."""

    @property
    def draw(self) -> Callable[..., Array]:
        """Draw values from a generator and, on a grid, its points, as `GaussianField.draw`."""


@dataclass(frozen=True)
class TwoValued:
    r"""One value where a field g is at least zero, another elsewhere.

    The Darcy set of the Fourier neural operator (Li et al., ICLR 2021, appendix
    A.3.2) has `TwoValued(GaussianField(smoothness=2, length=1/3), low=3, high=12)`;
    there $g \sim N(0, (-\Delta + 9)^{-2})$ with Neumann conditions. Since g and -g
    have the same distribution, each value takes half of the area on average. The
    variance of g does not matter.

    Attributes:
        field: g.
        low: The value where g < 0.
        high: The value where g >= 0.
    """

    field: RandomField
    low: float = 3.0
    high: float = 12.0

    def draw(self, generator: "np.random.Generator", *points: Any) -> Array:
        """Draw values at the points of the field, with the arguments of its `draw`."""
        return np.where(self.field.draw(generator, *points) >= 0, self.high, self.low)


@dataclass(frozen=True)
class Lognormal:
    r"""The exponential of a field g, optionally scaled to a contrast.

    With a contrast C, each draw of g is first mapped affinely to
    $[-\tfrac12 \log C, \tfrac12 \log C]$, so that the ratio of the largest to the
    smallest value is C for any deviation of g. The extremes are those at the points of
    the grid: a finer grid may find a higher peak, and then shows a slightly different
    field at common points.

    Attributes:
        field: g.
        contrast: C > 1, or None for exp(g) itself.

    Raises:
        ValueError: The contrast is not more than 1.
    """

    field: RandomField
    contrast: float | None = None

    def __post_init__(self) -> None:
        """Refuse a contrast that is not more than 1."""
        if self.contrast is not None and not 1 < self.contrast < np.inf:
            raise ValueError(f"contrast {self.contrast} is not a finite number more than 1")

    def draw(self, generator: "np.random.Generator", *points: Any) -> Array:
        """Draw values at the points of the field, with the arguments of its `draw`.

        Raises:
            ValueError: There is a contrast, and g is constant at the points.
        """
        g = self.field.draw(generator, *points)
        if self.contrast is not None:
            low, high = g.min(), g.max()
            if low == high:
                raise ValueError(f"a constant field cannot have the contrast {self.contrast:g}")
            g = float(logarithm(self.contrast)) * ((g - low) / (high - low) - 0.5)
        return exponential(g)
