# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Steady heat conduction in polygons: -div(c grad T) = 0."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError, DataError
from kryloset.problems.base import (
    Array,
    Instance,
    OperatorTraits,
    Variable,
    degrees_of_freedom,
)
from kryloset.problems.finite_element import Dirichlet, SteadyFamily, WeakForm
from kryloset.problems.lattice import spread_over
from kryloset.problems.tools.gaussian import length_setting, modes_setting, require_resolved
from kryloset.problems.tools.polygons import distance_to_edges, is_simple, mesh_polygon
from kryloset.problems.tools.ranges import Range
from kryloset.sampling import GaussianField, Lognormal, cosine, sine

if TYPE_CHECKING:
    from mpi4py import MPI

    from dolfinx import fem
    from dolfinx.mesh import Mesh

#: The slab with a slot of the SKR paper's thermal set [m].
SLAB = np.array([[-0.5, -0.8], [0.5, -0.8], [0.5, 0.8], [-0.5, 0.8]])
SLOT = np.array([[-0.05, -0.4], [0.05, -0.4], [0.05, 0.4], [-0.05, 0.4]])

#: Fraction of the domain's size by which a point on the boundary may be off through rounding.
_ON = 1e-9

type Corners = tuple[tuple[float, float], ...]


class ThermalSettings(Section):
    """Settings of the family `thermal`."""

    outline: Literal["slab", "drawn"] | Annotated[Corners, Field(min_length=4)] = Field(
        "slab",
        description="slab: the slab with a slot of the SKR paper, one mesh for all; drawn: a "
        "polygon and a mesh for each instance; or the corners [x, y] in metres of a polygon.",
    )
    corners: int = Field(8, ge=5, le=64, description="Corners of a drawn polygon.")
    left: Range = Field((-100.0, 0.0), description="Range of the temperature on the left [°C].")
    right: Range = Field((0.0, 100.0), description="Range of the temperature on the right [°C].")
    flux: Range = Field((-100.0, 100.0), description="Range of the heat flux inwards [W/m²].")
    conductivity: Literal["constant", "lognormal"] = Field(
        "constant", description="constant: 1 W/(m K) everywhere; lognormal: a random field."
    )
    log_deviation: float = Field(
        1.0, gt=0, le=5, description="Standard deviation of a random log c, averaged."
    )
    length: float = length_setting(1 / 3, "log c", unit="sides of the grid's box")
    modes: int = modes_setting(16, "log c")


class Thermal(SteadyFamily):
    r"""Temperature in a polygon with two prescribed temperatures, a heat flux and insulation.

    Find T with T = left on the edge furthest to the left, T = right on that furthest to
    the right, and, for all v that vanish there,

    26226 \int_\Omega c\, \nabla T \cdot \nabla v = \int_{\Gamma} q\, v, 26226

    where the flux q enters through $\Gamma$: the sides of the slot or, without a slot, all other
    edges. The remaining edges are insulated.
    """

    summary = "Steady heat in a slab with a slot, or in a polygon drawn for each instance"
    equation = (
        "-div(c grad T) = 0 in a polygon, T = left and T = right on two edges, "
        "c dT/dn = flux on the slot or on the other edges, else c dT/dn = 0"
    )
    mesh_keys = ("points", "spacing")
    Settings = ThermalSettings
    parameters: tuple[Variable, ...] = (
        Variable("left", "temperature on the left", "degC", ()),
        Variable("right", "temperature on the right", "degC", ()),
        Variable("flux", "heat flux inwards", "W/m^2", ()),
    )
    fields = (Variable("T", "temperature", "degC"),)
    operator = OperatorTraits(symmetric=True, definite=True)

    def __init__(
        self, settings: ThermalSettings, mesh: MeshConfig, box: Array | None = None
    ) -> None:
        """Set variables, operator and discretisation by the settings.

        Args:
            settings: The settings of the family.
            mesh: Grid and elements.
            box: Points whose bounding box the grid covers; by default the corners of the domain.
        """
        self._box = box
        drawn, random = settings.outline == "drawn", settings.conductivity == "lognormal"
        if drawn:
            self.discretisation = "kryloset.fem.remeshed:RemeshedDiscretisation"
        parameters = list(self.parameters)
        if drawn:
            corners = Variable("corners", "corners of the polygon", "m", ("corner",), rank=1)
            parameters.append(corners)
        if random:
            parameters.append(Variable("c", "conductivity", "W/(m K)", transform="log"))
        self.parameters = tuple(parameters)
        unknowns = [degrees_of_freedom(self.fields[0], ragged=drawn)]
        if drawn:
            unknowns += [
                Variable("T_points", "nodes of T", "m", ("T_dof",), rank=1, ragged=True),
                Variable("T_cells", "nodes of each cell", "1", ("T_cell", "T_node"), ragged=True),
            ]
        self.unknowns = tuple(unknowns)
        self.operator = OperatorTraits(
            symmetric=True,
            definite=True,
            constant=not drawn and not random,
        )
        super().__init__(settings, mesh)

    @property
    def outline(self) -> Array:
        """Corners of the domain, or of the box in which it is drawn, shape (corners, 2)."""
        match self.settings.outline:
            case "slab":
                return SLAB
            case "drawn":
                return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
            case corners:
                return np.asarray(corners, dtype=np.float64)

    @property
    def holes(self) -> list[Array]:
        """Corners of the slot, if there is one."""
        return [SLOT] if self.settings.outline == "slab" else []

    @property
    def coordinates(self) -> dict[str, Array]:
        """The grid in the bounding box of the domain."""
        box = self.outline if self._box is None else self._box
        low, high = box.min(axis=0), box.max(axis=0)
        ends = zip("xy", self.grid_points, low, high, strict=True)
        return {axis: spread_over(line, *between) for axis, line, *between in ends}

    def check(self) -> None:
        """Refuse polygons that cross themselves, and more modes than the grid resolves."""
        if self.settings.outline != "drawn":
            try:
                _two_edges(self.outline)
            except DataError as error:
                raise ConfigError(f"parameters.outline: {error}") from None
        if self.settings.conductivity == "lognormal":
            require_resolved(self, self.grid_points)

    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw temperatures and flux; then the polygon and the conductivity, if they are random.

        Raises:
            DataError: The polygon crosses itself, or is too slim for two temperatures.
        """
        settings = self.settings
        ranges = {"left": settings.left, "right": settings.right, "flux": settings.flux}
        drawn = {name: np.asarray(generator.uniform(*range_)) for name, range_ in ranges.items()}
        if settings.outline == "drawn":
            drawn["corners"] = self._draw_corners(generator)
            _two_edges(drawn["corners"])
        if settings.conductivity == "lognormal":
            field = GaussianField(
                deviation=settings.log_deviation, length=settings.length, modes=settings.modes
            )
            drawn["c"] = Lognormal(field).draw(generator, self.grid_points)
        return drawn

    def make_mesh(self, comm: "MPI.Comm") -> "Mesh":
        """Mesh the domain with edges as long as the spacing of as many equidistant points."""
        grid = self.further_grid(self.mesh.points)
        size = max(axis[1] - axis[0] for axis in grid.values()) * self.mesh.degree
        return mesh_polygon(comm, self.outline, self.holes, size)

    def weak_form(self, space: "fem.FunctionSpace", parameters: Mapping[str, Any]) -> WeakForm:
        """Return a(T, v) = (c grad T, grad v) and L(v) = (flux, v) on the heated edges."""
        import dolfinx.mesh
        import ufl

        t, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        domain = space.mesh
        left, right = _two_edges(self.outline)
        others = [edge for edge in range(len(self.outline)) if edge not in (left, right)]
        heated = _on_edges(SLOT, range(4)) if self.holes else _on_edges(self.outline, others)
        facets = np.sort(dolfinx.mesh.locate_entities_boundary(domain, 1, heated))
        tags = dolfinx.mesh.meshtags(domain, 1, facets, np.ones(len(facets), dtype=np.int32))
        ds = ufl.Measure("ds", domain=domain, subdomain_data=tags)
        a = ufl.inner(parameters.get("c", 1.0) * ufl.grad(t), ufl.grad(v)) * ufl.dx
        return WeakForm(
            a,
            parameters["flux"] * v * ds(1),
            (
                Dirichlet(parameters["left"], _on_edges(self.outline, [left])),
                Dirichlet(parameters["right"], _on_edges(self.outline, [right])),
            ),
        )

    def on_own_mesh(self, instance: Instance) -> "Thermal":
        """Return the family of one drawn polygon."""
        corners = tuple(tuple(corner) for corner in instance["corners"].tolist())
        settings = self.settings.model_copy(update={"outline": corners})
        own = Thermal(settings, self.mesh, box=self.outline)
        own.operator = self.operator
        return own

    def _draw_corners(self, generator: "np.random.Generator") -> Array:
        """Draw a star-shaped polygon in the unit circle, corners in counter-clockwise order."""
        count = self.settings.corners
        angles = 2 * np.pi * (np.arange(count) + generator.uniform(-0.3, 0.3, count)) / count
        radii = generator.uniform(0.5, 1.0, count)
        return np.stack([radii * cosine(angles), radii * sine(angles)], axis=1)


def _two_edges(corners: Array) -> tuple[int, int]:
    """Return the edges furthest to the left and to the right, by their midpoints.

    Raises:
        DataError: The polygon crosses itself, or the two edges share a corner, which would have
            two temperatures.
    """
    if not is_simple(corners):
        raise DataError(f"the polygon {np.round(corners, 4).tolist()} crosses itself")
    middle = corners[:, 0] + np.roll(corners[:, 0], -1)
    left, right = int(np.argmin(middle)), int(np.argmax(middle))
    if (left - right) % len(corners) in (1, len(corners) - 1):
        raise DataError(
            f"the edges of the polygon {np.round(corners, 4).tolist()} furthest to the left and to "
            "the right meet at a corner, which would have two temperatures: add a corner there"
        )
    return left, right


def _on_edges(corners: Array, edges: Any) -> Callable[[Array], NDArray[np.bool_]]:
    """Return a marker of points, shape (3, points), on some edges of a polygon."""
    chosen = list(edges)
    size = np.ptp(corners, axis=0).max()

    def on(x: Array) -> NDArray[np.bool_]:
        return distance_to_edges(x[:2].T, corners)[:, chosen].min(axis=1) < _ON * size

    return on
