# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The discretisation of a steady family with a mesh for each instance."""

from collections.abc import Sequence
from typing import Any, Protocol

from mpi4py import MPI

import basix.ufl
import numpy as np
from dolfinx import mesh

from kryloset.config import GridPoints
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.problems.base import Array, Discretisation, Instance, Solve
from kryloset.problems.checks.coverage import INSIDE
from kryloset.problems.finite_element import SteadyFamily


class Remeshable(Protocol):
    """A family that provides a family with one fixed mesh for each instance."""

    def on_own_mesh(self, instance: Instance) -> SteadyFamily:
        """Return the family whose mesh is that of the instance."""


class RemeshedDiscretisation(Discretisation):
    """Makes a mesh for each instance, and returns its nodes, cells and mask with the solution.

    A stored solution is read on its stored mesh, so that it does not depend on the mesh generator.
    """

    def __init__(self, family: Remeshable, comm: MPI.Comm) -> None:
        """Keep the family, which makes the meshes."""
        self._family = family
        self._comm = comm

    def solve(self, instances: Sequence[Instance], solve: Solve) -> list[dict[str, Array]]:
        """Mesh, assemble and solve; return fields, unknowns and the mesh.

        Raises:
            DataError: The instance cannot be meshed.
        """
        (instance,) = instances
        own = self._family.on_own_mesh(instance)
        discretisation = SteadyDiscretisation(own, self._comm)
        # DOLFINx assembles, since positions in a pattern that is used once would not pay.
        discretisation.with_kernels = False
        (solution,) = discretisation.solve([instance], solve)
        return [{**_with_mask(discretisation, None, solution), **discretisation.meshes()}]

    def residual(self, instance: Instance, solution: Instance) -> float:
        """Return ||b - A x|| / ||b|| on the stored mesh."""
        return self.on_stored_mesh(instance, solution).residual(instance, solution)

    def resample(
        self, points: GridPoints, instance: Instance, solution: Instance
    ) -> dict[str, Array]:
        """Evaluate the functions on the stored mesh on another grid."""
        discretisation = self.on_stored_mesh(instance, solution)
        resampled = discretisation.resample(points, instance, solution)
        return _with_mask(discretisation, points, resampled)

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate the fields on the stored mesh again, and find the mask."""
        discretisation = self.on_stored_mesh(instance, solution)
        return _with_mask(discretisation, None, discretisation.evaluate(instance, solution))

    def on_stored_mesh(self, instance: Instance, solution: Instance) -> SteadyDiscretisation:
        """Return the discretisation of an instance on the mesh that its solution has."""
        own = self._family.on_own_mesh(instance)
        field = own.fields[0].name
        points, cells = (
            solution[f"{field}_points"],
            np.asarray(solution[f"{field}_cells"], np.int64),
        )
        # The corners of a cell come first among its nodes.
        corners, cells = np.unique(cells[:, : points.shape[1] + 1], return_inverse=True)
        element = basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))
        domain = mesh.create_mesh(MPI.COMM_SELF, cells.reshape(-1, 3), element, points[corners])
        return SteadyDiscretisation(own, MPI.COMM_SELF, domain)


def _with_mask(
    discretisation: SteadyDiscretisation, grid: GridPoints | None, arrays: dict[str, Array]
) -> dict[str, Any]:
    """Add the mask of the instance's domain to the arrays on a grid."""
    if not arrays:  # not rank 0
        return arrays
    family = discretisation.elements.family
    everywhere = np.ones(arrays[family.fields[0].name].shape[: family.dimension], np.int8)
    return {**arrays, INSIDE.name: discretisation.masks().get(grid, everywhere)}
