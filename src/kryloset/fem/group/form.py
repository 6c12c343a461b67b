# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A form whose element tensors are computed for all lanes of a group at once."""

import logging
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from numpy.typing import NDArray

from kryloset.fem.group.entities import (
    Entities,
    Indices,
    Turning,
    entity_dofs,
    entity_turning,
    facet_permutations,
    form_entities,
)
from kryloset.fem.group.kernels import load_kernels
from kryloset.fem.group.values import GroupValues, Numbers
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import zeros


class GroupForm:
    """The kernels of a form with lanes, and what they read.

    Coefficients that are not among the changing ones have their present values in all lanes.

    Attributes:
        compiled: The form as DOLFINx compiles it.
        values: Those of the changing coefficients.
        entities: The cells or facets of each integral.
    """

    def __init__(self, form: ufl.Form, compiled: fem.Form, values: GroupValues) -> None:
        """Generate and compile the kernels, unless that has been done.

        Raises:
            NotImplementedError: The form has what cannot be written with lanes.
            OSError: There is no C compiler, or it fails.
        """
        self.compiled, self.values = compiled, values
        if any(
            each.function_space.mesh is not compiled.mesh
            for each in compiled._cpp_object.coefficients
        ):
            raise NotImplementedError("a coefficient is on another mesh")
        self.entities = list(form_entities(self.compiled))
        self.library, self.ffi = load_kernels(form, values.lanes)
        self._found = [
            (constant, values.find(constant)) for constant in self.compiled._cpp_object.constants
        ]
        sizes = [np.size(constant.value) for constant, _ in self._found]
        self.constants = zeros(sum(sizes), values.lanes)
        self._places = np.split(self.constants, np.cumsum(sizes, dtype=int))

    def read_constants(self) -> None:
        """Take the present values of Constants, before element tensors are computed."""
        for (constant, found), place in zip(self._found, self._places, strict=False):
            place[:] = np.reshape(constant.value, (-1, 1)) if found is None else found


def make_form(form: ufl.Form, compiled: fem.Form, values: GroupValues) -> GroupForm | None:
    """Return the kernels of a form, or None if there are none with lanes, which is logged.

    Raises:
        ValueError: The mesh is distributed, or numbers are not real and of double precision.
    """
    if compiled.mesh.comm.size > 1 or compiled.dtype != np.float64:
        raise ValueError("a group is assembled on one process, in real numbers")
    try:
        return GroupForm(form, compiled, values)
    except (NotImplementedError, OSError) as error:
        logging.getLogger(__name__).warning(
            "a form is assembled for one instance after another, which is slower: %s", error
        )
        return None


class GroupIntegral:
    """The kernel of one integral, and the addresses of all that it reads on some entities.

    Attributes:
        dofs: For each argument of the form, (entities, its degrees of freedom on an entity).
    """

    def __init__(self, form: GroupForm, entities: Entities) -> None:
        """Find nodes, coefficients and orientations of the entities."""
        self._library, self._ffi = form.library, form.ffi
        self._kept: list[Any] = [form]
        cpp, mesh, cells = form.compiled._cpp_object, form.compiled.mesh, entities.cells
        self.dofs = [entity_dofs(space, cells) for space in cpp.function_spaces]
        shape = [dofs.shape[1] for dofs in self.dofs]
        self._integral = integral = self._ffi.new("struct integral *")
        integral.entities, integral.sides = cells.shape
        integral.kernel = entities.kernel
        integral.rows, integral.columns = shape if len(shape) == 2 else (*shape, 1)
        nodes = np.asarray(mesh.geometry.dofmaps[0])[cells].reshape(len(cells), -1)
        integral.nodes = nodes.shape[1]
        integral.node = self._keep(nodes, np.int32)
        integral.points = self._keep(mesh.geometry.x, np.float64)
        integral.facet = self._keep(entities.facets, np.int32)
        integral.permutation = self._keep(facet_permutations(mesh, entities), np.uint8)
        integral.constants = len(form.constants)
        integral.constant = self._keep(form.constants, np.float64)
        turnings = self._read_coefficients(form, entities)
        for space in cpp.function_spaces:
            turnings.append((0, entity_turning(space, cells)))
        turnings += [(0, None)] * (2 - len(cpp.function_spaces))
        integral.turned = len(turnings) - 2
        integral.turns = turns = self._ffi.new("struct turn[]", len(turnings))
        self._kept.append(turns)
        for turn, (first, turning) in zip(turns, turnings, strict=True):
            if turning is not None:
                turn.matrices = self._keep(turning.matrices, np.float64)
                turn.which = self._keep(turning.which, np.int32)
                turn.first, turn.size = first, turning.matrices.shape[1]
                turn.diagonal = turning.diagonal

    def find(self, pattern: Pattern, prescribed: NDArray[np.bool_]) -> Indices:
        """Return the positions of the entries of element tensors, -1 for those of conditions.

        Args:
            pattern: Of a matrix that has all of them.
            prescribed: (n), whether each degree of freedom is.

        Returns:
            (entities, rows, columns).
        """
        rows, columns = self.dofs
        positions = np.empty((*rows.shape, columns.shape[1]), np.int32)
        arrays = (rows, columns, pattern.offsets, pattern.columns, prescribed, positions)
        self._library.kryloset_find(self._integral, *(array.ctypes.data for array in arrays))
        return positions

    def add(self, positions: Indices, values: Numbers) -> None:
        """Add element tensors to values.

        Args:
            positions: (entities, entries of the tensor), rows of `values`; negative for none.
            values: (any, lanes), C-contiguous.
        """
        self._library.kryloset_add(self._integral, positions.ctypes.data, values.ctypes.data)

    def subtract_products(self, x: Numbers, b: Numbers) -> None:
        """Subtract the products of element tensors with x from b, both (degrees, lanes)."""
        rows, columns = self.dofs
        arrays = (array.ctypes.data for array in (rows, columns, x, b))
        self._library.kryloset_subtract(self._integral, *arrays)

    def _read_coefficients(
        self, form: GroupForm, entities: Entities
    ) -> list[tuple[int, Turning | None]]:
        """Set where the kernel finds the numbers of coefficients; return how they are turned."""
        slots, numbers, addresses, strides = [], [], [], []
        turnings: list[tuple[int, Turning | None]] = []
        first = 0
        cells = entities.cells
        for coefficient, enabled in zip(
            form.compiled._cpp_object.coefficients, entities.enabled, strict=True
        ):
            space = coefficient.function_space
            size = cells.shape[1] * space.element.space_dimension
            if enabled:
                found = form.values.find(coefficient)
                values = coefficient.x.array if found is None else found
                slots.append(np.arange(first, first + size))
                numbers.append(entity_dofs(space, cells))
                addresses += [self._keep(values, np.float64)] * size
                strides += [1 if found is None else form.values.lanes] * size
                turning = entity_turning(space, cells)
                if turning is not None:
                    turnings.append((first, turning))
            first += size
        integral = self._integral
        integral.slots, integral.numbers = first, len(addresses)
        none = np.empty((len(cells), 0), np.int32)
        integral.slot = self._keep(np.concatenate([*slots, none[0]]), np.int32)
        integral.number = self._keep(np.hstack([*numbers, none]), np.int32)
        integral.source = self._keep(np.array(addresses, np.uintp), np.uintp)
        integral.stride = self._keep(np.array(strides), np.int32)
        return turnings

    def _keep(self, array: NDArray[Any], kind: Any) -> int:
        """Keep an array alive, and return its address."""
        kept = np.ascontiguousarray(array, kind)
        self._kept.append(kept)
        return int(kept.ctypes.data)
