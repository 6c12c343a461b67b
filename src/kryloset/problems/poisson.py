# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Poisson's equation on the unit square with polynomial data: -lap u = f."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from kryloset.config import Section, plain
from kryloset.errors import ConfigError
from kryloset.problems.base import Array, OperatorTraits, Variable
from kryloset.problems.finite_element import Dirichlet, SteadyFamily, WeakForm
from kryloset.problems.lattice import spread_over
from kryloset.sampling import ChebyshevSeries, Line

#: The four sides, in the order in which they are drawn.
SIDES = ("left", "right", "bottom", "top")


class PoissonSettings(Section):
    """Settings of the family `poisson`."""

    polynomial_degree: int = Field(
        5,
        ge=1,
        le=64,
        description="Degree of the Chebyshev polynomials along each axis, less than `mesh.points`.",
    )


class Poisson(SteadyFamily):
    r"""Potential u with a polynomial source f and polynomial values on the four sides.

    Find u with the prescribed values on the boundary and, for all v that vanish there,

    $$ \int_\Omega \nabla u \cdot \nabla v = \int_\Omega f\, v . $$
    """

    summary = "Poisson's equation on the unit square, source and boundary values polynomials"
    equation = "-lap u = f in (0, 1)^2, u = left, right, bottom, top on the sides"
    mesh_keys = ("points", "sides", "spacing")
    Settings = PoissonSettings
    parameters = (
        Variable("f", "source"),
        Variable("left", "potential on x = 0", dimensions=("y",)),
        Variable("right", "potential on x = 1", dimensions=("y",)),
        Variable("bottom", "potential on y = 0", dimensions=("x",)),
        Variable("top", "potential on y = 1", dimensions=("x",)),
    )
    fields = (Variable("u", "potential"),)
    operator = OperatorTraits(symmetric=True, definite=True, constant=True)

    def check(self) -> None:
        """Refuse polynomials of a degree that the grid does not resolve."""
        degree, least = self.settings.polynomial_degree, min(self.mesh.points_along(2))
        if degree >= least:
            raise ConfigError(
                f"parameters.polynomial_degree {degree} is not less than mesh.points "
                f"{plain(self.mesh.points)}: take at most {least - 1}, or a finer grid"
            )

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw f, then the values on the left, right, bottom and top side."""
        degree = self.settings.polynomial_degree
        x, y = (spread_over(line, 0.0, 1.0) for line in self.grid_points)
        source = ChebyshevSeries(degree, dimension=2)
        f = source.evaluate_on_grid(source.draw(generator), x, y)
        series, along = ChebyshevSeries(degree), {"left": y, "right": y, "bottom": x, "top": x}
        profiles = {side: series.evaluate(series.draw(generator), along[side]) for side in SIDES}
        return {"f": f, **join_at_corners(self.grid_points, **profiles)}

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(u, v) = (grad u, grad v), L(v) = (f, v) and the values on the sides."""
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        boundary = (
            Dirichlet(parameters["left"], self.on_side("x", 0)),
            Dirichlet(parameters["right"], self.on_side("x", 1)),
            Dirichlet(parameters["bottom"], self.on_side("y", 0)),
            Dirichlet(parameters["top"], self.on_side("y", 1)),
        )
        return WeakForm(a, ufl.inner(parameters["f"], v) * ufl.dx, boundary)


def join_at_corners(
    axes: Sequence[Line], left: Array, right: Array, bottom: Array, top: Array
) -> dict[str, Array]:
    """Make the values on the sides agree at the corners.

    At each corner both sides take the mean of their two values. A linear function is added to each
    side to change its ends, so that a polynomial remains a polynomial of the same degree.

    Args:
        axes: The points along x and y.
        left: Values on x = 0 from the bottom to the top, shape (points,).
        right: Values on the other end of x, as `left`.
        bottom: Values on y = 0 from the left to the right, shape (points,).
        top: Values on the other end of y, as `bottom`.

    Returns:
        The four sides by name. At each corner two sides have the same value, bit for bit.
    """
    corners = {
        (0, 0): (left[0] + bottom[0]) / 2,
        (0, 1): (left[-1] + top[0]) / 2,
        (1, 0): (right[0] + bottom[-1]) / 2,
        (1, 1): (right[-1] + top[-1]) / 2,
    }

    x, y = axes

    def end_at(line: Line, side: Array, first: float, last: float) -> Array:
        corrected = side + spread_over(line, first - side[0], last - side[-1])
        corrected[0], corrected[-1] = first, last
        return corrected

    return {
        "left": end_at(y, left, corners[0, 0], corners[0, 1]),
        "right": end_at(y, right, corners[1, 0], corners[1, 1]),
        "bottom": end_at(x, bottom, corners[0, 0], corners[1, 0]),
        "top": end_at(x, top, corners[0, 1], corners[1, 1]),
    }
