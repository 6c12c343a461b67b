# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a family of PDE instances is, and what its discretisation does.

A family is light: it names its parameters, draws them and says what is known of
the operator. Its discretisation owns mesh, forms and matrix storage, and turns
one instance into linear systems and their solutions into fields.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kryloset.config import MeshConfig, Section

if TYPE_CHECKING:
    from mpi4py import MPI
    from petsc4py import PETSc

type Array = NDArray[np.float64]
#: The parameters of one instance by name, or its solution's fields by name.
type Instance = Mapping[str, Array]
#: Solves A x = b; the caller of a discretisation decides how, and keeps the evidence.
type Solve = Callable[["PETSc.Mat", "PETSc.Vec"], "PETSc.Vec"]


@dataclass(frozen=True)
class Variable:
    """A quantity of the dataset.

    Attributes:
        name: Name in the file, such as `k`.
        long_name: What it is, in words.
        units: Unit of measurement, `1` where there is none.
        dimensions: Axes of one instance, such as `("x", "y")`; `()` for a number.
        transform: `log` where learning should see the logarithm of a positive quantity.
    """

    name: str
    long_name: str
    units: str = "1"
    dimensions: tuple[str, ...] = ("x", "y")
    transform: Literal["identity", "log"] = "identity"


@dataclass(frozen=True)
class OperatorTraits:
    """What is known of the operator before any is assembled; solvers and tests rely on it."""

    symmetric: bool = False
    definite: bool = False
    constant: bool = False


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
    """A family of PDE instances; `docs/families.md` shows how to write one.

    Class attributes to set:
        summary: One line for `kryloset families`.
        equation: The equation with its boundary conditions, in plain text.
        Settings: A `Section` with the family's own configuration keys.
        parameters: What `draw` returns.
        fields: What a solution consists of.
        operator: What is known of the operator.
        boundary_conditions: For the dataset's description of itself.

    Attributes:
        settings: An instance of `Settings`.
        mesh: Grid and elements.
    """

    summary: ClassVar[str]
    equation: ClassVar[str]
    Settings: ClassVar[type[Section]] = Section
    parameters: ClassVar[tuple[Variable, ...]]
    fields: ClassVar[tuple[Variable, ...]]
    operator: ClassVar[OperatorTraits] = OperatorTraits()
    boundary_conditions: ClassVar[tuple[BoundaryCondition, ...]] = ()

    def __init__(self, settings: Any, mesh: MeshConfig) -> None:
        """Keep the settings; nothing is built yet."""
        self.settings = settings
        self.mesh = mesh

    @property
    @abstractmethod
    def coordinates(self) -> dict[str, Array]:
        """Coordinates of the grid by axis, in the order of the axes."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> dict[str, Array]:
        """Draw the parameters of one instance, using no other randomness than `generator`."""

    @abstractmethod
    def discretise(self, comm: "MPI.Comm") -> "Discretisation":
        """Build mesh, spaces, forms and storage on the processes of `comm`."""

    def check(self) -> None:  # noqa: B027  (most families have nothing to add)
        """Check what depends on settings and mesh together, before any work.

        Raises:
            ConfigError: They do not fit.
        """

    def features(self, instance: Instance) -> Array:
        """Return the vector that stands for an instance when instances are sorted.

        The flattened parameters, so that Euclidean distances are the Frobenius
        distances of the SKR paper (ICLR 2024, algorithm 1).
        """
        return np.concatenate([np.ravel(instance[v.name]) for v in self.parameters])


class Discretisation(ABC):
    """A family on a mesh: everything that instances share, and the storage they reuse."""

    @abstractmethod
    def solve(self, instance: Instance, solve: Solve) -> dict[str, Array]:
        """Solve one instance.

        A linear steady family calls `solve` once; one with time steps or Newton
        iterations calls it for each, so that recycling runs through them.

        Returns:
            The fields by name on rank 0; an empty dictionary on other ranks.
        """

    @abstractmethod
    def residual(self, instance: Instance, fields: Instance) -> float:
        """Return ||b - A x|| / ||b|| for stored fields, from a fresh assembly.

        It is independent of the solver: x is read back from the fields and the
        product with A is made without PETSc. Serial.
        """
