# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Diffusion with a cubic reaction: -div(k grad u) + r u^3 = f on the unit square."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from kryloset.config import Section
from kryloset.problems.base import Array, BoundaryCondition, OperatorTraits, Variable
from kryloset.problems.finite_element import NonlinearFamily, NonlinearForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.periodic import require_boundary
from kryloset.problems.tools.quadrature import quadrature
from kryloset.sampling import exponential

if TYPE_CHECKING:
    from dolfinx import fem


class ReactionDiffusionSettings(Section):
    """Settings of the family `reaction_diffusion`, all without units."""

    reaction: float = Field(
        100.0, gt=0, le=1e6, description="Rate r of the reaction, which is r u^3."
    )
    log_deviation: float = Field(
        1.0, gt=0, le=5, description="Standard deviation of log k, averaged over the square."
    )
    source_deviation: float = Field(
        100.0, gt=0, le=1e6, description="Standard deviation of the source f, averaged."
    )
    smoothness: float = smoothness_setting(2.0, "the Gaussian fields log k and f")
    length: float = length_setting(0.2, "these fields")
    modes: int = modes_setting(16, "these fields")


class ReactionDiffusion(NonlinearFamily):
    r"""Excess concentration u of a substance that a cubic reaction drives to equilibrium.

    Find u with u = 0 on the boundary and, for all v that vanish there,

    $$ F(u; v) = \int_\Omega k\, \nabla u \cdot \nabla v + r u^3 v - f v = 0 . $$

    F is the derivative of the energy

    $$ J(u) = \int_\Omega \tfrac12 k\, |\nabla u|^2 + \tfrac14 r u^4 - f u , $$

    which is strictly convex. So there is exactly one solution, the minimum of J, and the matrix of
    each Newton step, $\int k \nabla w \cdot \nabla v + 3 r u^2 w v$, is symmetric and definite.
    """

    summary = "Diffusion with a cubic reaction, nonlinear, in a square of random diffusivity"
    equation = "-div(k grad u) + r u^3 = f in (0, 1)^2, u = 0 on the boundary"
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = ("x", "y")
    Settings = ReactionDiffusionSettings
    parameters = (
        Variable("k", "diffusivity", transform="log"),
        Variable("f", "source"),
    )
    fields = (Variable("u", "excess concentration"),)
    operator = OperatorTraits(symmetric=True, definite=True)
    boundary_conditions = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "u = 0 on x = 0 and x = 1"),
        BoundaryCondition("y", "wall", ("u",), 0.0, "u = 0 on y = 0 and y = 1"),
    )

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        require_resolved(self, self.grid_points)
        require_boundary(self, "where Newton's method, which begins at u = 0, needs one")

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw k, then f, at the points of the grid."""
        settings, points = self.settings, self.grid_points
        field = gaussian_field(settings, self.sides, periodic=self.mesh.periodic)
        k = exponential(settings.log_deviation * field.draw(generator, points))
        return {"k": k, "f": settings.source_deviation * field.draw(generator, points)}

    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], u: "fem.Function"
    ) -> NonlinearForm:
        """Return F. Diffusion has the quadrature rule of `darcy`; the reaction is exact."""
        import ufl

        v, degree = ufl.TestFunction(space), self.mesh.degree
        diffusion = ufl.dx(metadata=quadrature(self.dimension, degree))
        reaction = ufl.dx(metadata={"quadrature_degree": 4 * degree})
        F = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * diffusion
        F += (self.settings.reaction * u**3 - parameters["f"]) * v * reaction
        return NonlinearForm(F)
