# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A substance carried by a random wind: -eps lap u + b . grad u = f."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from math import fsum
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from kryloset.config import Section
from kryloset.problems.base import Array, OperatorTraits, Variable
from kryloset.problems.finite_element import Dirichlet, SteadyFamily, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.periodic import require_boundary
from kryloset.sampling import Boundary, GaussianField, exponential, logarithm

INVERSE_ESTIMATE = {1: 1 / 3, 2: 1 / 24}
"""m by degree of the elements, at most 2 C where C h^2 |lap v|^2 <= |grad v|^2 on each cell.

On a right triangle with two legs of length h, C = 1/48 for polynomials of degree 2; for those of
degree 1 lap v = 0, and 1/3 is the value of Franca, Frey and Hughes."""


class AdvectionDiffusionSettings(Section):
    """Settings of the family `advection_diffusion`."""

    peclet_low: float = Field(
        10.0,
        gt=0,
        le=1e4,
        description="Least Peclet number 1 / eps, for the side of the square and a wind of speed "
        "1. Its logarithm is drawn uniformly.",
    )
    peclet_high: float = Field(
        1000.0, gt=0, le=1e4, description="Largest Peclet number; may equal `peclet_low`."
    )
    smoothness: float = smoothness_setting(3.0, "the Gaussian stream function psi", above=2)
    length: float = length_setting(0.3, "psi, f and g")
    modes: int = modes_setting(8, "psi, f and g", boundary="dirichlet")
    closed: bool = Field(False, description="Whether no wind crosses the boundary.")
    source_deviation: float = Field(1.0, gt=0, description="Standard deviation of the source f.")
    boundary_deviation: float = Field(
        1.0, gt=0, description="Standard deviation of the field g, the values of u on the boundary."
    )

    @model_validator(mode="after")
    def _peclet_ascends(self) -> "AdvectionDiffusionSettings":
        if self.peclet_low > self.peclet_high:
            raise ValueError(
                f"peclet_low {self.peclet_low:g} is more than peclet_high {self.peclet_high:g}: "
                "exchange them"
            )
        return self


class AdvectionDiffusion(SteadyFamily):
    r"""Advection and diffusion, stabilised along the streamlines (SUPG).

    Find u, equal to g on the boundary, such that, for all v that are zero there,

    $$ \epsilon (\nabla u, \nabla v) + (b \cdot \nabla u, v)
       + \sum_K (-\epsilon \Delta u + b \cdot \nabla u, \tau\, b \cdot \nabla v)_K
       = (f, v) + \sum_K (f, \tau\, b \cdot \nabla v)_K, \qquad
       b = (\partial_y \psi, -\partial_x \psi) $$

    (Brooks and Hughes, Comput. Methods Appl. Mech. Eng. 32, 1982), with the parameter of
    Franca, Frey and Hughes (ibid. 95, 1992)

    $$ \tau = \frac{h}{2 |b|} \min(1, P), \qquad P = \frac{m |b| h}{2 \epsilon}, $$

    h being the side of a cell. The wind is that of a continuous stream function of the
    elements' degree: its divergence is zero in each cell, and what leaves a cell enters the
    next. So the second term is skew-symmetric for u and v that are zero on the boundary, and
    with $m \le 2 C$, $C h^2 \|\Delta v\|^2 \le \|\nabla v\|^2$ in each cell,

    $$ a(v, v) \ge \tfrac34 \epsilon \|\nabla v\|^2 + \tfrac12 \sum_K \|\tau^{1/2} b \cdot
       \nabla v\|_K^2 : $$

    the matrix is definite, and not symmetric.
    """

    summary = "Advection and diffusion in a random divergence-free wind, stabilised by SUPG"
    equation = (
        "-eps lap u + b . grad u = f in (0, 1)^2, u = g on the boundary, b = rot psi, "
        "psi, f and g Gaussian fields"
    )
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = ("x", "y")
    Settings = AdvectionDiffusionSettings
    parameters = (
        Variable("eps", "diffusivity", "1", (), "log"),
        Variable("psi", "stream function"),
        Variable("f", "source"),
        Variable("g", "boundary values"),
    )
    fields = (Variable("u", "concentration"),)
    operator = OperatorTraits(definite=True)

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        require_resolved(self, self.grid_points, "dirichlet")
        require_boundary(self, "where u has prescribed values")

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw the Peclet number, and the fields at the points of the grid."""
        settings, points, sides = self.settings, self.grid_points, self.sides
        bounds = logarithm([settings.peclet_low, settings.peclet_high])
        boundary: Boundary = "dirichlet" if settings.closed else "neumann"
        periodic = self.mesh.periodic
        stream = gaussian_field(settings, sides, boundary=boundary, periodic=periodic)
        psi = stream.draw(generator, points) / _mean_speed(stream, sides)
        other = replace(gaussian_field(settings, sides, periodic=periodic), smoothness=2.0)
        return {
            "eps": exponential(-generator.uniform(*bounds)),
            "psi": psi,
            "f": settings.source_deviation * other.draw(generator, points),
            "g": settings.boundary_deviation * other.draw(generator, points),
        }

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return the form with its stabilisation."""
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        eps, f, psi = parameters["eps"], parameters["f"], parameters["psi"]
        degree = self.mesh.degree
        # Exact for all terms without tau, which is not a polynomial.
        dx = ufl.dx(metadata={"quadrature_degree": 2 * degree})
        b = ufl.as_vector([psi.dx(1), -psi.dx(0)])
        h, m = self._shortest_edge(space.mesh), INVERSE_ESTIMATE[degree]
        # h / (2 |b|) min(1, P), without dividing by a speed of 0.
        speed = ufl.sqrt(ufl.dot(b, b))
        tau = h**2 * m / ufl.max_value(2 * m * h * speed, 4 * eps)
        along = tau * ufl.dot(b, ufl.grad(v))
        transport = ufl.dot(b, ufl.grad(u))
        a = eps * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx + transport * v * dx
        a += (transport - eps * ufl.div(ufl.grad(u))) * along * dx
        return WeakForm(a, f * (v + along) * dx, (Dirichlet(parameters["g"]),))

    def _shortest_edge(self, domain: Any) -> Any:
        """Return the shorter leg of a cell, a number if all cells are equal.

        The inverse estimate holds with it on any right triangle: a longer leg only makes the
        second derivative along it smaller.
        """
        import ufl

        if self.mesh.spacing != "equidistant":
            return ufl.MinCellEdgeLength(domain)
        axes = zip(self.sides, map(self.cells_along, self.coordinates), strict=True)
        return min(side / cells for side, cells in axes)


@lru_cache(maxsize=16)
def _mean_speed(stream: GaussianField, sides: tuple[float, ...]) -> float:
    r"""Return the root mean square of the wind's speed over the domain and all winds.

    The gradients of the modes are orthogonal. Each component is larger than its mode by the factor
    $\pi$ times its number of half waves, over the side.
    """
    along_x, along_y = stream.half_waves
    square = (along_x[:, None] / sides[0]) ** 2 + (along_y / sides[1]) ** 2
    return float(np.pi * np.sqrt(fsum((square * stream.scales**2).flat)))
