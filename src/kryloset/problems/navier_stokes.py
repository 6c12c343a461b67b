# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Incompressible flow in a lid-driven cavity: u_t + u.grad u - (1/Re) lap u + grad p = f."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from kryloset.config import Section, plain
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import (
    Array,
    BoundaryCondition,
    Instance,
    OperatorTraits,
    Variable,
    degrees_of_freedom,
)
from kryloset.problems.finite_element import Dirichlet, EvolutionFamily, Step, WeakForm
from kryloset.problems.lattice import spread_over
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.ranges import Range

if TYPE_CHECKING:
    from dolfinx import fem

COURANT = 0.25
"""Largest |u| dt / h, with h the spacing of the grid, for which explicit convection is stable."""

GRID_REYNOLDS = 20
"""Largest Re h. Beyond it layers at the walls are thinner than the grid resolves."""


class NavierStokesSettings(Section):
    """Settings of the family `navier_stokes`, in units of the cavity's side and of a speed."""

    reynolds: float = Field(
        500.0, gt=0, le=10_000, description="Reynolds number Re of the side and the unit of speed."
    )
    lid: Range = Field(
        (0.2, 0.8), description="Range of the lid's speed at its middle; at the corners it rests."
    )
    force: float = Field(
        0.02,
        gt=0,
        le=10,
        description="Standard deviation of the force's stream function, averaged over the cavity.",
    )
    smoothness: float = smoothness_setting(3.0, "the force's Gaussian stream function psi")
    length: float = length_setting(0.2, "psi", unit="sides of the cavity")
    modes: int = modes_setting(12, "psi", boundary="dirichlet")
    steps: int = Field(600, ge=2, description="Time steps, all of which are stored.")
    final_time: float = Field(2.0, gt=0, description="Time of the last state, the first being 0.")


class NavierStokes(EvolutionFamily):
    r"""Velocity and pressure of a fluid driven by a lid and a random force, Taylor-Hood elements.

    The force is the curl of a stream function, $f = (\partial_y \psi, -\partial_x \psi)$,
    with $\psi = 0$ on the boundary: it has no divergence, and no component through the walls. The
    lid has the profile $16 x^2 (1 - x)^2$ and the flow at time 0 is that of Shih, Tan and
    Hwang (Int. J. Numer. Methods Fluids 9, 1989), so that corners and start are smooth.
    From states n - 1 and n find $u^{n+1}$ of degree 2 and p of degree 1 such that, for all v and q,

    $$ \frac{1}{\tau} (u^{n+1} - u^n, v) + \frac{1}{Re} (\nabla \bar u, \nabla v)
       + c(\hat u, \hat u, v) - (p, \nabla\cdot v) = (f, v), \qquad
       -(q, \nabla\cdot u^{n+1}) = 0, $$

    $\bar u = \frac{9}{16} u^{n+1} + \frac38 u^n + \frac1{16} u^{n-1}$,
    $\hat u = \frac32 u^n - \frac12 u^{n-1}$, and convection in the form
    $c(w, u, v) = \frac12 (w\cdot\nabla u, v) - \frac12 (w\cdot\nabla v, u)$, which adds
    no energy: $c(w, u, u) = 0$. This is the modified Crank-Nicolson Adams-Bashforth scheme
    (Ascher, Ruuth, Wetton, SIAM J. Numer. Anal. 32, 1995), of order 2. Unlike the
    Crank-Nicolson scheme, it damps what the mesh cannot resolve. All terms belong to the time
    half-way between the states, and so does p, which is 0 at the origin.
    """

    summary = "Incompressible flow in a lid-driven cavity with a random force, in time"
    equation = (
        "u_t + u.grad u - (1/Re) lap u + grad p = curl psi, div u = 0 in (0, 1)^2, u = (lid, 0) "
        "on the side y = 1 and 0 on the others"
    )
    mesh_keys = ("points", "sides", "spacing")
    # The lid is the side y = 1. Its profile and the initial flow continue along x.
    may_be_periodic = ("x",)
    Settings = NavierStokesSettings
    parameters = (
        Variable("psi", "force's stream function"),
        Variable("lid", "velocity of the lid", dimensions=("x",)),
    )
    fields = (
        Variable("u", "velocity", rank=1),
        Variable("p", "pressure, half a step before"),
    )
    unknowns = (degrees_of_freedom(fields[1]),)
    levels = 2
    operator = OperatorTraits(symmetric=True, constant=True, saddle_point=True)
    boundary_conditions = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "no slip"),
        BoundaryCondition("y", "wall", ("u",), 0.0, "no slip; at y = 1 the lid moves along x"),
    )

    def check(self) -> None:
        """Refuse meshes that are too coarse, and time steps too long for the speed of the lid."""
        settings = self.settings
        if self.mesh.degree != 2:
            raise ConfigError(
                "mesh.degree 1: velocities are of degree 2 and pressures of degree 1: take 2, "
                "with an odd mesh.points"
            )
        require_resolved(self, self.grid_points, "dirichlet")
        # Layers are thinnest at the walls, where a refined grid is finest.
        at_walls = max(
            max(line[1], 1 - line[-2]) * side
            for axis, (line, side) in zip("xy", self._axes(), strict=True)
            if not self.is_periodic(axis)
        )
        if settings.reynolds * at_walls > GRID_REYNOLDS * (1 + 1e-9):
            needed = 2 * int(np.ceil(settings.reynolds / GRID_REYNOLDS / 2)) + 1
            on = "" if set(self.sides) == {1.0} else " on a length of 1"
            raise ConfigError(
                f"parameters.reynolds {settings.reynolds:g} has layers at the walls that are too "
                f"thin for mesh.points {plain(self.mesh.points)}: take at least {needed} points"
                f"{on}, or a smaller Reynolds number"
            )
        speed = max(map(abs, settings.lid))
        if self._courant(speed) > COURANT:
            raise ConfigError(
                f"parameters.steps {settings.steps}: the lid moves {self._courant(speed):.2g} "
                f"points of the grid in a time step, at most {COURANT} is stable: take at least "
                f"{self._least_steps(speed)} steps, or a shorter final_time"
            )

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw the force's stream function, and the speed of the lid's profile 16 x^2 (1 - x)^2."""
        settings = self.settings
        stream = gaussian_field(
            settings, self.sides, deviation=settings.force, boundary="dirichlet",
            periodic=self.mesh.periodic,
        )  # fmt: skip
        psi = stream.draw(generator, self.grid_points)
        (x, _), _ = self._axes()
        return {"psi": psi, "lid": generator.uniform(*settings.lid) * 16 * (x * (1 - x)) ** 2}

    def make_element(self, cell: str) -> Any:
        """Return Taylor and Hood's element: quadratic velocities, linear pressures."""
        import basix.ufl

        velocity = basix.ufl.element("Lagrange", cell, 2, shape=(2,))
        return basix.ufl.mixed_element([velocity, basix.ufl.element("Lagrange", cell, 1)])

    def initial_state(self, instance: Instance) -> dict[str, Array]:
        """Return the curl of U 8 b x^2 (1 - x)^2 (y^4 - y^2) with the lid's speed U.

        Here x and y are in parts of the sides a and b. It has the velocity of the lid, and no slip
        at the walls. From a fluid at rest the initial pressure would grow without bound as time
        steps become shorter.
        """
        (along, a), (up, b) = self._axes()
        x, y = np.meshgrid(along, up, indexing="ij")
        middle = len(along) // 2
        speed = instance["lid"][middle] / (16 * (along[middle] * (1 - along[middle])) ** 2)
        u = (x * (1 - x)) ** 2 * (4 * y**3 - 2 * y)
        v = -2 * x * (1 - x) * (1 - 2 * x) * (y**4 - y**2) * (b / a)
        velocity = 8 * speed * np.stack([u, v], axis=-1)
        return {"u": velocity, "p_dofs": np.zeros(len(along[::2]) * len(up[::2]))}

    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], step: Step
    ) -> WeakForm:
        """Return the forms of a step. They are symmetric: the rows of q are those of -div."""
        import ufl

        (u, p), (v, q) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
        (now, _), (before, _) = (ufl.split(state) for state in step.previous)
        viscosity, psi = 1 / self.settings.reynolds, parameters["psi"]
        a = (
            ufl.inner(u, v) / step.size
            + 9 / 16 * viscosity * ufl.inner(ufl.grad(u), ufl.grad(v))
            - p * ufl.div(v)
            - q * ufl.div(u)
        )
        known = 3 / 8 * now + 1 / 16 * before
        w = 3 / 2 * now - 1 / 2 * before
        rhs = (
            ufl.inner(now, v) / step.size
            - viscosity * ufl.inner(ufl.grad(known), ufl.grad(v))
            - ufl.inner(ufl.dot(ufl.grad(w), w), v) / 2
            + ufl.inner(ufl.dot(ufl.grad(v), w), w) / 2
            + psi.dx(1) * v[0]
            - psi.dx(0) * v[1]
        )
        left, bottom = self.on_side("x", 0), self.on_side("y", 0)
        boundary = (
            Dirichlet(part=0),
            Dirichlet(parameters["lid"], self.on_side("y", 1), part=0, component=0),
            Dirichlet(part=1, where=lambda x: left(x) & bottom(x), nodal=True),
        )
        return WeakForm(a * ufl.dx, rhs * ufl.dx, boundary)

    def check_state(self, time: float, state: Instance) -> None:
        """Refuse a flow that is too fast for the time step, such as one that blows up.

        Raises:
            DataError: It is too fast.
        """
        u = state["u"]
        speed = float(np.sqrt(np.einsum("...i,...i->...", u, u).max()))
        # Not `>`, which a NaN would pass.
        if not self._courant(speed) <= COURANT:
            enough = f"{self._least_steps(speed)}" if np.isfinite(speed) else "many more"
            raise DataError(
                f"at time {time:.4g} the speed is {speed:.4g}, and the flow passes more than "
                f"{COURANT} points of the grid in a time step, for which its explicit convection "
                f"is not stable: take parameters.steps of at least {enough}, or less force"
            )

    def _courant(self, speed: float) -> float:
        """Return the number of grid points that a speed passes in a time step."""
        size: float = self.settings.final_time / self.settings.steps
        return speed * size * self._finest

    @cached_property
    def _finest(self) -> float:
        """Intervals of the grid in a unit of length, where it is finest."""
        axes = zip(self.grid_points, self.sides, strict=True)
        return float(
            max(
                (line - 1 if isinstance(line, int) else 1 / np.diff(line).min()) / side
                for line, side in axes
            )
        )

    def _axes(self) -> list[tuple[Array, float]]:
        """Return the points of each axis, in parts of its side, and the side."""
        lines = (spread_over(line, 0.0, 1.0) for line in self.grid_points)
        return list(zip(lines, self.sides, strict=True))

    def _least_steps(self, speed: float) -> int:
        """Return the least number of time steps at which a speed is not too fast."""
        return int(np.ceil(self._courant(speed) / COURANT * self.settings.steps))
