# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The entities that a form is integrated over, with their degrees of freedom and orientations."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

type Indices = NDArray[np.int32]

_SIDES = {
    fem.IntegralType.cell: 1,
    fem.IntegralType.exterior_facet: 1,
    fem.IntegralType.interior_facet: 2,
}


class Entities(NamedTuple):
    """The cells or facets of one integral.

    Attributes:
        kernel: Its number among the kernels of the form.
        cells: (entities, sides), the cells of each: two for an interior facet, otherwise one.
        facets: (entities, sides), local number of the facet in each cell; 0 for a cell.
        enabled: Whether the integral reads each coefficient of the form.
        permuted: Whether it needs the permutations of facets.
    """

    kernel: int
    cells: Indices
    facets: Indices
    enabled: tuple[bool, ...]
    permuted: bool

    def where(self, chosen: NDArray[np.bool_]) -> "Entities":
        """Return those of the entities that are marked."""
        return self._replace(cells=self.cells[chosen], facets=self.facets[chosen])


class Turning(NamedTuple):
    """The matrices that turn reference basis functions into those of the mesh.

    Attributes:
        matrices: (orientations, n, n).
        which: (entities), the orientation of each.
    """

    matrices: NDArray[np.float64]
    which: Indices

    @property
    def diagonal(self) -> bool:
        """Whether basis functions only change their signs."""
        return not np.any(self.matrices[:, ~np.eye(self.matrices.shape[1], dtype=np.bool_)])


def form_entities(form: fem.Form) -> Iterator[Entities]:
    """Yield the entities of each integral of a form that has any.

    Raises:
        NotImplementedError: An integral is over vertices or ridges.
    """
    cpp, compiled = form._cpp_object, form.ufcx_form
    for kind in cpp.integral_types:
        if kind not in _SIDES:
            raise NotImplementedError(f"the form has an integral of type {kind.name}")
        first, last = (compiled.form_integral_offsets[int(kind.value) + i] for i in (0, 1))
        if cpp.num_integrals(kind, 0) != last - first:
            raise NotImplementedError("the form has an integral over a subdomain that is not given")
        for number in range(last - first):
            found = np.asarray(cpp.domains(kind, number), np.int32)
            if kind is fem.IntegralType.cell:
                found = np.stack([found, np.zeros_like(found)], axis=1)
            # Each side of a facet is a cell and the facet's number in it.
            pairs = found.reshape(len(found), _SIDES[kind], 2)
            kernel = compiled.form_integrals[first + number]
            enabled = tuple(kernel.enabled_coefficients[i] for i in range(len(cpp.coefficients)))
            if len(found):
                yield Entities(
                    first + number,
                    np.ascontiguousarray(pairs[..., 0]),
                    np.ascontiguousarray(pairs[..., 1]),
                    enabled,
                    bool(kernel.needs_facet_permutations),
                )


def entity_dofs(space: Any, cells: Indices) -> Indices:
    """Return the degrees of freedom of entities, (entities, sides times those of a cell).

    Args:
        space: A function space of DOLFINx's C++.
        cells: (entities, sides).
    """
    block, nodes = space.dofmap.bs, np.asarray(space.dofmap.map())[cells]
    dofs = nodes[..., None] * block + np.arange(block, dtype=np.int32)
    return np.ascontiguousarray(dofs.reshape(len(cells), -1), np.int32)


def entity_turning(space: Any, cells: Indices) -> Turning | None:
    """Return how basis functions are turned on entities, or None if they are not.

    Args:
        space: A function space of DOLFINx's C++.
        cells: (entities, sides).
    """
    element = space.element
    if not element.needs_dof_transformations:
        return None
    space.mesh.topology.create_entity_permutations()
    found = space.mesh.topology.get_cell_permutation_info()[cells]
    distinct, which = np.unique(found, axis=0, return_inverse=True)
    size = element.space_dimension
    sides = cells.shape[1]
    matrices = np.zeros((len(distinct), sides * size, sides * size))
    for matrix, orientations in zip(matrices, distinct, strict=True):
        for side, orientation in enumerate(orientations):
            turned = np.eye(size).ravel()
            element.T_apply(turned, np.array([orientation], np.uint32), size)
            block = slice(side * size, (side + 1) * size)
            matrix[block, block] = turned.reshape(size, size)
    return Turning(matrices, np.ascontiguousarray(which.ravel(), np.int32))


def facet_permutations(mesh: Any, entities: Entities) -> NDArray[np.uint8]:
    """Return the permutation of the facet in each cell, (entities, sides)."""
    if not entities.permuted:
        return np.zeros(entities.facets.shape, np.uint8)
    topology = mesh.topology
    topology.create_entity_permutations()
    cells = topology.index_map(topology.dim)
    count = cells.size_local + cells.num_ghosts
    permutations = np.asarray(topology.get_facet_permutations()).reshape(count, -1)
    return np.ascontiguousarray(permutations[entities.cells, entities.facets])
