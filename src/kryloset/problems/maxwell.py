# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
r"""Magnetic diffusion: the electric field in a box of perfectly conducting walls.

$$ \nabla\times(\nu\,\nabla\times E) + \kappa E = J, \quad J = \nabla\times H,
   \qquad n\times E = 0 \text{ on the boundary.} $$

This is a step of the implicit Euler method for Maxwell's equations at low frequency, where
$\nabla\times(\nu B) = \sigma E + J$ and $\partial_t B = -\nabla\times E$. $\kappa$ is the
conductivity $\sigma$ divided by the length of the step. Charge is conserved, so the current J has
no divergence: it is the curl of a source magnetic field H.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError
from kryloset.problems.base import (
    AXES,
    Array,
    BoundaryCondition,
    OperatorTraits,
    Variable,
    degrees_of_freedom,
)
from kryloset.problems.finite_element import SteadyFamily, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.sampling import Lognormal

_FIELD = Variable("E", "electric field", rank=1)


class MaxwellSettings(Section):
    """Settings of the family `maxwell`. Lengths are in sides of the domain."""

    kappa: float = Field(
        10.0, gt=0, le=1e6, description="Conductivity over the length of a time step, κ."
    )
    log_deviation: float = Field(
        1.0, gt=0, le=3, description="Standard deviation of log ν, averaged over the domain."
    )
    smoothness: float = smoothness_setting(3.0, "the Gaussian fields log ν and H", above=1.5)
    length: float = length_setting(0.25, "log ν and H", unit="sides of the domain")
    modes: int = modes_setting(8, "log ν and H")


class Maxwell(SteadyFamily):
    """curl(nu curl E) + kappa E = curl H, E in Nedelec's space of lowest order."""

    summary = "Magnetic diffusion, lognormal reluctivity, edge elements"
    equation = (
        "curl(nu curl E) + kappa E = curl H in (0, 1)^d, n x E = 0 on the boundary; log nu and H "
        "Gaussian fields"
    )
    dimensions = (2, 3)
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = AXES
    Settings = MaxwellSettings
    parameters = (
        Variable("nu", "reluctivity", transform="log"),
        Variable("H", "source magnetic field"),
    )
    fields = (_FIELD,)
    # An edge has one degree of freedom in any dimension: the integral of the field along it.
    unknowns = (replace(degrees_of_freedom(_FIELD), rank=0),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def __init__(self, settings: Any, mesh: MeshConfig) -> None:
        """Make H a vector in three dimensions. In the plane it has only the normal component."""
        if (mesh.dimension or self.dimensions[0]) == 3:
            self.parameters = (
                self.parameters[0],
                Variable("H", "source magnetic field", rank=1),
            )
        super().__init__(settings, mesh)
        self.boundary_conditions = tuple(
            BoundaryCondition(axis, "wall", ("E",), 0.0, "perfectly conducting: n x E = 0")
            for axis in self.coordinates
        )

    def check(self) -> None:
        """Refuse degree 2, and fields that the grid does not resolve."""
        if self.mesh.degree != 1:
            raise ConfigError(
                f"mesh.degree {self.mesh.degree}: family `maxwell` has edge elements of lowest "
                "order only: take degree 1"
            )
        require_resolved(self, self.grid_points)

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw the reluctivity, then the components of H, each with deviation 1."""
        settings, points = self.settings, self.grid_points
        source = gaussian_field(settings, self.sides, periodic=self.mesh.periodic)
        nu = Lognormal(replace(source, deviation=settings.log_deviation)).draw(generator, points)
        if self.dimension == 2:
            return {"nu": nu, "H": source.draw(generator, points)}
        components = [source.draw(generator, points) for _ in range(3)]
        return {"nu": nu, "H": np.stack(components, axis=-1)}

    def make_element(self, cell: str) -> Any:
        """Return Nedelec's element of the first kind (Numer. Math. 35, 1980), of lowest order."""
        import basix.ufl

        return basix.ufl.element("N1curl", cell, 1)

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(E, v) = (nu curl E, curl v) + kappa (E, v) and L(v) = (H, curl v).

        Such an L has no divergence: L(grad f) = 0 for every f that vanishes on the boundary.
        """
        import ufl

        field, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        curl = parameters["nu"] * ufl.inner(ufl.curl(field), ufl.curl(v))
        mass = self.settings.kappa * ufl.inner(field, v)
        source = ufl.inner(parameters["H"], ufl.curl(v))
        return WeakForm((curl + mass) * ufl.dx, source * ufl.dx)
