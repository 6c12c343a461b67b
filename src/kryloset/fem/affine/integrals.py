# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The integrals of a compiled form, and the degrees of freedom of their cells."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from dolfinx import fem
from numpy.typing import NDArray

type Integers = NDArray[np.int64]


class Integral(NamedTuple):
    """One integral of a form.

    Attributes:
        key: Its type, and its number among the integrals of that type.
        kernel: The kernel that FFCx compiled.
        cells: (entities,), the cell of each entity.
        facets: (entities,), local number of a facet in its cell; 0 for a cell.
    """

    key: tuple[Any, int]
    kernel: Any
    cells: Integers
    facets: NDArray[np.int32]


def form_integrals(form: fem.Form) -> Iterator[Integral]:
    """Yield the integrals of a form.

    Raises:
        ValueError: One is neither over cells nor over exterior facets.
    """
    cpp, compiled = form._cpp_object, form.ufcx_form
    for kind in cpp.integral_types:
        if kind not in (fem.IntegralType.cell, fem.IntegralType.exterior_facet):
            raise ValueError(
                f"the form has an integral of type {kind.name}: use only integrals over cells and "
                "exterior facets"
            )
        first, last = (compiled.form_integral_offsets[int(kind.value) + i] for i in (0, 1))
        if cpp.num_integrals(kind, 0) != last - first:
            raise ValueError("the form has an integral over a subdomain that is not given")
        for number in range(last - first):
            entities = np.asarray(cpp.domains(kind, number))
            facets = np.zeros(len(entities), np.int32)
            if entities.ndim == 2:
                entities, facets = entities[:, 0], np.ascontiguousarray(entities[:, 1])
            kernel = compiled.form_integrals[first + number]
            yield Integral((kind, number), kernel, entities.astype(np.int64), facets)


def find_constrained(space: fem.FunctionSpace, bcs: Sequence[fem.DirichletBC]) -> NDArray[np.bool_]:
    """Return which degrees of freedom on this process the conditions constrain, ghosts included."""
    found = np.zeros(local_size(space), np.bool_)
    for bc in bcs:
        found[bc.dof_indices()[0]] = True
    return found


def local_size(space: fem.FunctionSpace) -> int:
    """Return the number of degrees of freedom on this process, ghosts included."""
    index_map = space.dofmap.index_map
    return int(space.dofmap.index_map_bs * (index_map.size_local + index_map.num_ghosts))


def cell_dofs(space: fem.FunctionSpace, cells: Integers) -> Integers:
    """Return local numbers of all degrees of freedom of cells, (cells, dofs of a cell)."""
    block = space.dofmap.bs
    nodes = space.dofmap.list[cells].astype(np.int64)
    return flat(nodes[:, :, None] * block + np.arange(block))


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array with all axes except the first merged, even if it has no rows."""
    return array.reshape(len(array), math.prod(array.shape[1:]))
