# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a family of PDE instances is, and what its discretisation does.

A family is light: it names its parameters, draws them and says what is known of
the operator. Its discretisation owns mesh, forms and matrix storage, and turns
one instance into linear systems and their solutions into fields.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.config import MeshConfig, Section

if TYPE_CHECKING:
    from mpi4py import MPI
    from petsc4py import PETSc

type Array = NDArray[np.float64]
#: The parameters of one instance by name, or its solution by name.
type Instance = Mapping[str, Array]

#: Axes of space, in their order.
AXES = ("x", "y", "z")


class Solve(Protocol):
    """Solves A x = b; the caller of a discretisation decides how, and keeps the evidence."""

    @property
    def tolerance(self) -> float:
        """Largest true relative residual that is good enough."""

    def __call__(self, operator: "PETSc.Mat", rhs: "PETSc.Vec") -> "PETSc.Vec":
        """Return x."""


@dataclass(frozen=True)
class Variable:
    """A quantity of the dataset.

    An array of one instance has the axes `dimensions`, after them one for the
    components where `rank` is 1, and before them that of time where it is part of
    the solution of a family with time steps.

    Attributes:
        name: Name in the file, such as `k`.
        long_name: What it is, in words.
        units: Unit of measurement, `1` where there is none.
        dimensions: Its axes; `()` for a number, None for all axes of the grid. An axis
            that is not one of the grid, such as `corner`, is one of this variable alone.
        transform: `log` where learning should see the logarithm of a positive quantity.
        rank: 0 for a scalar, 1 for a vector, which has a component an axis of the grid.
        fixed: Whether it is the same for every instance, such as a map of materials.
        ragged: Whether the length of its first axis differs from instance to instance.
        descriptive: Whether it only describes the instance to readers, as an angle from which a
            field was made, and is in no form. Instances are not sorted by it.
    """

    name: str
    long_name: str
    units: str = "1"
    dimensions: tuple[str, ...] | None = None
    transform: Literal["identity", "log"] = "identity"
    rank: Literal[0, 1] = 0
    fixed: bool = False
    ragged: bool = False
    descriptive: bool = False

    @property
    def compared(self) -> bool:
        """Whether instances are sorted by it."""
        return not (self.fixed or self.ragged or self.descriptive)

    def on(self, axes: tuple[str, ...]) -> "Variable":
        """Return the variable on a grid with these axes."""
        return replace(self, dimensions=axes) if self.dimensions is None else self

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of one instance, once they are known.

        Raises:
            ValueError: The variable is not on a grid yet: take it from a family's instance.
        """
        if self.dimensions is None:
            raise ValueError(f"variable {self.name} is not on a grid yet")
        return self.dimensions

    def lengths(self, coordinates: Mapping[str, Array]) -> tuple[int | None, ...]:
        """Return the shape of an array of one instance on a grid; None along axes of its own."""
        lengths = [len(coordinates[a]) if a in coordinates else None for a in self.axes]
        return (*lengths, len(coordinates)) if self.rank else tuple(lengths)


def fits(shape: tuple[int, ...], lengths: tuple[int | None, ...]) -> bool:
    """Return whether an array has these lengths, None standing for any."""
    return len(shape) == len(lengths) and all(
        wanted in (None, found) for wanted, found in zip(lengths, shape, strict=True)
    )


def in_words(lengths: tuple[int | None, ...]) -> str:
    """Return a shape as in "(3, any)"."""
    comma = "," if len(lengths) == 1 else ""
    return f"({', '.join('any' if n is None else str(n) for n in lengths)}{comma})"


def differing_axis(
    shapes: Mapping[Variable, tuple[int, ...]], coordinates: Mapping[str, Array]
) -> str | None:
    """Return an axis of their own that variables share, and have of several lengths.

    Args:
        shapes: Of the array of one instance by variable.
        coordinates: The grid, whose axes are not among these.
    """
    lengths: dict[str, int] = {}
    for variable, shape in shapes.items():
        # A ragged axis has in each instance and array as many rows as there are.
        for axis, length in list(zip(variable.axes, shape, strict=False))[variable.ragged :]:
            if axis not in coordinates and lengths.setdefault(axis, length) != length:
                return axis
    return None


def degrees_of_freedom(field: Variable, *, ragged: bool = False) -> Variable:
    """Return the variable that holds the degrees of freedom of a field.

    It is for fields whose degrees of freedom are not the points of the grid. Its name
    is that of the field with `_dofs`, its axis that name with `_dof`.
    """
    return Variable(
        f"{field.name}_dofs",
        f"degrees of freedom of {field.name}",
        field.units,
        (f"{field.name}_dof",),
        rank=field.rank,
        ragged=ragged,
    )


@dataclass(frozen=True)
class OperatorTraits:
    """What is known of the operator before any is assembled; solvers rely on it, tests prove it.

    Attributes:
        symmetric: A = A^T.
        definite: x^T A x > 0 for every x but zero (with `symmetric`: positive definite).
        constant: A is the same for every instance, and for every time step.
        affine: The entries of A are an affine function of the parameters.
        quadratic: They are sums of polynomials of degree 2 of one parameter function each (of a
            Jacobian also of the solution), and an affine function of numbers.
        affine_rhs: The right-hand side is an affine function of the parameters, before what is
            prescribed is lifted. That of a time step is affine in the states before instead, by
            matrices that all steps share.
        saddle_point: A is (F, B^T; B, -C) with C zero or semidefinite (Benzi, Golub, Liesen,
            Acta Numerica 14, 2005), on which incomplete factorisations and relaxations break
            down.
        nullspace: Functions that A maps to zero. The right-hand side is made orthogonal to
            them, and so is the solution; A is definite on what is left, if `definite`.
        near_nullspace: Functions with little energy, which algebraic multigrid wants to know.
    """

    symmetric: bool = False
    definite: bool = False
    constant: bool = False
    affine: bool = False
    quadratic: bool = False
    affine_rhs: bool = False
    saddle_point: bool = False
    nullspace: Literal["none", "constants"] = "none"
    near_nullspace: Literal["none", "rigid body motions"] = "none"


@dataclass(frozen=True)
class BoundaryCondition:
    """A condition on the two sides of the domain across one axis.

    Attributes:
        dimension: The axis, such as `x`.
        kind: The Well's word for it: `wall`, `open` or `periodic`.
        fields: Names of the fields it holds for.
        value: The value prescribed there.
        description: The condition in words.
    """

    dimension: str
    kind: Literal["wall", "open", "periodic"]
    fields: tuple[str, ...]
    value: float
    description: str


class Family(ABC):
    """A family of PDE instances; `docs/how-to/family.md` shows how to write one.

    Class attributes to set:
        summary: One line for `kryloset families`.
        equation: The equation with its boundary conditions, in plain text.
        dimensions: Numbers of space dimensions that it is written for, the default first.
        Settings: A `Section` with the family's own configuration keys.
        parameters: What `draw` returns.
        fields: What a solution consists of, on the grid.
        unknowns: What else of a solution is stored, so that its residual can be computed
            from the file: degrees of freedom that are not on the grid, meshes of instances.
        operator: What is known of the operator.
        discretisation: The class that discretises it, as `module:Class`, which takes a family
            and a communicator. A name and no import, so that a family depends on none of the
            other discretisations. A family that overrides `discretise` needs none.
        boundary_conditions: For the dataset's description of itself.

    An `__init__` of its own may set those of them that depend on the settings.

    Attributes:
        settings: An instance of `Settings`.
        mesh: Grid and elements.
        dimension: Number of space dimensions.
    """

    summary: ClassVar[str]
    equation: ClassVar[str]
    dimensions: ClassVar[tuple[int, ...]] = (2,)
    Settings: ClassVar[type[Section]] = Section
    parameters: tuple[Variable, ...]
    fields: tuple[Variable, ...]
    unknowns: tuple[Variable, ...] = ()
    operator: OperatorTraits = OperatorTraits()
    discretisation: str = ""
    boundary_conditions: tuple[BoundaryCondition, ...] = ()

    def __init__(self, settings: Any, mesh: MeshConfig) -> None:
        """Keep the settings and put the variables on the grid; nothing is built yet."""
        self.settings = settings
        self.mesh = mesh
        self.dimension = mesh.dimension or self.dimensions[0]
        axes = tuple(self.coordinates)
        self.parameters = tuple(variable.on(axes) for variable in self.parameters)
        self.fields = tuple(variable.on(axes) for variable in self.fields)

    @property
    @abstractmethod
    def coordinates(self) -> dict[str, Array]:
        """Coordinates of the grid by axis, in the order of the axes; each ascends."""

    def further_grid(self, points: int) -> dict[str, Array]:
        """Return the coordinates of one of `mesh.grids`: equidistant, with the same end points.

        Args:
            points: Points along each axis.
        """
        return {
            axis: np.linspace(line[0], line[-1], points) for axis, line in self.coordinates.items()
        }

    @property
    def times(self) -> Array | None:
        """The times of the stored states, the initial one first; None for a steady problem."""
        return None

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> dict[str, Array]:
        """Draw the parameters of one instance, using no other randomness than `generator`.

        Raises:
            DataError: What was drawn is no instance of the problem, such as a polygon
                that crosses itself; the caller adds the instance's number.
        """

    def discretise(self, comm: "MPI.Comm") -> "Discretisation":
        """Build mesh, spaces, forms and storage on the processes of `comm`.

        By default this makes what `discretisation` names. A family with a discretisation of
        its own overrides it.
        """
        module, _, name = self.discretisation.partition(":")
        made: Discretisation = getattr(importlib.import_module(module), name)(self, comm)
        return made

    def check(self) -> None:  # noqa: B027  (most families have nothing to add)
        """Check what depends on settings and mesh together, before any work.

        Raises:
            ConfigError: They do not fit.
        """

    def features(self, instance: Instance) -> Array:
        """Return the vector that stands for an instance when instances are sorted.

        The flattened parameters, so that Euclidean distances are the Frobenius
        distances of the SKR paper (ICLR 2024, algorithm 1). Where instances are many,
        `kryloset sort` shortens each parameter by itself along the axes of its grid; a
        vector of a family's own it shortens as a whole.
        """
        varying = [v for v in self.parameters if v.compared]
        return np.concatenate([np.ravel(instance[v.name]) for v in varying])


class Discretisation(ABC):
    """A family on a mesh: everything that instances share, and the storage they reuse."""

    @abstractmethod
    def solve(self, instance: Instance, solve: Solve) -> dict[str, Array]:
        """Solve one instance.

        A linear steady family calls `solve` once; one with time steps or Newton
        iterations calls it for each, so that recycling runs through them.

        Returns:
            The fields and unknowns by name on rank 0, with an axis of time in front if
            the family has times; an empty dictionary on other ranks. Where each instance has
            a mesh of its own, also `inside`: which points of the grid lie in the domain, (*grid)
            of int8. At the others fields are NaN.

        Raises:
            DataError: The instance is none of the problem, such as one with a negative
                conductivity; the caller adds its number.
        """

    @abstractmethod
    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return ||b - A x|| / ||b|| of a stored solution, from a fresh assembly.

        It is independent of the solver: x is read back from fields and unknowns, and
        the product with A is made without PETSc. Of several systems the largest counts;
        of a nonlinear equation F(x) = 0 it is ||F(x)|| / ||F(0)||. Serial.
        """

    def nonlinear_residual(self) -> float | None:
        """Return ||F(x)|| / ||F(0)|| of the instance solved last; None for a linear problem."""
        return None

    def resample(self, points: int, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Return parameters and fields on another grid, by evaluating the same functions.

        Args:
            points: Points of that grid a side.
            instance: The parameters.
            solution: What `solve` returned.

        Returns:
            The variables that are on the grid, by name, on rank 0; `inside` as of `solve`.

        Raises:
            NotImplementedError: The discretisation knows its own grid only.
        """
        raise NotImplementedError(f"{type(self).__name__} knows its own grid only")

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Return again what `solve` found on the grid by evaluating a function, from its unknowns.

        Args:
            instance: The parameters.
            solution: What `solve` returned, of which the unknowns are believed.

        Returns:
            Fields by name, and `inside` as of `solve`, on rank 0; by default there are none.
        """
        return {}

    def forgotten(self) -> list[str]:
        """Return the parameters that change no solution, as far as can be known before any."""
        return []

    def meshes(self) -> dict[str, Array]:
        """Return the mesh that all instances share, for methods on graphs and point clouds.

        Returns:
            By name, on rank 0: `<field>_points` (nodes, axes) and `<field>_cells` (cells,
            nodes of a cell), the numbers of the nodes being those of the degrees of
            freedom: the points of the grid in C order, or the rows of `<field>_dofs`.
        """
        return {}

    def masks(self) -> dict[int | None, NDArray[np.int8]]:
        """Return which points lie in the domain, where a mesh that all share leaves some out.

        Returns:
            By points a side of a further grid, or None for that of the dataset: (*grid), 1 inside
            and 0 outside, where fields are NaN. Grids that the mesh covers are not there.
        """
        return {}
