# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Waves of one frequency in a random medium: lap u + k^2 u = f, reflected or absorbed."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from kryloset.config import Section, plain
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import Array, Instance, OperatorTraits, Variable
from kryloset.problems.finite_element import SteadyFamily, WeakForm
from kryloset.problems.tools.gaussian import (
    gaussian_field,
    length_setting,
    modes_setting,
    require_resolved,
    smoothness_setting,
)
from kryloset.problems.tools.periodic import require_boundary
from kryloset.problems.tools.resonance import find_detuning
from kryloset.sampling import count_resolved, exponential, hyperbolic_tangent

POINTS_A_WAVELENGTH = {1: 10, 2: 8}
"""Least number of grid points in a wavelength, by the degree of the elements."""

FREQUENCY_ERROR = {1: 1 / 6, 2: 1 / 340}
"""C_p by degree p: the relative error of resonances k^2 is at most C_p (k h)^2p, h a cell's side.

To leading order it is 1/12 and 1/720 for waves along an axis (Ihlenburg and Babuska, SIAM J.
Numer. Anal. 34, 1997). It is largest for waves along the diagonals of cells."""

ATTEMPTS = 1000
"""Number of media that are drawn before giving up on one that is not resonant."""


class WaveSettings(Section):
    """Settings of the family `helmholtz_absorbing`."""

    wavelengths: float = Field(
        4.0,
        gt=0,
        le=100,
        description="Wavelengths of k0 in a side of the square, k0 = 2π times this number.",
    )
    variation: float = Field(
        0.2, gt=0, le=0.8, description="Largest relative difference of k from k0."
    )
    smoothness: float = smoothness_setting(3.0, "the Gaussian field that k is made from")
    length: float = length_setting(0.2, "this field")
    modes: int = modes_setting(16, "this field", boundary="dirichlet")
    source: Literal["point", "field"] = Field(
        "point",
        description="point: a Gaussian of integral 1 at a uniformly drawn place; field: a Gaussian "
        "random field of deviation 1, zero on the boundary, with the α, ℓ and modes above.",
    )
    source_width: float = Field(
        0.2,
        gt=0,
        le=10,
        description="Standard deviation of the Gaussian of a point source, in wavelengths.",
    )


class HelmholtzSettings(WaveSettings):
    """Settings of the family `helmholtz`."""

    wavelengths: float = Field(
        2.0,
        gt=0,
        le=100,
        description="Wavelengths of k0 in a side of the square, k0 = 2π times this number.",
    )
    clearance: float = Field(
        0.2,
        ge=0.001,
        le=0.4,
        description="Least distance of k² from a resonance, in mean distances between resonances. "
        "Media that are closer are drawn again; given instances that are closer are refused.",
    )


class Waves(SteadyFamily):
    """What both families of waves share: medium, source, and the form inside the square."""

    parameters = (
        Variable("k", "wavenumber"),
        Variable("f", "source"),
    )
    mesh_keys: ClassVar[tuple[str, ...]] = ("points", "sides", "spacing")
    operator = OperatorTraits(symmetric=True)

    @property
    def wavenumber(self) -> float:
        """k0, in radians over a side of the unit square."""
        return float(2 * np.pi * self.settings.wavelengths)

    def check(self) -> None:
        """Refuse a grid that does not resolve the shortest waves or the modes."""
        settings, degree, intervals = self.settings, self.mesh.degree, self.intervals
        shortest = settings.wavelengths * (1 + settings.variation)
        needed = POINTS_A_WAVELENGTH[degree] * shortest
        if needed > intervals:
            raise ConfigError(
                f"mesh.points {plain(self.mesh.points)} is {intervals / shortest:.1f} points in "
                f"the shortest wavelength, 1/{shortest:g} of the side, too few for elements of "
                f"degree {degree}: take at least {_coarsest(needed, degree)}"
                f"{self._on_a_side}, or less of parameters.wavelengths"
            )
        require_resolved(self, self.grid_points, "dirichlet")

    @property
    def intervals(self) -> float:
        """Intervals of the grid in a unit of length, along the axis that has fewest."""
        axes = zip(self.grid_points, self.sides, strict=True)
        return min((count_resolved([line]) - 1) / side for line, side in axes)

    @property
    def _on_a_side(self) -> str:
        """What a number of points is of, unless the domain is a unit square."""
        plain_square = set(self.sides) == {1.0} and self.mesh.spacing == "equidistant"
        return "" if plain_square else " equidistant points on a length of 1"

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw k and f at the points of the grid."""
        k = self.draw_medium(generator)
        return {"k": k, "f": self._draw_source(generator)}

    def draw_medium(self, generator: "np.random.Generator") -> Array:
        """Draw k at the points of the grid."""
        g = gaussian_field(self.settings, self.sides, periodic=self.mesh.periodic).draw(
            generator, self.grid_points
        )
        return np.asarray(self.wavenumber * (1 + self.settings.variation * hyperbolic_tangent(g)))

    def integrate_inside(self, u: Any, v: Any, k: Any) -> Any:
        """Return (grad u, grad v) - (k^2 u, v), integrated exactly."""
        import ufl

        dx = ufl.dx(metadata={"quadrature_degree": 4 * self.mesh.degree})
        return (ufl.inner(ufl.grad(u), ufl.grad(v)) - k**2 * ufl.inner(u, v)) * dx

    def _draw_source(self, generator: "np.random.Generator") -> Array:
        if self.settings.source == "field":
            field = gaussian_field(
                self.settings, self.sides, periodic=self.mesh.periodic, boundary="dirichlet"
            )
            return field.draw(generator, self.grid_points)
        width = self.settings.source_width / self.settings.wavelengths
        axes = zip(self.coordinates.values(), self.sides, strict=True)
        along = [abs(x - side * generator.uniform()) for x, side in axes]
        for number, (axis, side) in enumerate(zip(self.coordinates, self.sides, strict=True)):
            if self.is_periodic(axis):
                along[number] = np.minimum(along[number], side - along[number])
        square = sum(distance**2 for distance in np.ix_(*along))
        return np.asarray(exponential(-square / (2 * width**2)) / (2 * np.pi * width**2))


class HelmholtzAbsorbing(Waves):
    r"""Waves that leave the square, by an absorbing boundary condition of first order.

    Find $u = u_r + i u_i$ such that, for all v,

    $$ (\nabla u, \nabla v) - (k^2 u, v) - i \langle k u, v \rangle = -(f, v), $$

    the brackets being the integral over the boundary (Engquist and Majda, Math. Comp. 31,
    1977). Its real part is tested with real v, its imaginary part times -1 with real w:

    $$ a(u_r, v) - a(u_i, w) + \langle k u_i, v \rangle + \langle k u_r, w \rangle = -(f, v),
       \qquad a(u, v) = (\nabla u, \nabla v) - (k^2 u, v). $$

    This form is symmetric and indefinite, and its matrix is quadratic in k. There is no
    resonance: for f = 0, the imaginary part of the first form with v = u shows that u = 0, and so
    du/dn = 0, on the boundary. Then u = 0 everywhere.
    """

    summary = "Helmholtz equation in a random medium, absorbing boundary"
    equation = (
        "lap u + k^2 u = f in (0, 1)^2, du/dn = i k u on the boundary, u = u_real + i u_imag, "
        "k = k0 (1 + variation tanh g), g a Gaussian field"
    )
    may_be_periodic = ("x", "y")
    Settings = WaveSettings
    fields = (
        Variable("u_real", "real part"),
        Variable("u_imag", "imaginary part"),
    )

    def check(self) -> None:
        """Refuse also a domain from which waves cannot leave."""
        super().check()
        require_boundary(self, "through which waves leave")

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return the symmetric form of two by two blocks, without prescribed values."""
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        k = parameters["k"]
        ds = ufl.ds(metadata={"quadrature_degree": 3 * self.mesh.degree})
        inside = self.integrate_inside(u[0], v[0], k) - self.integrate_inside(u[1], v[1], k)
        boundary = k * (ufl.inner(u[1], v[0]) + ufl.inner(u[0], v[1])) * ds
        load = -ufl.inner(parameters["f"], v[0]) * ufl.dx
        return WeakForm(inside + boundary, load, boundary=())


class Helmholtz(Waves):
    r"""Waves in a square that reflects them, away from resonance.

    Find u, zero on the boundary, such that, for all v that are zero there,

    $$ (\nabla u, \nabla v) - (k^2 u, v) = -(f, v). $$

    Its matrix is symmetric, indefinite if k^2 is above the first resonance, and quadratic in k. At
    a resonance there is no solution. Near one, u is large and depends on the distance from it. So
    media closer than the clearance are drawn again, and the mesh must be so fine that it moves
    resonances by less than half the clearance.
    """

    summary = "Helmholtz equation in a random medium, u = 0 on the boundary, no resonance"
    equation = (
        "lap u + k^2 u = f in (0, 1)^2, u = 0 on the boundary, "
        "k = k0 (1 + variation tanh g), g a Gaussian field, resonances left out"
    )
    # Resonances are found on equidistant points.
    mesh_keys = ("points", "sides")
    may_be_periodic = ("x", "y")
    Settings = HelmholtzSettings
    fields = (Variable("u", "amplitude"),)

    def check(self) -> None:
        """Refuse a grid that does not resolve the waves, or that moves resonances too far."""
        super().check()
        require_boundary(self, "which reflects the waves")
        degree, k = self.mesh.degree, self.wavenumber
        # The mean distance between resonances, relative to k^2.
        allowed = 0.5 * self.settings.clearance * 4 * np.pi / k**2
        cells = k * (FREQUENCY_ERROR[degree] / allowed) ** (0.5 / degree)
        if cells > self.intervals / degree:
            other = "or mesh.degree 2, " if degree == 1 else ""
            raise ConfigError(
                f"mesh.points {plain(self.mesh.points)} moves resonances by more than half of "
                f"parameters.clearance {self.settings.clearance:g}: take at least "
                f"{_coarsest(cells * degree, degree)}{self._on_a_side}, {other}or less of "
                "parameters.wavelengths"
            )

    def _detuning(self, k: Array) -> float:
        """Return the distance of waves from resonance."""
        return find_detuning(k, self.sides, tuple(map(self.is_periodic, self.coordinates)))

    def check_instance(self, instance: Instance) -> None:
        """Refuse waves at resonance.

        Raises:
            DataError: The nearest resonance is closer than `clearance`.
        """
        k = np.asarray(instance["k"])
        if not (k > 0).all():
            raise DataError("the wavenumber k is not positive everywhere: correct how it is made")
        detuning = self._detuning(k)
        if detuning < self.settings.clearance:
            raise DataError(
                f"the waves are at resonance: k^2 is {detuning:.2g} mean distances of resonances "
                f"from the nearest one, less than parameters.clearance "
                f"{self.settings.clearance:g}; take another k, or the family helmholtz_absorbing, "
                "which has none"
            )

    def weak_form(self, space: Any, parameters: Mapping[str, Any]) -> WeakForm:
        """Return the form of real u, zero on the boundary."""
        import ufl

        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        load = -ufl.inner(parameters["f"], v) * ufl.dx
        return WeakForm(self.integrate_inside(u, v, parameters["k"]), load)

    def draw_medium(self, generator: "np.random.Generator") -> Array:
        """Draw k until it has the clearance.

        Raises:
            DataError: None of many media has it.
        """
        for _ in range(ATTEMPTS):
            k = super().draw_medium(generator)
            if self._detuning(k) >= self.settings.clearance:
                return k
        raise DataError(
            f"all of {ATTEMPTS} drawn media are closer to a resonance than parameters.clearance "
            f"{self.settings.clearance:g}: take a smaller one, or other parameters.wavelengths"
        )


def _coarsest(intervals: float, degree: int) -> int:
    """Return the points of the coarsest grid with that many intervals or more."""
    return degree * int(np.ceil(intervals / degree)) + 1
