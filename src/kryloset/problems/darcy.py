# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Darcy flow in a random porous medium: -div(k grad u) = f in the unit square or cube."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import (
    AXES,
    Array,
    BoundaryCondition,
    Instance,
    OperatorTraits,
    Variable,
)
from kryloset.problems.finite_element import SteadyFamily, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.periodic import has_boundary
from kryloset.problems.tools.quadrature import least_at_quadrature, quadrature
from kryloset.sampling import GaussianField, Line, Lognormal, TwoValued

type Length = Annotated[float, Field(gt=0, le=10)]


class DarcySettings(Section):
    """Settings of the family `darcy`."""

    permeability: Literal["lognormal", "two_valued", "high_contrast"] = Field(
        "lognormal",
        description="k, from a Gaussian field g. lognormal: exp(g); two_valued: `high` where "
        "g >= 0, else `low`; high_contrast: exp(g), g stretched so that max k / min k is "
        "`contrast`.",
    )
    placement: Literal["points", "cells"] = Field(
        "points",
        # By default, a dataset has the settings that it had before this key existed.
        exclude_if=lambda placement: placement == "points",
        description="Where k is stored. points: a finite element function with these values at the "
        "points of the grid; cells: constant in each cell, as in finite volumes, with the value of "
        "its centre.",
    )
    log_deviation: float = Field(
        1.0, gt=0, le=5, description="Standard deviation of a lognormal log k, averaged."
    )
    low: float = Field(3.0, gt=0, description="Smaller value of a two-valued k.")
    high: float = Field(12.0, gt=0, description="Larger value of a two-valued k.")
    contrast: float = Field(
        1e4, gt=1, le=1e8, description="Largest over smallest value of a high-contrast k."
    )
    smoothness: float = smoothness_setting(2.0, "g", note="; more than 1.5 in a cube")
    length: Length | tuple[Length, ...] = Field(
        1 / 3,
        description="Correlation length ℓ of g, in sides of the domain; or one for each axis.",
    )
    modes: int = modes_setting(32, "g")
    source: float = Field(1.0, ge=0, description="Source f, or its mean if it is random.")
    source_deviation: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of a random f, averaged; with 0, f is constant.",
    )
    source_length: float = Field(
        0.2, gt=0, le=10, description="Correlation length of a random f, which has the α of g."
    )

    @model_validator(mode="after")
    def _values_ascend(self) -> "DarcySettings":
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not less than high {self.high}")
        return self

    @model_validator(mode="after")
    def _something_flows(self) -> "DarcySettings":
        if self.source == self.source_deviation == 0:
            raise ValueError("source and source_deviation are both 0: nothing would flow")
        return self


class Darcy(SteadyFamily):
    r"""Hydraulic head u of a flow driven through a medium by a source, zero on the boundary.

    Find u with u = 0 on the boundary and, for all v that vanish there,

    $$ \int_\Omega k\, \nabla u \cdot \nabla v = \int_\Omega f\, v . $$

    If all axes are periodic there is no boundary, and u is determined up to a constant: its degrees
    of freedom have mean zero.
    """

    summary = "Darcy flow in a square or cube, lognormal or two-valued permeability"
    equation = "-div(k grad u) = f in (0, 1)^d, u = 0 on the boundary"
    dimensions = (2, 3)
    mesh_keys = ("points", "sides", "spacing")
    may_be_periodic = AXES
    Settings = DarcySettings
    parameters: tuple[Variable, ...] = (Variable("k", "permeability", transform="log"),)
    fields = (Variable("u", "hydraulic head"),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def __init__(self, settings: DarcySettings, mesh: MeshConfig) -> None:
        """Add a random source to the parameters, and name the boundary."""
        if settings.placement == "cells":
            self.parameters = (replace(self.parameters[0], placement="cells"),)
        if settings.source_deviation:
            self.parameters = (*self.parameters, Variable("f", "source"))
        super().__init__(settings, mesh)
        self.boundary_conditions = tuple(
            BoundaryCondition(
                axis, "wall", ("u",), 0.0, f"u = 0 on {axis} = 0 and {axis} = {line[-1]:g}"
            )
            for axis, line in self.coordinates.items()
        )
        if not has_boundary(self):
            self.operator = replace(self.operator, nullspace="constants")

    def check(self) -> None:
        """Refuse fields that do not fit the domain or the grid."""
        settings = self.settings
        if settings.source and not has_boundary(self):
            raise ConfigError(
                f"parameters.source {settings.source:g}: with periodic axes alone nothing flows "
                "out, so that the source needs the mean zero: take source 0 and a source_deviation"
            )
        require_resolved(self, self._k_points)
        if settings.smoothness <= self.dimension / 2:
            raise ConfigError(
                f"parameters.smoothness {settings.smoothness} is not more than "
                f"{self.dimension / 2} in {self.dimension} dimensions: the variance of log k would "
                "be infinite; take 2 or more"
            )
        lengths = settings.length
        if isinstance(lengths, tuple) and len(lengths) != self.dimension:
            raise ConfigError(
                f"parameters.length {list(lengths)} has {len(lengths)} numbers: set "
                f"{self.dimension}, one for each axis, or a single number"
            )

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw k at the points of the grid or at the centres of cells; then f, if it is random.

        Raises:
            DataError: As `check_instance`.
        """
        settings = self.settings
        instance = {"k": self._permeability.draw(generator, self._k_points)}
        if settings.source_deviation:
            f = self._gaussian(settings.source_deviation, settings.source_length)
            instance["f"] = settings.source + f.draw(generator, self.grid_points)
        self.check_instance(instance)
        return instance

    def check_instance(self, instance: Instance) -> None:
        """Refuse a permeability whose quadratic interpolant on tetrahedra is not positive.

        Raises:
            DataError: The interpolant is not positive at a quadrature point.
        """
        at_points = self.settings.placement == "points"
        quadratic = at_points and self.dimension == 3 and self.mesh.degree == 2
        if quadratic and least_at_quadrature(np.asarray(instance["k"])) <= 0:
            raise DataError(
                "the permeability k jumps so much within a cell that its quadratic interpolant "
                "is not positive: take mesh.degree 1, a finer grid or a smoother k"
            )

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        r"""Return a(u, v) = (k grad u, grad v) and L(v) = (f, v).

        The integrals of a use the rule of `quadrature`. It is exact for products of two gradients,
        so it does not reduce the order of convergence (Ciarlet, The finite element method for
        elliptic problems, 1978, theorem 4.1.6).
        """
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        dx = ufl.dx(metadata=quadrature(self.dimension, self.mesh.degree))
        a = parameters["k"] * ufl.inner(ufl.grad(u), ufl.grad(v)) * dx
        f = parameters.get("f", ufl.as_ufl(self.settings.source))
        return WeakForm(a, ufl.inner(f, v) * ufl.dx)

    @property
    def _k_points(self) -> tuple[Line, ...]:
        return self.grid_points if self.settings.placement == "points" else self.cell_points

    @cached_property
    def _permeability(self) -> Lognormal | TwoValued:
        """The distribution of k."""
        settings = self.settings
        match settings.permeability:
            case "two_valued":
                return TwoValued(self._gaussian(1.0, settings.length), settings.low, settings.high)
            case "high_contrast":
                return Lognormal(self._gaussian(1.0, settings.length), settings.contrast)
            case _:
                return Lognormal(self._gaussian(settings.log_deviation, settings.length))

    def _gaussian(self, deviation: float, length: float | tuple[float, ...]) -> GaussianField:
        return gaussian_field(
            self.settings,
            self.sides,
            periodic=self.mesh.periodic,
            deviation=deviation,
            length=length,
        )
