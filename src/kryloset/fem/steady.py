# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisation of a linear steady family."""

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from dolfinx.mesh import Mesh
from numpy.typing import NDArray

from kryloset.fem.domain import make_domain
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.forgotten import find_forgotten
from kryloset.fem.form_checks import read_weak_form
from kryloset.fem.lattices import declare_interpolations
from kryloset.fem.linear_system import LinearSystem
from kryloset.fem.nullspace import check_constants
from kryloset.problems.base import Array, Discretisation, Instance, Solve
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import SteadyFamily, WeakForm


class SteadyDiscretisation(Discretisation):
    """One linear system an instance.

    Attributes:
        elements: Mesh, space and parameters.
        system: A and b.
    """

    def __init__(self, family: SteadyFamily, comm: MPI.Comm, domain: Mesh | None = None) -> None:
        """Build everything that the instances share.

        Args:
            family: The family.
            comm: Processes that share it.
            domain: Its mesh, on these processes; by default the one that the family makes.

        Raises:
            FamilyError: Its forms cannot be compiled, or its fields and unknowns not be stored.
        """
        self._family = family
        self.elements = FiniteElements(family, domain or make_domain(family, comm))
        space, parameters = self.elements.space, self.elements.parameters
        weak = read_weak_form(family, WeakForm, space, parameters)
        with blamed(family, "weak_form"):
            self.system = LinearSystem(space, weak, family.operator, self.elements.changing)
        self._weak = weak
        self._examined = False
        declare_interpolations(self.system.matrix, self.elements, self.system.boundary)

    def assemble(self, instance: Instance) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Assemble one instance into the storage of all. Collective.

        Raises:
            DataError: A parameter has another shape than the grid, or is not finite.
        """
        self.elements.set_parameters(instance)
        return self.system.update()

    def solve(self, instance: Instance, solve: Solve) -> dict[str, Array]:
        """Assemble, solve, and gather the solution.

        Raises:
            FamilyError: Nothing holds a field, so that constants are solutions too.
        """
        with blamed(self._family, "check_instance"):
            self._family.check_instance(instance)
        matrix, rhs = self.assemble(instance)
        if not self._examined:
            check_constants(self._family, matrix, self.elements, self.system.boundary)
            self._examined = True
        solution = self.system.remove_nullspace(solve(matrix, rhs))
        return self.elements.write(solution.array_r)

    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return ||b - A x|| / ||b|| of a stored solution."""
        self.assemble(instance)
        x = self.system.rhs.array_r.copy()
        self.elements.read(solution, x)
        return self.system.residual(x)

    def resample(self, points: int, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate parameters and fields on another grid."""
        return self.elements.resample(points, instance, solution)

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate the fields that are not nodal again."""
        return self.elements.evaluate(solution)

    def forgotten(self) -> list[str]:
        """Return the parameters that change no solution."""
        parameters, weak = self.elements.parameters, self._weak
        reader = self._family.check_instance
        return find_forgotten(self._family, parameters, weak[:2], weak.boundary, reader)

    def meshes(self) -> dict[str, Array]:
        """Return nodes and cells."""
        return self.elements.meshes

    def masks(self) -> dict[int | None, NDArray[np.int8]]:
        """Return the masks of the domain."""
        return self.elements.masks
