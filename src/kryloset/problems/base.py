# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Base classes of families and discretisations.

A family names its parameters, draws them and declares what is known of its operator. It builds
nothing. Its discretisation owns mesh, forms and matrix storage: it turns an instance into linear
systems, and their solutions into fields.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints, MeshConfig, Section

if TYPE_CHECKING:
    from mpi4py import MPI
    from petsc4py import PETSc

type Array = NDArray[np.float64]
#: The arrays of one instance by name: its parameters, or its solution.
type Instance = Mapping[str, Array]

#: Axes of space, in order.
AXES = ("x", "y", "z")


class Solve(Protocol):
    """Solves A x = b, or an ensemble (`krylov.ensemble.matrix`); the caller keeps its records."""

    @property
    def tolerance(self) -> float:
        """Largest true relative residual ||b - A x|| / ||b|| that is accepted."""

    def __call__(self, operator: "PETSc.Mat", rhs: "PETSc.Vec") -> "PETSc.Vec":
        """Return x."""


@dataclass(frozen=True)
class Variable:
    """A quantity of the dataset.

    The array of one instance has the axes `dimensions`. A vector (`rank` 1) has an axis of
    components after them. A part of the solution of a family with time steps has an axis of time
    before them.

    Attributes:
        name: Name in the file, such as `k`.
        long_name: Description in words.
        units: Unit of measurement; `1` if there is none.
        dimensions: Names of its axes: `()` for a number, None for all axes of the grid. An axis
            that the grid does not have, such as `corner`, belongs to this variable alone.
        transform: `log` if learning should see the logarithm of a positive quantity.
        rank: 0 for a scalar, 1 for a vector with a component for each axis of the grid.
        fixed: Whether it is the same for all instances, such as a map of materials.
        ragged: Whether the length of its first axis differs between instances.
        descriptive: Whether it only describes the instance to readers, such as an angle from
            which a field was made, and appears in no form. Instances are not sorted by it.
        placement: `cells` for a scalar parameter that is constant in each cell of the lattice. Its
            axes are then `x_cell` and so on.
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
    placement: Literal["points", "cells"] = "points"

    @property
    def compared(self) -> bool:
        """Whether instances are sorted by this variable."""
        return not (self.fixed or self.ragged or self.descriptive)

    def on(self, axes: tuple[str, ...]) -> "Variable":
        """Return the variable with these axes of the grid as its dimensions, if it has none yet."""
        own = axes if self.placement == "points" else tuple(map(cell_axis, axes))
        return replace(self, dimensions=own) if self.dimensions is None else self

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, once the grid is known.

        Raises:
            ValueError: The variable is on no grid yet. Take it from an instance of the family.
        """
        if self.dimensions is None:
            raise ValueError(f"variable {self.name} is not on a grid yet")
        return self.dimensions

    def lengths(
        self,
        coordinates: Mapping[str, Array],
        centres: Mapping[str, Array] = MappingProxyType({}),
    ) -> tuple[int | None, ...]:
        """Return the shape of the array of one instance; None along axes of its own.

        Args:
            coordinates: The grid.
            centres: The centres of its cells, by axis of cells.
        """
        lines = {**coordinates, **centres}
        lengths = [len(lines[axis]) if axis in lines else None for axis in self.axes]
        return (*lengths, len(coordinates)) if self.rank else tuple(lengths)


def cell_axis(axis: str) -> str:
    """Return the name of the axis of cells along an axis of the grid."""
    return f"{axis}_cell"


def degrees_of_freedom(field: Variable, *, ragged: bool = False) -> Variable:
    """Return the variable that stores the degrees of freedom of a field.

    Fields whose degrees of freedom are not at the points of the grid need one. For a field `u` it
    is called `u_dofs`, and its axis `u_dof`.
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
    """What is known of the operator A before it is assembled. Solvers rely on it.

    Attributes:
        symmetric: A = A^T.
        definite: x^T A x > 0 for all x other than zero; with `symmetric`, positive definite.
        constant: A is the same for all instances and all time steps.
        saddle_point: A is (F, B^T; B, -C) with C zero or semidefinite (Benzi, Golub, Liesen,
            Acta Numerica 14, 2005). Incomplete factorisations and relaxations break down on it.
        nullspace: Functions that A maps to zero. The right-hand side and the solution are made
            orthogonal to them. With `definite`, A is definite on the orthogonal complement.
        near_nullspace: Functions of low energy, which algebraic multigrid uses.
    """

    symmetric: bool = False
    definite: bool = False
    constant: bool = False
    saddle_point: bool = False
    nullspace: Literal["none", "constants"] = "none"
    near_nullspace: Literal["none", "rigid body motions"] = "none"


@dataclass(frozen=True)
class BoundaryCondition:
    """A boundary condition on the two sides of the domain across one axis, for readers.

    Attributes:
        dimension: The axis, such as `x`.
        kind: The Well's word for it: `wall`, `open` or `periodic`.
        fields: Names of the fields that it holds for.
        value: The prescribed value.
        description: The condition in words.
    """

    dimension: str
    kind: Literal["wall", "open", "periodic"]
    fields: tuple[str, ...]
    value: float
    description: str


class Family(ABC):
    """A family of PDE instances. `docs/how-to/family.md` shows how to write one.

    Class attributes to set:
        summary: One line for `kryloset families`.
        equation: The equation with its boundary conditions, in plain text.
        dimensions: The space dimensions that it is written for, the default first.
        mesh_keys: Which of `points` (as a list), `sides` and `spacing` it is written for.
        Settings: A `Section` with the configuration keys of the family.
        parameters: The variables that `draw` returns.
        fields: The fields of a solution, on the grid.
        unknowns: What else is stored of a solution so that its residual can be computed from the
            file: degrees of freedom that are not on the grid, and meshes of single instances.
        operator: What is known of the operator.
        discretisation: The class that discretises the family, as `module:Class`. It is called
            with the family and a communicator. It is a name and not an import, so that a family
            depends on its own discretisation alone. A family that overrides `discretise` needs
            none.
        boundary_conditions: The boundary conditions, for readers of the dataset.
        may_be_periodic: The axes that `mesh.periodic` may name.

    The `__init__` of a subclass may set those that depend on the settings.

    Attributes:
        settings: An instance of `Settings`.
        mesh: Grid and elements.
        dimension: Number of space dimensions.
        given: Names of the parameters that are read from a file, and not drawn.
    """

    summary: ClassVar[str]
    equation: str
    dimensions: ClassVar[tuple[int, ...]] = (2,)
    mesh_keys: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar[type[Section]] = Section
    parameters: tuple[Variable, ...]
    fields: tuple[Variable, ...]
    unknowns: tuple[Variable, ...] = ()
    operator: OperatorTraits = OperatorTraits()
    discretisation: str = ""
    boundary_conditions: tuple[BoundaryCondition, ...] = ()
    may_be_periodic: ClassVar[tuple[str, ...]] = ()
    given: Collection[str] = ()

    def __init__(self, settings: Any, mesh: MeshConfig) -> None:
        """Keep the settings and put the variables on the grid. Nothing is built yet."""
        self.settings = settings
        self.mesh = mesh
        self.dimension = mesh.dimension or self.dimensions[0]
        axes = tuple(self.coordinates)
        self.parameters = tuple(variable.on(axes) for variable in self.parameters)
        self.fields = tuple(variable.on(axes) for variable in self.fields)

    @property
    @abstractmethod
    def coordinates(self) -> dict[str, Array]:
        """Ascending coordinates of the grid by axis, in the order of the axes."""

    def further_grid(self, points: GridPoints) -> dict[str, Array]:
        """Return the coordinates of one of `mesh.grids`: equidistant between the same ends."""
        lines = self.coordinates
        counts = (points,) * len(lines) if isinstance(points, int) else points
        return {
            a: np.linspace(line[0], self.end_of(a), count, endpoint=not self.is_periodic(a))
            for (a, line), count in zip(lines.items(), counts, strict=True)
        }

    def is_periodic(self, axis: str) -> bool:
        """Return whether an axis is periodic, so that the grid leaves out its end."""
        return axis in self.mesh.periodic

    def end_of(self, axis: str) -> float:
        """Return the end of an axis: its last point, or where the first one comes again."""
        line = self.coordinates[axis]
        return float(line[-1] + (line[1] - line[0]) * self.is_periodic(axis))

    @property
    def times(self) -> Array | None:
        """The times of the stored states, initial state first; None for a steady problem."""
        return None

    @abstractmethod
    def draw(self, generator: "np.random.Generator") -> dict[str, Array]:
        """Draw the parameters of one instance, taking all randomness from `generator`.

        A family that needs the number of the instance, such as one that loads what lies in files
        by number, adds a parameter `index`: `draw(self, generator, index)`.

        Raises:
            DataError: What was drawn is not a valid instance. The caller adds its number.
        """

    def discretise(self, comm: "MPI.Comm") -> "Discretisation":
        """Build mesh, spaces, forms and storage on the processes of `comm`.

        The default makes the class that `discretisation` names. A family with a discretisation
        that the package does not have overrides it.
        """
        module, _, name = self.discretisation.partition(":")
        made: Discretisation = getattr(importlib.import_module(module), name)(self, comm)
        return made

    def check(self) -> None:  # noqa: B027  (most families have nothing to add)
        """Check that settings and mesh fit together, before any work is done.

        Raises:
            ConfigError: They do not.
        """

    def features(self, instance: Instance) -> Array:
        """Return the vector by which an instance is compared when instances are sorted.

        The default is the flattened parameters, so that Euclidean distances are the Frobenius
        distances of the SKR paper (ICLR 2024, algorithm 1). For many instances `kryloset sort`
        reduces each parameter along the axes of its grid. It reduces the vector of a family that
        overrides this method as a whole.
        """
        varying = [v for v in self.parameters if v.compared]
        return np.concatenate([np.ravel(instance[v.name]) for v in varying])


class Discretisation(ABC):
    """A discretised family: what its instances share, and the storage that they reuse."""

    lanes: int = 1
    """Largest number of instances that `solve` takes at once."""

    with_kernels: bool = False
    """Whether `solve` assembles by kernels with lanes, and not as DOLFINx does."""

    @abstractmethod
    def solve(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Solve some instances.

        A linear steady family calls `solve` once. A family with time steps or Newton iterations
        calls it once for each, so that recycling runs through them.

        Args:
            instances: The parameters of each, at most `lanes` of them.
            solve: Solves the linear systems.

        Returns:
            Of each, fields and unknowns by name on rank 0, with a first axis of time if the family
            has times; empty dictionaries on other ranks. If each instance has a mesh of its own,
            also `inside`, (*grid) of int8: 1 at points of the grid in the domain, 0 elsewhere,
            where fields are NaN.

        Raises:
            DataError: An instance is not valid. The caller adds its number.
        """

    @abstractmethod
    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return ||b - A x|| / ||b|| of a stored solution, from a fresh assembly. Serial.

        x is read from fields and unknowns, and A x is computed without PETSc. Of several systems
        the largest is returned. For a nonlinear equation F(x) = 0 it is ||F(x)|| / ||F(0)||.
        """

    def residuals(self, solved: Sequence[tuple[Instance, Instance]]) -> list[float]:
        """Return the residual of each of some instances with its solution, found together."""
        return [self.residual(*one) for one in solved]

    def nonlinear_residuals(self) -> list[float]:
        """Return ||F(x)|| / ||F(0)|| of each instance of the last group; [] for linear problems."""
        return []

    def resample(
        self, points: GridPoints, instance: Instance, solution: Instance
    ) -> dict[str, Array]:
        """Evaluate the same parameters and fields on another grid.

        Args:
            points: That grid, one of `mesh.grids`.
            instance: The parameters.
            solution: The solution, as `solve` returned it.

        Returns:
            The variables that are on the grid by name, on rank 0; also `inside` if `solve`
            returns it.

        Raises:
            NotImplementedError: The discretisation cannot evaluate on other grids.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot evaluate on other grids")

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate again, from the unknowns, the fields that `solve` evaluated on the grid.

        Args:
            instance: The parameters.
            solution: The solution, as `solve` returned it. Only its unknowns are read.

        Returns:
            Fields by name on rank 0, and `inside` if `solve` returns it. The default is none.
        """
        return {}

    def forgotten(self) -> list[str]:
        """Return the parameters that cannot change any solution, as far as the forms tell."""
        return []

    def meshes(self) -> dict[str, Array]:
        """Return the mesh that all instances share, for learning on graphs and point clouds.

        Returns:
            On rank 0: `<field>_points` (nodes, axes) and `<field>_cells` (cells, nodes of
            a cell). Nodes are numbered like degrees of freedom: by the points of the grid in C
            order, or by the rows of `<field>_dofs`.
        """
        return {}

    def masks(self) -> dict[GridPoints | None, NDArray[np.int8]]:
        """Return which grid points lie in the domain, for grids that a shared mesh does not cover.

        Returns:
            (*grid), 1 inside and 0 outside, where fields are NaN. The key is None for the grid of
            the dataset, and the entry of `mesh.grids` for a further grid. Grids that the mesh
            covers have no entry.
        """
        return {}
