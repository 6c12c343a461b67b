# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Base classes of families that are discretised by finite elements, and the data they return.

A family draws its parameters and returns a form. Its base class determines how the form is solved:
once (`SteadyFamily`), once in each time step (`EvolutionFamily`), or by Newton's method
(`NonlinearFamily`).

By default the domain is the unit square or cube, divided into simplices. Lagrange elements of
degree p <= 2 on n cells along an axis have one degree of freedom at each point of the lattice with
p n + 1 points along that axis. Parameters and solution are stored at these points, so that nothing
is lost between solver and file.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kryloset.config import MeshConfig, Section
from kryloset.errors import ConfigError
from kryloset.problems.base import AXES, Array, Family, Instance, Variable
from kryloset.problems.lattice import ROUNDING, lines_of, midpoints_of, spread_over, vertices_of

if TYPE_CHECKING:
    from mpi4py import MPI

    import ufl
    from dolfinx import fem
    from dolfinx.mesh import Mesh

    from kryloset.sampling import Line


@dataclass(frozen=True)
class Dirichlet:
    """Prescribed values on a part of the boundary.

    Attributes:
        value: A number, or one of the parameters: a Constant, or a Function on that part's space.
        where: Marks the points x, shape (3, points), that are on that part; or the tag of its
            facets, a number or a name; None for the whole boundary.
        part: Number of the sub-space of a mixed space.
        component: Number of the component of a vector; None to prescribe `value` for each.
        nodal: Whether values are prescribed at the nodes that `where` marks instead of on facets,
            such as at one node of a pressure that is determined up to a constant.
    """

    value: Any = 0.0
    where: Callable[[Array], NDArray[np.bool_]] | str | int | None = None
    part: int | None = None
    component: int | None = None
    nodal: bool = False


class WeakForm(NamedTuple):
    """Find u such that a(u, v) = L(v) for all v, with u prescribed on parts of the boundary.

    Attributes:
        a: Bilinear form.
        L: Linear form.
        boundary: Prescribed values; by default u = 0 on the whole boundary. Empty if the forms
            contain the boundary conditions.
    """

    a: "ufl.Form"
    L: "ufl.Form"
    boundary: tuple[Dirichlet, ...] = (Dirichlet(),)


class NonlinearForm(NamedTuple):
    """Find u such that F(u; v) = 0 for all v, with u prescribed on parts of the boundary.

    Attributes:
        F: Form, linear in the test function v.
        boundary: As in `WeakForm`.
    """

    F: "ufl.Form"
    boundary: tuple[Dirichlet, ...] = (Dirichlet(),)


class Step(NamedTuple):
    """The data of a time step from t to t + size.

    Attributes:
        previous: States at t, t - size, and so on, as Functions on the space of the solution. In
            the first step all of them are the initial state.
        size: Length of the step, a Constant.
        time: t + size, a Constant.
    """

    previous: "tuple[fem.Function, ...]"
    size: "fem.Constant"
    time: "fem.Constant"


def at_nodes(parameter: Variable, *, ragged: bool = False) -> Variable:
    """Return the variable with the values of a parameter at the nodes of the mesh."""
    axis, words = f"{parameter.name}_node", f"{parameter.long_name} at the nodes of the mesh"
    name, units = f"{parameter.name}_nodes", parameter.units
    return Variable(name, words, units, (axis,), rank=parameter.rank, ragged=ragged)


class FiniteElementFamily(Family):
    """A family whose fields are finite element functions, by default on a box.

    The components of the solution's space are those of the fields, one after another. In a mixed
    space each sub-space is one field. A field whose degrees of freedom are not at the points of
    the grid is evaluated there, and needs `degrees_of_freedom(field)` among the `unknowns`.
    """

    def __init__(self, settings: Any, mesh: MeshConfig) -> None:
        """Name the sides of another box in all texts, and declare parameters at nodes."""
        super().__init__(settings, mesh)
        if mesh.nodal_parameters:
            ragged = any(variable.ragged for variable in self.unknowns)
            axes = set(self.coordinates)
            on_grid = [v for v in self.parameters if v.axes and set(v.axes) <= axes]
            self.unknowns = (*self.unknowns, *(at_nodes(v, ragged=ragged) for v in on_grid))
        if mesh.sides is not None:
            self.equation = self._restate(self.equation)
            self.parameters = tuple(
                replace(v, long_name=self._restate(v.long_name)) for v in self.parameters
            )
            self.boundary_conditions = tuple(
                replace(c, description=self._restate(c.description))
                for c in self.boundary_conditions
            )

    def _restate(self, text: str) -> str:
        """Return a text that is about the unit square or cube with the sides of the box."""
        sides = dict(zip(AXES, self.sides, strict=False))
        box = " x ".join(f"(0, {side:g})" for side in sides.values())
        text = re.sub(r"\(0, 1\)\^[23d]", box, text)
        for axis, side in sides.items():
            # Not the beginning of 1/2 or of 1.5.
            text = re.sub(rf"\b{axis} = 1(?![./]?\w)", f"{axis} = {side:g}", text)
        return text

    @property
    def sides(self) -> tuple[float, ...]:
        """Lengths of the sides of the box. One of its corners is the origin."""
        return self.mesh.sides or (1.0,) * self.dimension

    @property
    def grid_points(self) -> "tuple[Line, ...]":
        """The points of each axis, where random fields are drawn.

        An axis is the number of its points, if they are equidistant and include both ends.
        Otherwise it is an array of them, in fractions of the side.
        """
        return lines_of(self.mesh, self.dimension)

    @property
    def cell_points(self) -> "tuple[Line, ...]":
        """The centres of the cells along each axis, in fractions of the side.

        Random fields for parameters with placement `cells` are drawn there.
        """
        return tuple(midpoints_of(line, self.mesh.degree) for line in self.grid_points)

    @property
    def coordinates(self) -> dict[str, Array]:
        """Coordinates of the grid along each axis, boundaries included.

        The end of a periodic axis is left out. A subclass may return points that are not
        equidistant, except along a periodic axis, and a different number of points along each axis.
        """
        return {
            axis: spread_over(line, 0.0, side)
            for axis, side, line in zip(AXES, self.sides, self.grid_points, strict=False)
        }

    def on_side(self, axis: str, end: Literal[0, 1]) -> Callable[[Array], NDArray[np.bool_]]:
        """Return a function that marks points on a side of the box, for `where` of a condition.

        Args:
            axis: The axis across that side.
            end: 0 for the side where the axis begins, 1 for that where it ends.
        """
        lines, number = self.coordinates, list(self.coordinates).index(axis)
        place = self.end_of(axis) if end else lines[axis][0]
        rounding = ROUNDING * max(self.end_of(each) - line[0] for each, line in lines.items())
        return lambda x: np.asarray(abs(x[number] - place) <= rounding)

    def between_points(self, values: Array, points: Array) -> Array:
        """Interpolate between the points of the grid, linearly along each axis.

        So parameters, and initial states, are defined at the nodes of a mesh that are no points of
        the grid.

        Args:
            values: (*grid, ...).
            points: (points, dimension), where to interpolate.

        Returns:
            (points, ...).
        """
        from scipy.interpolate import RegularGridInterpolator

        axes = list(self.coordinates.values())
        for number, axis in enumerate(self.coordinates):
            if self.is_periodic(axis):
                # The last point comes again before the first, and the first after the last.
                line, period = axes[number], self.end_of(axis) - axes[number][0]
                axes[number] = np.array([line[-1] - period, *line, line[0] + period])
                values = np.take(values, range(-1, len(line) + 1), axis=number, mode="wrap")
        # A node on the boundary may be outside the grid by a rounding.
        within = np.clip(points, [axis[0] for axis in axes], [axis[-1] for axis in axes])
        return np.asarray(RegularGridInterpolator(tuple(axes), values)(within))

    @property
    def components(self) -> int:
        """Total number of components of all fields."""
        return sum(self.dimension if field.rank else 1 for field in self.fields)

    def make_mesh(self, comm: "MPI.Comm") -> "Mesh":
        """Return the mesh: the box, divided into simplices, which are equal by default.

        If the grid is equidistant, or `mesh.spacing` says where its points are, their vertices are
        points of the grid.

        Raises:
            ConfigError: The number of points along an axis does not fit cells of `mesh.degree`.
        """
        from dolfinx import mesh

        lines = list(self.coordinates.values())
        cells = [self.cells_along(axis) for axis in self.coordinates]
        ends = [self.end_of(axis) for axis in self.coordinates]
        corners = [np.array([line[0] for line in lines]), np.array(ends)]
        match self.dimension:
            case 1:
                domain = mesh.create_interval(comm, cells[0], np.ravel(corners))
            case 2:
                domain = mesh.create_rectangle(comm, corners, cells)
            case _:
                domain = mesh.create_box(comm, corners, cells)
        if self.mesh.spacing != "equidistant":
            for number, vertices in enumerate(vertices_of(self).values()):
                # Of an equidistant vertex, its number along the axis.
                scale = cells[number] / (vertices[-1] - vertices[0])
                along = (domain.geometry.x[:, number] - vertices[0]) * scale
                domain.geometry.x[:, number] = vertices[np.rint(along).astype(np.intp)]
        return domain

    def cells_along(self, axis: str) -> int:
        """Return the number of cells of the default mesh along an axis.

        Raises:
            ConfigError: The number of points along it does not fit cells of `mesh.degree`.
        """
        points, degree = len(self.coordinates[axis]), self.mesh.degree
        intervals = points if self.is_periodic(axis) else points - 1
        if intervals % degree:
            raise ConfigError(
                f"{type(self).__name__}.coordinates: {points} points along {axis} do not fit "
                f"mesh.degree {degree}: a cell has {degree + 1} points a side, so take "
                f"{points + 1}, or make a mesh of your own"
            )
        return intervals // degree

    def make_element(self, cell: str) -> Any:
        """Return the element of the solution: Lagrange of `mesh.degree` with all components.

        Args:
            cell: Basix's name of the kind of cell, such as `triangle`.
        """
        import basix.ufl

        shape = (self.components,) if self.components > 1 else None
        return basix.ufl.element("Lagrange", cell, self.mesh.degree, shape=shape)


class SteadyFamily(FiniteElementFamily):
    """A linear steady family. It needs `draw` and `weak_form`."""

    discretisation = "kryloset.fem.steady:SteadyDiscretisation"

    @abstractmethod
    def weak_form(self, space: "fem.FunctionSpace", parameters: Mapping[str, Any]) -> WeakForm:
        """Return the forms.

        Args:
            space: The space of the solution.
            parameters: By name, a Function for each parameter on the grid (a Lagrange function of
                `mesh.degree`, constant along axes that the parameter lacks) and a Constant for
                each number. Their values change from instance to instance.
        """

    def check_instance(self, instance: Instance) -> None:
        """Refuse an instance that has no solution, before it is solved.

        Raises:
            DataError: It has no solution, such as waves at resonance. The caller adds its number.
        """


class EvolutionFamily(FiniteElementFamily):
    """A family with time steps. Each step solves a linear system.

    Its `Settings` have `steps` and `final_time`. All steps are stored, so that residuals can be
    computed from the file. The matrix may differ between instances but not between steps, so that
    all steps of an instance share a preconditioner.

    Attributes:
        levels: Number of previous states that a step depends on.
    """

    discretisation = "kryloset.fem.evolution:EvolutionDiscretisation"
    Settings: ClassVar[type[Section]]
    levels: ClassVar[int] = 1

    @property
    def times(self) -> Array:
        """Equidistant times from 0 to `final_time`."""
        return np.linspace(0.0, self.settings.final_time, self.settings.steps + 1)

    @abstractmethod
    def initial_state(self, instance: Instance) -> dict[str, Array]:
        """Return the fields at time 0.

        Returns:
            By name: fields on the grid, or the degrees of freedom of fields that have `unknowns`.
            A field with `unknowns` that is returned on the grid is interpolated to its nodes,
            linearly along each axis, as parameters are.
        """

    @abstractmethod
    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], step: Step
    ) -> WeakForm:
        """Return the forms of a step. `step.previous` has `levels` states."""

    def check_state(self, time: float, state: Instance) -> None:
        """Refuse a state that cannot be a solution, before the next step. Called on rank 0.

        Args:
            time: Time of the state.
            state: Fields, with NaN at points outside the domain, and unknowns.

        Raises:
            DataError: The state cannot be a solution, for example because the time step is too
                long for explicit terms. The caller adds the number of the instance.
        """


class NonlinearFamily(FiniteElementFamily):
    """A nonlinear steady family, solved by Newton's method from u = 0."""

    discretisation = "kryloset.fem.newton:NewtonDiscretisation"

    @abstractmethod
    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], u: "fem.Function"
    ) -> NonlinearForm:
        """Return the form F(u; v). Its derivative is computed symbolically."""
