# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Chaos on a line: the Kuramoto-Sivashinsky equation u_t + u u_x + u_xx + u_xxxx = 0."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from pydantic import Field

from kryloset.config import Section
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import Array, BoundaryCondition, Instance, OperatorTraits, Variable
from kryloset.problems.finite_element import EvolutionFamily, Step, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)

if TYPE_CHECKING:
    from dolfinx import fem

SPACING = 0.6
"""Largest spacing of the grid: 15 points for the fastest growing wave, whose length is 8.9."""

LARGEST = 30.0
"""Largest |u| that is accepted. In chaos |u| stays below about 4."""


LONGEST_STEP = 0.25
"""Largest time step. The shortest waves that carry energy turn over in a time of about 2."""


class KuramotoSivashinskySettings(Section):
    """Settings of the family `kuramoto_sivashinsky`, in the equation's lengths and times."""

    side: float = Field(
        22.0, ge=7, le=1000, description="Length of the interval; waves longer than 2 pi grow."
    )
    deviation: float = Field(
        1.0, gt=0, le=4, description="Standard deviation of the initial state, averaged."
    )
    smoothness: float = smoothness_setting(3.0, "the Gaussian field u0", above=0.5)
    length: float = length_setting(2.0, "u0", unit="the equation's unit", most=100)
    modes: int = modes_setting(16, "u0", boundary="dirichlet")
    steps: int = Field(1000, ge=2, description="Time steps, all of which are stored.")
    final_time: float = Field(100.0, gt=0, description="Time of the last state, the first being 0.")


class KuramotoSivashinsky(EvolutionFamily):
    r"""u = u_xx = 0 at both ends, in mixed form with $w = -u_{xx}$, and w = 0 there too.

    The odd extension of u has the period `2 side`. If x is periodic, u has the period `side`
    instead, and no ends. From states n - 1 and n find u and w at
    n + 1, zero at the ends, such that, for all v and z that are zero there,

    $$ \frac{1}{\tau} (u^{n+1} - u^n, v) - (\bar u_x, v_x) + (\bar w_x, v_x)
       = \tfrac12 (\hat u^2, v_x), \qquad
       \tfrac{9}{16} (u^{n+1}_x, z_x) - \tfrac{9}{16} (w^{n+1}, z) = 0, $$

    $\bar u = \frac{9}{16} u^{n+1} + \frac38 u^n + \frac1{16} u^{n-1}$ and $\bar w$ likewise,
    $\hat u = \frac32 u^n - \frac12 u^{n-1}$. This is the modified Crank-Nicolson
    Adams-Bashforth scheme (Ascher, Ruuth, Wetton, SIAM J. Numer. Anal. 32, 1995), of order 2.
    In each step it damps short waves by a factor of 3; the Crank-Nicolson scheme would keep them.
    The nonlinear term adds no energy: $(u^2, u_x) = 0$.
    """

    summary = "Kuramoto-Sivashinsky equation on an interval, from random initial states into chaos"
    equation = (
        "u_t + u u_x + u_xx + u_xxxx = 0 in (0, side), u = u_xx = 0 at both ends, "
        "u = u0 at t = 0, a Gaussian field"
    )
    dimensions = (1,)
    mesh_keys = ("points",)
    may_be_periodic = ("x",)
    Settings = KuramotoSivashinskySettings
    parameters = (Variable("u0", "initial state"),)
    fields = (Variable("u", "velocity"), Variable("w", "minus u_xx"))
    levels = 2
    operator = OperatorTraits(symmetric=True, constant=True)
    boundary_conditions = (BoundaryCondition("x", "wall", ("u", "w"), 0.0, "u = u_xx = 0"),)

    @property
    def sides(self) -> tuple[float, ...]:
        """Length of the interval."""
        return (self.settings.side,)

    def check(self) -> None:
        """Refuse grids and time steps that are too coarse for growing waves."""
        settings, (points,) = self.settings, self.mesh.points_along(1)
        closed = self.is_periodic("x")
        if settings.side > SPACING * (points - (not closed)):
            needed = int(np.ceil(settings.side / SPACING)) + (not closed)
            raise ConfigError(
                f"mesh.points {points} are too few for waves 8.9 long on parameters.side "
                f"{settings.side:g}: take at least {needed}"
            )
        require_resolved(self, self.grid_points, "dirichlet")
        if settings.final_time > LONGEST_STEP * settings.steps:
            raise ConfigError(
                f"parameters.steps {settings.steps}: time steps longer than {LONGEST_STEP} do not "
                f"follow the waves: take at least {np.ceil(settings.final_time / LONGEST_STEP):.0f}"
            )

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw the initial state."""
        settings = self.settings
        field = gaussian_field(
            settings,
            self.sides,
            deviation=settings.deviation,
            boundary="dirichlet",
            periodic=self.mesh.periodic,
        )
        return {"u0": field.draw(generator, self.grid_points)}

    def initial_state(self, instance: Instance) -> dict[str, Array]:
        """Return u0, and minus the second derivative of its sine or Fourier series."""
        u = np.asarray(instance["u0"])
        if self.is_periodic("x"):
            waves = 2 * np.pi * np.arange(len(u) // 2 + 1) / self.settings.side
            return {"u": u, "w": scipy.fft.irfft(waves**2 * scipy.fft.rfft(u), len(u))}
        waves = np.pi * np.arange(1, len(u) - 1) / self.settings.side
        w = scipy.fft.idst(waves**2 * scipy.fft.dst(u[1:-1], type=1), type=1)
        return {"u": u, "w": np.pad(w, 1)}

    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], step: Step
    ) -> WeakForm:
        """Return the forms of a step. With w in the second row they are symmetric."""
        import ufl

        (u, w), (v, z) = ufl.TrialFunction(space), ufl.TestFunction(space)
        now, before = step.previous
        known = 3 / 8 * now + 1 / 16 * before
        extrapolated = 3 / 2 * now[0] - 1 / 2 * before[0]
        a = u * v / step.size + 9 / 16 * ((w.dx(0) - u.dx(0)) * v.dx(0) + u.dx(0) * z.dx(0) - w * z)
        rhs = (
            now[0] * v / step.size
            - (known[1].dx(0) - known[0].dx(0)) * v.dx(0)
            + extrapolated**2 / 2 * v.dx(0)
        )
        return WeakForm(a * ufl.dx, rhs * ufl.dx)

    def check_state(self, time: float, state: Instance) -> None:
        """Refuse a state that blows up through the explicit nonlinear term.

        Raises:
            DataError: |u| is too large.
        """
        largest = float(abs(state["u"]).max())
        # Not `>`, which a NaN would pass.
        if not largest <= LARGEST:
            raise DataError(
                f"at time {time:.4g} |u| is {largest:.4g}, larger than in any solution, because "
                "the time step is too long for the explicit nonlinear term: take more "
                "parameters.steps"
            )
