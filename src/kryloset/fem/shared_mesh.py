# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What discretisations whose instances share one mesh have in common."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dolfinx import default_scalar_type
from numpy.typing import NDArray

from kryloset.config import GridPoints
from kryloset.fem.boundary import BoundaryValues
from kryloset.fem.finite_elements import FiniteElements
from kryloset.fem.forgotten import find_forgotten
from kryloset.fem.nullspace import NullspaceCheck
from kryloset.krylov.names import LANES
from kryloset.problems.base import Array, Discretisation, Instance
from kryloset.problems.finite_element import NonlinearForm, WeakForm


class SharedMeshDiscretisation(Discretisation):
    """A discretisation whose instances share one mesh.

    Attributes:
        elements: Mesh, space and parameters.
        check_nullspace: Checks the first operator; later calls cost nothing.
        with_kernels: Whether groups are assembled by kernels with lanes. Otherwise DOLFINx
            assembles one instance after another.
    """

    def __init__(
        self,
        elements: FiniteElements,
        weak: WeakForm | NonlinearForm,
        boundary: BoundaryValues,
        *readers: Callable[[Any], Any],
    ) -> None:
        """Keep what all instances share.

        Args:
            elements: Mesh, space and parameters.
            weak: The forms of the family.
            boundary: The values that they prescribe.
            readers: Methods of the family that read an instance, beside the forms.
        """
        self.elements = elements
        self.check_nullspace = NullspaceCheck(elements, boundary)
        self._weak = weak
        self._readers = readers
        # Kernels with lanes compute real numbers on one process.
        self.with_kernels = elements.domain.comm.size == 1 and default_scalar_type is np.float64
        self.lanes = LANES[-1] if self.with_kernels else 1

    def width(self, count: int) -> int:
        """Return the number of lanes of a group with some instances: one, or all."""
        return self.lanes if count > 1 else 1

    def resample(
        self, points: GridPoints, instance: Instance, solution: Instance
    ) -> dict[str, Array]:
        """Evaluate parameters and fields on another grid."""
        return self.elements.resample(points, instance, solution)

    def evaluate(self, instance: Instance, solution: Instance) -> dict[str, Array]:
        """Evaluate again what is not at the points of the grid or the nodes of the mesh."""
        return self.elements.evaluate(solution) | self.elements.nodal_parameters(instance)

    def with_parameters(
        self, instances: Sequence[Instance], stored: Sequence[dict[str, Array]]
    ) -> list[dict[str, Array]]:
        """Return what is stored of each solution, with parameters at nodes where these are, too."""
        pairs = zip(instances, stored, strict=True)
        return [{**one, **self.elements.nodal_parameters(i)} if one else one for i, one in pairs]

    def forgotten(self) -> list[str]:
        """Return the parameters that change no solution."""
        elements, (*forms, boundary) = self.elements, self._weak
        return find_forgotten(elements.family, elements.parameters, forms, boundary, *self._readers)

    def read_unknowns(self, solution: Instance) -> Array:
        """Return the unknowns of a solution, or of a state of it, (n,), in DOLFINx's order. Serial.

        Args:
            solution: Fields and unknowns by name.

        Raises:
            KeyError: It lacks a field that has its unknowns at points of the grid, or others.
        """
        dofmap = self.elements.space.dofmap
        x: Array = np.zeros(dofmap.index_map.size_local * dofmap.index_map_bs)
        self.elements.read(solution, x)
        return x

    def meshes(self) -> dict[str, Array]:
        """Return nodes and cells."""
        return self.elements.meshes

    def masks(self) -> dict[GridPoints | None, NDArray[np.int8]]:
        """Return the masks of the domain."""
        return self.elements.masks
