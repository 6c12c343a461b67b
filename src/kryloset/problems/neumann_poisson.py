# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Poisson's equation in an insulated square: -lap u = f, du/dn = 0."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ufl
from pydantic import Field

from kryloset.config import Section
from kryloset.problems.base import Array, BoundaryCondition, OperatorTraits, Variable
from kryloset.problems.finite_element import SteadyFamily, WeakForm, require_resolved
from kryloset.sampling import GaussianField


class NeumannPoissonSettings(Section):
    """Settings of the family `neumann_poisson`."""

    deviation: float = Field(10.0, gt=0, description="Standard deviation of f, averaged.")
    smoothness: float = Field(2.0, gt=1, le=10, description="Smoothness α of the Gaussian field f.")
    length: float = Field(
        0.2, gt=0, le=10, description="Its correlation length ℓ, in sides of the square."
    )
    modes: int = Field(
        16, ge=2, description="Its cosine modes along each axis, less than `mesh.points`."
    )


class NeumannPoisson(SteadyFamily):
    r"""A potential up to a constant, whose source has the mean zero.

    Find u such that, for all v,

    26226 \int_\Omega \nabla u \cdot \nabla v = \int_\Omega f\, v . 26226

    The matrix maps constants to zero. There is a solution because f has the mean zero,
    as its cosine series has no constant term; the sum of the right-hand side that
    interpolation leaves is removed. Of all solutions the one is stored whose degrees of
    freedom have the mean zero.
    """

    summary = "Poisson's equation in an insulated square, up to a constant: a singular matrix"
    equation = "-lap u = f in (0, 1)^2, du/dn = 0 on the boundary, f a Gaussian field of mean zero"
    Settings = NeumannPoissonSettings
    parameters = (Variable("f", "source"),)
    fields = (Variable("u", "potential"),)
    operator = OperatorTraits(
        symmetric=True, definite=True, constant=True, affine_rhs=True, nullspace="constants"
    )
    boundary_conditions = tuple(
        BoundaryCondition(axis, "wall", ("u",), 0.0, "du/dn = 0") for axis in "xy"
    )

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        require_resolved(self.settings.modes, self.mesh.points)

    def draw(self, generator: np.random.Generator) -> dict[str, Array]:
        """Draw f at the points of the grid."""
        settings = self.settings
        field = GaussianField(
            deviation=settings.deviation,
            smoothness=settings.smoothness,
            length=settings.length,
            modes=settings.modes,
        )
        return {"f": field.draw(generator, self.mesh.points)}

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(u, v) = (grad u, grad v) and L(v) = (f, v); nothing is prescribed."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, ufl.inner(parameters["f"], v) * ufl.dx, boundary=())
