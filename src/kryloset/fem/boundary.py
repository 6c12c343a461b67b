# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Dirichlet conditions whose values change from instance to instance."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import dolfinx.fem.petsc
import numpy as np
import scipy
from dolfinx import fem, mesh
from numpy.typing import NDArray

from kryloset.errors import FamilyError
from kryloset.fem.family_mesh import ends_of, wrap
from kryloset.fem.group.values import GroupValues, Numbers
from kryloset.problems.finite_element import Dirichlet

_PERIODIC = ", and the sides across a periodic axis are none: leave the condition out there"


class BoundaryValues:
    """The Dirichlet conditions of a form.

    Attributes:
        conditions: For assembly.
        homogeneous: Whether every prescribed value is zero.
    """

    def __init__(self, space: fem.FunctionSpace, prescribed: Sequence[Dirichlet]) -> None:
        """Find the degrees of freedom.

        Args:
            space: The space of the solution.
            prescribed: The conditions.

        Raises:
            FamilyError: A condition finds no degrees of freedom.
        """
        self._space = space
        self.conditions: list[fem.DirichletBC] = []
        self.homogeneous = True
        # For each condition, the Function with its values and the parameter that gives them.
        self._values: list[tuple[fem.Function, fem.Function | fem.Constant | None]] = []
        for number, dirichlet in enumerate(prescribed, start=1):
            condition, values = _locate(space, dirichlet)
            # A domain that is periodic in all directions has no boundary.
            closed = ends_of(space.mesh)
            nowhere = dirichlet.where is None and len(closed) == space.mesh.topology.dim
            if not (nowhere or space.mesh.comm.allreduce(len(condition.dof_indices()[0]))):
                raise FamilyError(
                    f"condition {number} of `weak_form` prescribes nothing: its `where` finds "
                    f"{'no node' if dirichlet.nodal else 'no whole facet on the boundary'}"
                    + (_PERIODIC if closed else "")
                )
            self.conditions.append(condition)
            if isinstance(dirichlet.value, fem.Function | fem.Constant):
                self._values.append((values, dirichlet.value))
                self.homogeneous = False
            else:
                values.x.array[:] = dirichlet.value
                self._values.append((values, None))
                self.homogeneous &= dirichlet.value == 0

    @property
    def prescribed(self) -> NDArray[np.bool_]:
        """Whether each degree of freedom of the solution here, ghosts included, is prescribed."""
        dofmap = self._space.dofmap
        held = dofmap.index_map.size_local + dofmap.index_map.num_ghosts
        found = np.zeros(held * dofmap.index_map_bs, np.bool_)
        for condition in self.conditions:
            found[condition.dof_indices()[0]] = True
        return found

    def depends_on(self, coefficients: Iterable[fem.Function | fem.Constant]) -> bool:
        """Return whether one of some coefficients gives prescribed values."""
        return any(source is each for _, source in self._values for each in coefficients)

    def of_lanes(self, values: GroupValues) -> Numbers:
        """Return the prescribed values of a group, (n, lanes), zero where nothing is. Serial.

        Args:
            values: Those of the parameters.
        """
        dofmap = self._space.dofmap
        found = np.zeros((dofmap.index_map.size_local * dofmap.index_map_bs, values.lanes))
        for condition, places, (held, source), matrix in zip(
            self.conditions, self._places, self._values, self._interpolations, strict=True
        ):
            numbers = None if source is None else values.find(source._cpp_object)
            if numbers is None and source is not None:
                _take(source, held)
            found[condition.dof_indices()[0]] = (
                held.x.array[places, None] if numbers is None else matrix @ numbers
            )
        return found

    @cached_property
    def _places(self) -> list[NDArray[np.int64]]:
        """For each condition, the numbers of its degrees of freedom in the space of its values."""
        found = []
        for condition, (values, _) in zip(self.conditions, self._values, strict=True):
            kept, dofs = values.x.array.copy(), condition.dof_indices()[0]
            values.x.array[:] = np.arange(len(kept))
            marked = np.zeros(dofs.max() + 1)
            condition.set(marked)
            found.append(marked[dofs].astype(np.int64))
            values.x.array[:] = kept
        return found

    @cached_property
    def _interpolations(self) -> "list[scipy.sparse.csr_array]":
        """For each condition, the matrix from its parameter's numbers to the prescribed values."""
        found = []
        for places, (values, source) in zip(self._places, self._values, strict=True):
            if isinstance(source, fem.Constant) or source is None:
                found.append(scipy.sparse.csr_array(np.ones((len(places), 1))))
            elif _same_numbers(source, values):
                shape = (len(places), len(source.x.array))
                entries = np.ones(len(places)), (np.arange(len(places)), places)
                found.append(scipy.sparse.csr_array(entries, shape))
            else:
                spaces = source.function_space, values.function_space
                matrix = dolfinx.fem.petsc.interpolation_matrix(*spaces)
                matrix.assemble()
                rows, columns, entries = matrix.getValuesCSR()
                whole = scipy.sparse.csr_array((entries, columns, rows), shape=matrix.size)
                found.append(whole[places])
        return found

    def update(self) -> None:
        """Take the present values of prescribed parameters."""
        for values, source in self._values:
            if source is not None:
                _take(source, values)


def _take(source: fem.Function | fem.Constant, target: fem.Function) -> None:
    """Interpolate a Function, or copy it if both spaces have the same degrees of freedom."""
    if isinstance(source, fem.Constant):
        target.x.array[:] = source.value
        return
    if _same_numbers(source, target):
        target.x.array[:] = source.x.array
    else:
        target.interpolate(source)


def _same_numbers(one: fem.Function, other: fem.Function) -> bool:
    """Return whether two Functions have the same degrees of freedom."""
    first, second = one.function_space, other.function_space
    same = first.ufl_element() == second.ufl_element()
    return bool(same and np.array_equal(first.dofmap.list, second.dofmap.list))


def _locate(space: fem.FunctionSpace, dirichlet: Dirichlet) -> tuple[fem.DirichletBC, fem.Function]:
    """Return a condition and the Function with its values."""
    sub = space
    for number in (dirichlet.part, dirichlet.component):
        sub = sub if number is None else sub.sub(number)
    whole = sub is space
    own = space if whole else sub.collapse()[0]
    values = fem.Function(own)
    spaces = own if whole else (sub, own)
    domain, where = space.mesh, dirichlet.where
    facets = domain.topology.dim - 1
    if dirichlet.nodal and callable(where):
        dofs = fem.locate_dofs_geometrical(spaces, lambda x: where(wrap(domain, x.T).T))
    else:
        domain.topology.create_connectivity(facets, facets + 1)
        on = np.asarray(mesh.exterior_facet_indices(domain.topology))
        if isinstance(where, str | int):
            on = domain.tagged_facets(where)
        elif where is not None:
            # In a closed mesh a vertex is at two places, and a facet has those of its cell.
            corners = domain.geometry.x[mesh.entities_to_geometry(domain, facets, on)]
            marked = where(corners.reshape(-1, 3).T)
            on = on[marked.reshape(corners.shape[:2]).all(axis=1)]
        dofs = fem.locate_dofs_topological(spaces, facets, on)
    condition = fem.dirichletbc(values, dofs) if whole else fem.dirichletbc(values, dofs, sub)
    return condition, values
