# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Darcy flow with a lognormal permeability."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ufl
from pydantic import Field

from kryloset.config import Section
from kryloset.errors import ConfigError
from kryloset.problems.base import Array, OperatorTraits, Variable
from kryloset.problems.lattice import LatticeFamily, WeakForm
from kryloset.sampling import GaussianField


class DarcySettings(Section):
    """Settings of the family `darcy`."""

    log_deviation: float = Field(
        1.0, gt=0, le=5, description="Standard deviation of log k, averaged over the square."
    )
    smoothness: float = Field(
        2.0, gt=1, le=10, description="Smoothness α of the Gaussian field log k."
    )
    length: float = Field(
        1 / 3, gt=0, le=10, description="Correlation length ℓ of log k, in sides of the square."
    )
    modes: int = Field(
        32,
        ge=2,
        description="Cosine modes of log k along each axis, less than `mesh.points`. The same "
        "instance on a finer grid is the same field.",
    )
    source: float = Field(1.0, gt=0, description="Source f, constant.")


class Darcy(LatticeFamily):
    """-div(k grad u) = f on the unit square, u = 0 on its boundary, log k Gaussian."""

    summary = "Darcy flow on the unit square, lognormal permeability"
    equation = "-div(k grad u) = f in (0, 1)^2, u = 0 on the boundary, log k a Gaussian field"
    Settings = DarcySettings
    parameters = (Variable("k", "permeability", transform="log"),)
    fields = (Variable("u", "hydraulic head"),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        modes, points = self.settings.modes, self.mesh.points
        if modes >= points:
            raise ConfigError(
                f"parameters.modes {modes} is not less than mesh.points {points}: take at most "
                f"{points - 1} modes or a finer grid"
            )

    def draw(self, generator: np.random.Generator) -> dict[str, Array]:
        """Draw k at the lattice points."""
        settings = self.settings
        log_k = GaussianField(
            deviation=settings.log_deviation,
            smoothness=settings.smoothness,
            length=settings.length,
            modes=settings.modes,
        )
        return {"k": np.exp(log_k.draw(generator, self.mesh.points))}

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(u, v) = (k grad u, grad v) and L(v) = (f, v)."""
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
        return WeakForm(a, ufl.inner(ufl.as_ufl(self.settings.source), v) * ufl.dx)
