# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Heat that spreads in a random plate: c u_t = div(k grad u) + f on the unit square."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from kryloset.config import MeshConfig, Section
from kryloset.problems.base import Array, BoundaryCondition, Instance, OperatorTraits, Variable
from kryloset.problems.finite_element import EvolutionFamily, Step, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.quadrature import quadrature
from kryloset.sampling import Lognormal

if TYPE_CHECKING:
    from dolfinx import fem

THETA = {"crank_nicolson": 1 / 2, "backward_euler": 1.0}
"""Weight of the new state in the conduction term of a step, by scheme."""


class HeatSettings(Section):
    """Settings of the family `heat`; lengths are in metres, the square has sides of 1 m."""

    capacity: float = Field(1.0, gt=0, description="Heat capacity c [J/(m^3 K)].")
    log_deviation: float = Field(
        0.7,
        gt=0,
        le=5,
        description="Standard deviation of log k, averaged over the square; k in W/(m K).",
    )
    initial_deviation: float = Field(
        1.0, gt=0, description="Standard deviation of the initial temperature u0, averaged [K]."
    )
    source_deviation: float = Field(
        10.0,
        ge=0,
        description="Standard deviation of the source f, averaged [W/m^3]; 0 for no source.",
    )
    smoothness: float = smoothness_setting(4.0, "the Gaussian fields log k, u0 and f")
    length: float = length_setting(0.2, "these fields")
    modes: int = modes_setting(12, "these fields", boundary="dirichlet")
    scheme: Literal["crank_nicolson", "backward_euler"] = Field(
        "crank_nicolson",
        description="crank_nicolson: of order 2 in time, but short waves in u0 oscillate and decay "
        "slowly; backward_euler: of order 1, and short waves decay at once.",
    )
    steps: int = Field(100, ge=1, description="Time steps, all of which are stored.")
    final_time: float = Field(0.1, gt=0, description="Time of the last state [s].")


class Heat(EvolutionFamily):
    r"""Temperature u of a plate whose edges are kept at 0.

    With $\theta = 1/2$ (Crank and Nicolson) or $1$ (Euler backwards) and a time step
    $\tau$, find from the state $u^n$ the state $u^{n+1}$, zero on the boundary, such that,
    for all v that vanish there,

    $$ \frac{c}{\tau} (u^{n+1}, v) + \theta\, (k \nabla u^{n+1}, \nabla v)
       = \frac{c}{\tau} (u^n, v) - (1 - \theta)\, (k \nabla u^n, \nabla v) + (f, v) . $$

    With $f = 0$ and $\bar u = \theta u^{n+1} + (1 - \theta) u^n$ the energy obeys

    $$ \frac{c}{2} \|u^{n+1}\|^2 - \frac{c}{2} \|u^n\|^2
       = -\tau (k \nabla \bar u, \nabla \bar u)
         - c\, (\theta - \tfrac12) \|u^{n+1} - u^n\|^2 . $$

    The matrix is the same for all steps of an instance.
    """

    summary = "Heat in a square plate of random conductivity, in time"
    equation = "c u_t = div(k grad u) + f in (0, 1)^2, u = 0 on the boundary, u = u0 at t = 0"
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = ("x", "y")
    Settings = HeatSettings
    parameters: tuple[Variable, ...] = (
        Variable("k", "conductivity", "W/(m K)", transform="log"),
        Variable("u0", "initial temperature", "K"),
    )
    fields = (Variable("u", "temperature", "K"),)
    operator = OperatorTraits(symmetric=True, definite=True)
    boundary_conditions = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "u = 0 on x = 0 and x = 1"),
        BoundaryCondition("y", "wall", ("u",), 0.0, "u = 0 on y = 0 and y = 1"),
    )

    def __init__(self, settings: HeatSettings, mesh: MeshConfig) -> None:
        """Add a source to the parameters, if there is one."""
        if settings.source_deviation:
            self.parameters = (*self.parameters, Variable("f", "heat source", "W/m^3"))
        super().__init__(settings, mesh)

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        require_resolved(self, self.grid_points, "dirichlet")

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw k and u0 at the points of the grid; then f, if there is a source."""
        settings, points, sides = self.settings, self.grid_points, self.sides
        log_k = gaussian_field(
            settings, sides, periodic=self.mesh.periodic, deviation=settings.log_deviation
        )
        k = Lognormal(log_k).draw(generator, points)
        initial = gaussian_field(
            settings,
            sides,
            periodic=self.mesh.periodic,
            deviation=settings.initial_deviation,
            boundary="dirichlet",
        )
        u0 = initial.draw(generator, points)
        if not settings.source_deviation:
            return {"k": k, "u0": u0}
        source = gaussian_field(
            settings, sides, periodic=self.mesh.periodic, deviation=settings.source_deviation
        )
        return {"k": k, "u0": u0, "f": source.draw(generator, points)}

    def initial_state(self, instance: Instance) -> dict[str, Array]:
        """Return u0."""
        return {"u": instance["u0"]}

    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], step: Step
    ) -> WeakForm:
        """Return the forms of a step. Conduction has the quadrature rule of `darcy`."""
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        (now,) = step.previous
        k, f = parameters["k"], parameters.get("f", 0.0)
        rate, theta = self.settings.capacity / step.size, THETA[self.settings.scheme]
        dx = ufl.dx(metadata=quadrature(self.dimension, self.mesh.degree))
        a = rate * u * v * ufl.dx + theta * k * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx
        rhs = (rate * now + f) * v * ufl.dx
        if theta < 1:
            rhs -= (1 - theta) * k * ufl.inner(ufl.grad(now), ufl.grad(v)) * dx
        return WeakForm(a, rhs)
