# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Poisson's equation in an insulated square: -lap u = f, du/dn = 0."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from kryloset.config import Section
from kryloset.problems.base import Array, BoundaryCondition, OperatorTraits, Variable
from kryloset.problems.finite_element import SteadyFamily, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)


class NeumannPoissonSettings(Section):
    """Settings of the family `neumann_poisson`."""

    deviation: float = Field(10.0, gt=0, description="Standard deviation of f, averaged.")
    smoothness: float = smoothness_setting(2.0, "the Gaussian field f")
    length: float = length_setting(0.2, "f")
    modes: int = modes_setting(16, "f")


class NeumannPoisson(SteadyFamily):
    r"""Potential, determined up to a constant, of a source with mean zero.

    Find u such that, for all v,

    26226 \int_\Omega \nabla u \cdot \nabla v = \int_\Omega f\, v . 26226

    The matrix maps constants to zero. A solution exists because f has mean zero: its cosine series
    has no constant term. Interpolation leaves a small sum of the right-hand side, which is removed.
    The stored solution is the one whose degrees of freedom have mean zero.
    """

    summary = "Poisson's equation in an insulated square, up to a constant: a singular matrix"
    equation = "-lap u = f in (0, 1)^2, du/dn = 0 on the boundary, f a Gaussian field of mean zero"
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = ("x", "y")
    Settings = NeumannPoissonSettings
    parameters = (Variable("f", "source"),)
    fields = (Variable("u", "potential"),)
    operator = OperatorTraits(symmetric=True, definite=True, constant=True, nullspace="constants")
    boundary_conditions = tuple(
        BoundaryCondition(axis, "wall", ("u",), 0.0, "du/dn = 0") for axis in "xy"
    )

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        require_resolved(self, self.grid_points)

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw f at the points of the grid."""
        field = gaussian_field(
            self.settings,
            self.sides,
            periodic=self.mesh.periodic,
            deviation=self.settings.deviation,
        )
        return {"f": field.draw(generator, self.grid_points)}

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(u, v) = (grad u, grad v) and L(v) = (f, v), without prescribed values."""
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, ufl.inner(parameters["f"], v) * ufl.dx, boundary=())
