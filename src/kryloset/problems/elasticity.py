# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
r"""Linear elasticity of a body clamped on one side, with a random Young's modulus.

$$ -\nabla\cdot\sigma(u) = f, \qquad \sigma(u) = 2\mu\,\varepsilon(u) + \lambda\,(\nabla\cdot u)\,I,
   \qquad \varepsilon(u) = \tfrac12 (\nabla u + \nabla u^T), $$
$$ \mu = \frac{E}{2(1 + \nu)}, \qquad \lambda = \frac{E\nu}{(1 + \nu)(1 - 2\nu)} $$

on the unit square, in plane strain, or the unit cube: u = 0 at x = 0, the traction $\sigma n$ is
given at x = 1 and zero on the other sides. If $\nu$ is close to 1/2, $\lambda$ is large. The
displacement then locks unless the pressure $p = -\lambda\,\nabla\cdot u$ is an unknown.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import (
    Array,
    BoundaryCondition,
    Instance,
    OperatorTraits,
    Variable,
    degrees_of_freedom,
)
from kryloset.problems.finite_element import Dirichlet, SteadyFamily, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.quadrature import least_at_quadrature, quadrature
from kryloset.sampling import Lognormal


class ElasticitySettings(Section):
    """Settings of the family `elasticity`. The unit of stress is the median of E."""

    log_deviation: float = Field(
        0.5, gt=0, le=3, description="Standard deviation of log E, averaged over the body."
    )
    smoothness: float = smoothness_setting(3.0, "the Gaussian field log E", above=1.5)
    length: float = length_setting(0.25, "log E", unit="sides of the body")
    modes: int = modes_setting(8, "log E")
    poisson_ratio: float = Field(
        0.3,
        ge=0,
        le=0.45,
        description="Poisson's ratio ν of all instances. Closer to 1/2 these elements lock: use "
        "the family `incompressible_elasticity` there.",
    )
    traction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Standard deviation of each component of the traction, in medians of E.",
    )
    weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Body force against the last axis, in medians of E over a side.",
    )

    @model_validator(mode="after")
    def _something_moves(self) -> "ElasticitySettings":
        if self.traction == self.weight == 0:
            raise ValueError("traction and weight are both 0: nothing would move")
        return self


class Elasticity(SteadyFamily):
    """-div sigma(u) = f in plane strain or three dimensions, Lagrange elements for u."""

    summary = "Linear elasticity, lognormal Young's modulus, random traction"
    equation = (
        "-div sigma(u) = f, sigma = 2 mu eps(u) + lambda div(u) I, in (0, 1)^d; u = 0 at x = 0, "
        "sigma n given at x = 1, zero on the other sides; log E a Gaussian field"
    )
    dimensions = (2, 3)
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = ("y", "z")
    Settings = ElasticitySettings
    parameters = (
        Variable("E", "Young's modulus", transform="log"),
        Variable("traction", "traction where x = 1", dimensions=(), rank=1),
    )
    fields: tuple[Variable, ...] = (Variable("u", "displacement", rank=1),)
    operator = OperatorTraits(
        symmetric=True,
        definite=True,
        near_nullspace="rigid body motions",
    )
    boundary_conditions: tuple[BoundaryCondition, ...] = (
        BoundaryCondition("x", "wall", ("u",), 0.0, "clamped at x = 0, a traction at x = 1"),
        BoundaryCondition("y", "open", ("u",), 0.0, "free of traction"),
        BoundaryCondition("z", "open", ("u",), 0.0, "free of traction"),
    )

    def __init__(self, settings: Any, mesh: MeshConfig) -> None:
        """Omit the conditions of axes that the domain does not have."""
        super().__init__(settings, mesh)
        self.boundary_conditions = self.boundary_conditions[: self.dimension]

    def check(self) -> None:
        """Refuse more modes than the grid resolves."""
        require_resolved(self, self.grid_points)

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw E at the points of the grid, and the traction.

        Raises:
            DataError: As `check_instance`.
        """
        settings = self.settings
        log_modulus = gaussian_field(
            settings, self.sides, periodic=self.mesh.periodic, deviation=settings.log_deviation
        )
        instance = {
            "E": Lognormal(log_modulus).draw(generator, self.grid_points),
            "traction": settings.traction * generator.standard_normal(self.dimension),
        }
        self.check_instance(instance)
        return instance

    def check_instance(self, instance: Instance) -> None:
        """Refuse a modulus whose quadratic interpolant on tetrahedra is not positive.

        Raises:
            DataError: The interpolant is not positive at a quadrature point.
        """
        quadratic = self.dimension == 3 and self.mesh.degree == 2
        if quadratic and least_at_quadrature(np.asarray(instance["E"])) <= 0:
            raise DataError(
                "Young's modulus E changes so much within a cell that its quadratic interpolant "
                "is not positive: take a finer grid, fewer modes or a smoother E"
            )

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(u, v) = (sigma(u), eps(v)) and the work of the loads.

        As for Darcy flow, a is definite with its quadrature rule.
        """
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        nu = self.settings.poisson_ratio
        # For E = 1.
        mu, lame = 1 / (2 * (1 + nu)), nu / ((1 + nu) * (1 - 2 * nu))
        strain = ufl.inner(_strain(u), _strain(v))
        energy = 2 * mu * strain + lame * ufl.div(u) * ufl.div(v)
        work = self._work(space.mesh, v, parameters["traction"])
        return WeakForm(
            parameters["E"] * energy * self._dx, work, (Dirichlet(where=self.on_side("x", 0)),)
        )

    @property
    def _dx(self) -> Any:
        import ufl

        return ufl.dx(metadata=quadrature(self.dimension, self.mesh.degree))

    def _work(self, domain: Any, v: Any, traction: Any) -> Any:
        """Return (f, v) + (traction, v) over the side x = 1."""
        import ufl
        from dolfinx import mesh

        facet = domain.topology.dim - 1
        pulled = mesh.locate_entities_boundary(domain, facet, self.on_side("x", 1))
        tags = mesh.meshtags(domain, facet, pulled, np.ones(len(pulled), np.int32))
        ds = ufl.Measure("ds", domain, 1, subdomain_data=tags)
        weight = -self.settings.weight * v[self.dimension - 1]
        return weight * ufl.dx(domain) + ufl.inner(traction, v) * ds


class IncompressibleElasticitySettings(ElasticitySettings):
    """Settings of the family `incompressible_elasticity`."""

    poisson_ratio: float = Field(
        0.4999, gt=0, le=0.5, description="Poisson's ratio ν of all instances; 1/2 is exact."
    )


class IncompressibleElasticity(Elasticity):
    """Elasticity of a nearly or exactly incompressible body, Taylor-Hood elements for u and p."""

    summary = "Elasticity of a nearly incompressible body: displacement and pressure"
    equation = (
        "-div(2 mu eps(u) - p I) = f, div u + p / lambda = 0, in (0, 1)^d; u = 0 at x = 0, "
        "a traction at x = 1, none on the other sides; log E a Gaussian field"
    )
    Settings = IncompressibleElasticitySettings
    fields = (*Elasticity.fields, Variable("p", "pressure"))
    unknowns = (degrees_of_freedom(fields[1]),)
    operator = OperatorTraits(symmetric=True, saddle_point=True)

    def check(self) -> None:
        """Also refuse elements of lower degree, with which the method is not stable."""
        super().check()
        if self.mesh.degree != 2:
            raise ConfigError(
                f"mesh.degree {self.mesh.degree}: the displacement of "
                "`incompressible_elasticity` needs degree 2 and its pressure has 1: take degree 2"
            )

    def make_element(self, cell: str) -> Any:
        """Return the Taylor-Hood element (Boffi, Brezzi, Fortin 2013, chapter 8)."""
        import basix.ufl

        displacement = basix.ufl.element("Lagrange", cell, 2, shape=(self.dimension,))
        return basix.ufl.mixed_element([displacement, basix.ufl.element("Lagrange", cell, 1)])

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return (2 mu eps(u), eps(v)) - (p, div v) - (div u, q) - (p / lambda, q)."""
        import ufl

        (u, p), (v, q) = ufl.TrialFunctions(space), ufl.TestFunctions(space)
        modulus, nu = parameters["E"], self.settings.poisson_ratio
        compliance = (1 + nu) * (1 - 2 * nu) / (nu * modulus)
        a = modulus / (1 + nu) * ufl.inner(_strain(u), _strain(v))
        a -= p * ufl.div(v) + ufl.div(u) * q + compliance * p * q
        work = self._work(space.mesh, v, parameters["traction"])
        return WeakForm(a * self._dx, work, (Dirichlet(where=self.on_side("x", 0), part=0),))


def _strain(u: Any) -> Any:
    import ufl

    return ufl.sym(ufl.grad(u))
