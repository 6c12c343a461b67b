# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisation of a linear steady family."""

from collections.abc import Sequence
from itertools import batched

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from dolfinx.mesh import Mesh

from kryloset.fem.domain import make_domain
from kryloset.fem.family_mesh import FamilyMesh
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.form_checks import read_weak_form
from kryloset.fem.group import GroupValues
from kryloset.fem.group.system import GroupSystem
from kryloset.fem.lattices import declare_interpolations
from kryloset.fem.linear_system import LinearSystem
from kryloset.fem.shared_mesh import SharedMeshDiscretisation
from kryloset.problems.base import Array, Instance, Solve
from kryloset.problems.checks.mistakes import blamed
from kryloset.problems.finite_element import SteadyFamily, WeakForm


class SteadyDiscretisation(SharedMeshDiscretisation):
    """Solves one linear system for each instance.

    Attributes:
        system: The linear system A x = b.
    """

    def __init__(self, family: SteadyFamily, comm: MPI.Comm, domain: Mesh | None = None) -> None:
        """Build what the instances share.

        Args:
            family: The family.
            comm: Processes that share it.
            domain: Its mesh, on these processes; by default the one that the family makes.

        Raises:
            FamilyError: Its forms cannot be compiled, or its fields and unknowns cannot be stored.
        """
        self._family = family
        made = FamilyMesh(domain) if domain else make_domain(family, comm)
        elements = FiniteElements(family, made)
        weak = read_weak_form(family, WeakForm, elements.space, elements.parameters)
        with blamed(family, "weak_form"):
            self.system = LinearSystem(elements.space, weak, family.operator, elements.changing)
        super().__init__(elements, weak, self.system.boundary, family.check_instance)
        declare_interpolations(self.system.matrix, elements, self.system.boundary)
        self._groups: dict[int, GroupSystem] = {}

    def assemble(self, instance: Instance) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Assemble an instance as DOLFINx does, into storage that instances share. Collective.

        Raises:
            DataError: A parameter does not have the shape of the grid, or is not finite.
        """
        self.elements.set_parameters(instance)
        return self.system.update()

    def solve(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Assemble, solve and gather the solutions, of a group as an ensemble.

        Raises:
            FamilyError: The operator maps constants of a field to zero, and the family does not
                declare it.
        """
        for instance in instances:
            with blamed(self._family, "check_instance"):
                self._family.check_instance(instance)
        if self.with_kernels:
            return self._solve_group(instances, solve)
        (instance,) = instances
        matrix, rhs = self.assemble(instance)
        self.check_nullspace(matrix)
        solution = self.system.remove_nullspace(solve(matrix, rhs))
        return self.with_parameters(instances, [self.elements.write(solution.array_r)])

    def _solve_group(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        lanes = self.width(len(instances))
        if lanes not in self._groups:
            self.assemble(instances[0])
            values = GroupValues(self.elements.changing, lanes)
            self._groups[lanes] = GroupSystem(self.system, values, self._declare)
        group = self._groups[lanes]
        self.elements.set_lanes(instances, group.values)
        operator, rhs = group.update(len(instances))
        self.check_nullspace(operator)
        x = group.solution(solve(operator, rhs))
        return self.with_parameters(instances, self.elements.write_lanes(x[:, : len(instances)]))

    def _declare(self, matrix: PETSc.Mat) -> None:
        self.system.declare(matrix)
        declare_interpolations(matrix, self.elements, self.system.boundary)

    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return ||b - A x|| / ||b|| of a stored solution."""
        self.elements.set_parameters(instance)
        self.system.update(parameters=False)
        return self.system.residual(self.read_unknowns(solution))

    def residuals(self, solved: Sequence[tuple[Instance, Instance]]) -> list[float]:
        """Return ||b - A x|| / ||b|| of each of some instances with its stored solution."""
        system, lanes = self.system, self.system.lanes if len(solved) > 1 else None
        if lanes is None:
            return super().residuals(solved)
        found = []
        for group in batched(solved, lanes.lanes):
            instances, solutions = zip(*group, strict=True)
            self.elements.set_lanes(instances, lanes)
            x = np.zeros((lanes.lanes, len(system.rhs.array_r)))
            for each, solution in zip(x, solutions, strict=False):
                self.elements.read(solution, each)
            # Lanes without an instance are left out.
            products = system.apply_lanes(x.T).T
            for instance, product in zip(instances, products, strict=False):
                if not system.constant_rhs:
                    self.elements.set_parameters(instance)
                system.update(parameters=False)
                found.append(system.residual_of(product))
        return found
