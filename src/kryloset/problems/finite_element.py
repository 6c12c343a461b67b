# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Families of finite element functions on a mesh, by the kind of their equation.

A family names its parameters, draws them and writes down a form; which of the three
bases it derives from says how the form is solved: once (`SteadyFamily`), once a time
step (`EvolutionFamily`), or by Newton's method (`NonlinearFamily`).

By default the domain is a box of unit sides, cut into simplices. Lagrange elements of
degree p <= 2 on n cells a side have their degrees of freedom at the points of the
regular lattice of p n + 1 points a side, and one at each point. Parameters and solution
are stored at those points, so nothing is lost between solver and file.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kryloset.config import Section
from kryloset.errors import ConfigError
from kryloset.problems.base import AXES, Array, Family, Instance

if TYPE_CHECKING:
    from mpi4py import MPI

    import ufl
    from dolfinx import fem
    from dolfinx.mesh import Mesh


@dataclass(frozen=True)
class Dirichlet:
    """Values prescribed on a part of the boundary.

    Attributes:
        value: A number, or one of the parameters: a Constant, or a Function of such a space.
        where: Which points x, shape (3, points), are on that part; None for the whole boundary.
        part: Which sub-space of a mixed space.
        component: Which component of a vector; None for all, which then have `value` each.
        nodal: Prescribe it at the nodes that `where` finds, such as one node of a pressure
            that is known up to a constant, and not on facets.
    """

    value: Any = 0.0
    where: Callable[[Array], NDArray[np.bool_]] | None = None
    part: int | None = None
    component: int | None = None
    nodal: bool = False


class WeakForm(NamedTuple):
    """Find u such that a(u, v) = L(v) for all v, with u prescribed on parts of the boundary.

    Attributes:
        a: Bilinear form.
        L: Linear form.
        boundary: What is prescribed; by default u = 0 on the whole boundary. Empty where
            the conditions are in the forms.
    """

    a: "ufl.Form"
    L: "ufl.Form"
    boundary: tuple[Dirichlet, ...] = (Dirichlet(),)


class NonlinearForm(NamedTuple):
    """Find u such that F(u; v) = 0 for all v, with u prescribed on parts of the boundary.

    Attributes:
        F: Form that is linear in the test function v.
        boundary: As in `WeakForm`.
    """

    F: "ufl.Form"
    boundary: tuple[Dirichlet, ...] = (Dirichlet(),)


class Step(NamedTuple):
    """What a time step from t to t + size knows.

    Attributes:
        previous: States at t, t - size, and so on, as Functions of the solution's space. In
            the first step the older ones are the initial state too.
        size: Length of the step, a Constant.
        time: t + size, a Constant.
    """

    previous: "tuple[fem.Function, ...]"
    size: "fem.Constant"
    time: "fem.Constant"


def require_resolved(modes: int, points: int) -> None:
    """Refuse a cosine series with more terms along an axis than a grid resolves.

    Raises:
        ConfigError: `modes` is not less than `points`.
    """
    if modes >= points:
        raise ConfigError(
            f"parameters.modes {modes} is not less than mesh.points {points}: take at most "
            f"{points - 1} modes or a finer grid"
        )


class FiniteElementFamily(Family):
    """A family whose fields are finite element functions; by default on a box, nodal on its grid.

    Components of the solution's space are those of the fields, one after another. In a
    mixed space each sub-space is one field. A field whose degrees of freedom are not the
    points of the grid is evaluated there, and its degrees of freedom are stored under the
    name that `degrees_of_freedom` gives, in `unknowns`.
    """

    @property
    def sides(self) -> tuple[float, ...]:
        """Lengths of the sides of the box, one corner of which is the origin."""
        return (1.0,) * self.dimension

    @property
    def coordinates(self) -> dict[str, Array]:
        """The grid along each axis, boundaries included.

        Another may have points that are not equidistant, and of another number along each axis.
        """
        points = self.mesh.points
        return {
            axis: np.linspace(0.0, side, points)
            for axis, side in zip(AXES, self.sides, strict=False)
        }

    @property
    def components(self) -> int:
        """Number of components of all fields together."""
        return sum(self.dimension if field.rank else 1 for field in self.fields)

    def make_mesh(self, comm: "MPI.Comm") -> "Mesh":
        """Return the mesh: the box in equal simplices, as many as the grid has points for.

        Their vertices are points of the grid, if that is equidistant.

        Raises:
            ConfigError: Cells of `mesh.degree` do not fit the number of points along an axis.
        """
        from dolfinx import mesh

        lines = list(self.coordinates.values())
        cells = [self._cells_along(axis) for axis in self.coordinates]
        corners = [np.array([line[end] for line in lines]) for end in (0, -1)]
        match self.dimension:
            case 1:
                return mesh.create_interval(comm, cells[0], np.ravel(corners))
            case 2:
                return mesh.create_rectangle(comm, corners, cells)
            case _:
                return mesh.create_box(comm, corners, cells)

    def _cells_along(self, axis: str) -> int:
        points, degree = len(self.coordinates[axis]), self.mesh.degree
        if (points - 1) % degree:
            raise ConfigError(
                f"{type(self).__name__}.coordinates: {points} points along {axis} do not fit "
                f"mesh.degree {degree}: a cell has {degree + 1} points a side, so take "
                f"{points + 1}, or make a mesh of your own"
            )
        return (points - 1) // degree

    def make_element(self, cell: str) -> Any:
        """Return the element of the solution on that kind of cell: Lagrange of `mesh.degree`."""
        import basix.ufl

        shape = (self.components,) if self.components > 1 else None
        return basix.ufl.element("Lagrange", cell, self.mesh.degree, shape=shape)


class SteadyFamily(FiniteElementFamily):
    """A linear steady family: `draw` and `weak_form` are all it needs."""

    discretisation = "kryloset.fem.steady:SteadyDiscretisation"

    @abstractmethod
    def weak_form(self, space: "fem.FunctionSpace", parameters: Mapping[str, Any]) -> WeakForm:
        """Return the forms.

        Args:
            space: The space of the solution.
            parameters: By name, a Function for a parameter on the grid (a Lagrange
                function of `mesh.degree`, constant along the axes it lacks) and a Constant
                for a number. Their values change from instance to instance.
        """

    def check_instance(self, instance: Instance) -> None:
        """Refuse an instance that has no solution, before it is solved.

        Raises:
            DataError: It has none, such as waves at resonance; the caller adds its number.
        """


class EvolutionFamily(FiniteElementFamily):
    """A family with time steps, each of which solves a linear system.

    Its `Settings` have `steps` and `final_time`; every step is stored, so that its
    residual can be computed from the file. The matrix may change from instance to
    instance and not from step to step, so that all steps share a preconditioner.
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
        """Return the fields at time 0 on the grid, or the unknowns of those not nodal there.

        A field that is not nodal, and whose unknowns are not returned, is interpolated at its
        nodes, linearly along each axis of the grid, as parameters are.
        """

    @abstractmethod
    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], step: Step
    ) -> WeakForm:
        """Return the forms of a step; `step.previous` has `levels` states."""

    def check_state(self, time: float, state: Instance) -> None:
        """Refuse a state that cannot be a solution, before the next step. On rank 0.

        Args:
            time: Of the state.
            state: Fields, NaN at points outside of the domain, and unknowns.

        Raises:
            DataError: The time step is too long for explicit terms; the caller adds the
                instance's number.
        """


class NonlinearFamily(FiniteElementFamily):
    """A nonlinear steady family, solved by Newton's method from u = 0."""

    discretisation = "kryloset.fem.newton:NewtonDiscretisation"

    @abstractmethod
    def weak_form(
        self, space: "fem.FunctionSpace", parameters: Mapping[str, Any], u: "fem.Function"
    ) -> NonlinearForm:
        """Return the form F(u; v); its derivative is taken symbolically."""
