# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Degrees of freedom in an order that does not depend on the number of processes."""

from functools import cached_property
from typing import Any

from mpi4py import MPI

import basix
import numpy as np
from dolfinx import fem
from dolfinx.mesh import Mesh
from numpy.typing import NDArray

from kryloset.errors import DataError, FamilyError
from kryloset.fem.family_mesh import EQUAL_WITHIN, wrap
from kryloset.problems.base import Array


def sort_positions(positions: Array) -> NDArray[np.int64]:
    """Return the order that sorts points lexicographically, the first coordinate slowest.

    Coordinates whose gaps are below `EQUAL_WITHIN` of the extent count as equal, since processes
    that compute the coordinates of a node from different cells find different last digits.

    Args:
        positions: (points, coordinates).

    Returns:
        (points,), numbers of the points in order.
    """
    if not len(positions):
        return np.zeros(0, np.int64)
    tolerance = EQUAL_WITHIN * np.ptp(positions, axis=0).max()
    keys = np.empty(positions.shape, np.int64)
    for key, column in zip(keys.T, positions.T, strict=True):
        order = np.argsort(column, kind="stable")
        key[order[0]] = 0
        key[order[1:]] = np.cumsum(np.diff(column[order]) > tolerance)
    return np.lexsort(keys.T[::-1])


def order_cells(domain: Mesh) -> NDArray[np.int64]:
    """Return the order that sorts the cells of a mesh by their midpoints. Collective.

    Args:
        domain: The mesh.

    Returns:
        (cells,), DOLFINx's global numbers of the cells in order, on every process.
    """
    owned = domain.topology.index_map(domain.topology.dim).size_local
    midpoints = _cell_vertices(domain)[:owned].mean(axis=1)
    return sort_positions(np.concatenate(domain.comm.allgather(midpoints)))


class Unknowns:
    """The degrees of freedom of a function space in canonical order.

    The order is lexicographic by node, x slowest, and then by the midpoint of the cell if a node
    has a degree of freedom for each of its cells. On a uniform lattice with equispaced nodes it is
    the C order of the lattice. An array of unknowns has the shape (points,), or (points, block) in
    a space of vectors.

    The node of a Nedelec function of the first kind and lowest order is the midpoint of its edge.
    The unknown is the integral of the field along the edge, in the direction of `tangents`.

    Attributes:
        space: The function space.
        points: (points, dimension), the nodes, on every process.
        tangents: (points, dimension), the edges of a Nedelec space from end to end, in the
            direction in which the first nonzero component is positive; None for other spaces.
        shape: Shape of an array of unknowns.
        numbers: (owned and ghost nodes,), canonical numbers of the nodes on this process.
    """

    def __init__(
        self, space: fem.FunctionSpace, parent_dofs: list[Array] | Array | None = None
    ) -> None:
        """Number the degrees of freedom. Collective.

        Args:
            space: A space of Lagrange elements, continuous or not, or of Nedelec elements of the
                first kind and lowest order. Collapse a sub-space of a mixed space first.
            parent_dofs: Positions of its degrees of freedom in vectors of the mixed space, as
                `collapse` returns them; None if `space` is not part of a mixed space.

        Raises:
            FamilyError: The element is of another kind.
        """
        domain, index_map = space.mesh, space.dofmap.index_map
        self.space = space
        self._comm: MPI.Comm = domain.comm
        self._block: int = space.dofmap.index_map_bs
        held = index_map.size_local + index_map.num_ghosts
        # `collapse` returns a list of one array.
        self._dofs = np.arange(held * self._block) if parent_dofs is None else np.ravel(parent_dofs)
        self._owned: int = index_map.size_local

        nedelec = _is_nedelec(space)
        nodes = _edge_midpoints(space) if nedelec else _nodes(space)
        nodes = np.concatenate(self._comm.allgather(nodes[: self._owned]))
        # Global numbers of DOLFINx: those of rank 0, then those of rank 1, ...
        self._order = sort_positions(nodes)
        self.numbers = np.argsort(self._order)[index_map.local_to_global(np.arange(held))]
        self.points: Array = np.ascontiguousarray(nodes[self._order, : domain.geometry.dim])
        self.shape = (len(nodes),) if self._block == 1 else (len(nodes), self._block)

        self.tangents: Array | None = None
        self._signs: Array | None = None
        if nedelec:
            found = np.concatenate(self._comm.allgather(_tangents(space)[: self._owned]))
            tangents = found[self._order]
            nonzero = np.abs(tangents) > EQUAL_WITHIN * np.linalg.norm(
                tangents, axis=1, keepdims=True
            )
            first = np.argmax(nonzero, axis=1)[:, None]
            self._signs = np.sign(np.take_along_axis(tangents, first, axis=1))[:, 0]
            self.tangents = np.where(nonzero, tangents * self._signs[:, None], 0)

    def gather(self, vector: Array) -> Array | None:
        """Collect the unknowns on rank 0. Collective.

        Args:
            vector: Degrees of freedom of the (mixed) space on this process; ghosts are ignored.

        Returns:
            Array of `shape` on rank 0, None elsewhere.
        """
        owned = np.ascontiguousarray(vector[self._dofs[: self._owned * self._block]])
        counts = self._comm.gather(owned.size)
        if counts is None:
            self._comm.Gatherv(owned, None)
            return None
        gathered = np.empty(sum(counts), owned.dtype)
        self._comm.Gatherv(owned, (gathered, counts))
        values = gathered.reshape(self.shape)[self._order]
        return values if self._signs is None else values * self._signs

    def gather_lanes(self, vectors: Array) -> Array:
        """Return the unknowns of several vectors. Serial.

        Args:
            vectors: (n, lanes), degrees of freedom of the (mixed) space.

        Returns:
            (points * block, lanes), each column an array of `shape`.
        """
        rows: Array = np.take(vectors, self._places, axis=0)
        if self._signs is not None:
            rows *= self._signs[:, None]
        return rows

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The positions of the unknowns in vectors of the (mixed) space, on one process."""
        dofs = self._dofs[: self._owned * self._block].reshape(-1, self._block)
        return np.asarray(dofs[self._order].ravel(), np.int64)

    def component(self, number: int) -> NDArray[np.int64]:
        """Return the positions of one component in vectors of the (mixed) space, if owned here."""
        return np.asarray(self._dofs[number : self._owned * self._block : self._block])

    def scatter(self, values: Array, array: Array) -> None:
        """Set this process's degrees of freedom, ghosts included.

        Args:
            values: Array of `shape`.
            array: Degrees of freedom of the (mixed) space on this process, set in place.

        Raises:
            DataError: The array has another shape.
        """
        if values.shape != self.shape:
            raise DataError(
                f"an array of unknowns has the shape {values.shape}, and those of its mesh have "
                f"{self.shape}"
            )
        signed = values if self._signs is None else values * self._signs
        array[self._dofs] = signed[self.numbers].ravel()

    def cells(self) -> NDArray[np.int64] | None:
        """Return the nodes of each cell. Collective.

        Returns:
            (cells, nodes per cell) on rank 0, None elsewhere: canonical numbers, in the order
                of the reference element; the cells sorted by their midpoints.
        """
        order = order_cells(self.space.mesh)
        topology = self.space.mesh.topology
        owned = topology.index_map(topology.dim).size_local
        parts = self._comm.gather(self.numbers[self.space.dofmap.list[:owned]])
        return None if parts is None else np.concatenate(parts)[order]


def _cell_vertices(domain: Mesh) -> Array:
    """Return the points of each cell here, (cells, points per cell, 3)."""
    vertices: Array = domain.geometry.x[domain.geometry.dofmaps[0]]
    return vertices


def _is_nedelec(space: fem.FunctionSpace) -> bool:
    """Return whether the space is of Nedelec elements; else it is of Lagrange elements."""
    element: Any = space.ufl_element()
    lowest = element.element_family == basix.ElementFamily.N1E and element.degree == 1
    nodal = (
        element.element_family == basix.ElementFamily.P
        and element.basix_element.interpolation_is_identity
    )
    if not lowest and not nodal:
        raise FamilyError(
            f"the unknowns of {element} have no canonical order: use Lagrange elements, or "
            "Nedelec elements of the first kind and degree 1; of a mixed space its collapsed "
            "sub-spaces"
        )
    return bool(lowest)


def _nodes(space: fem.FunctionSpace) -> Array:
    """Return the keys by which the nodes here are sorted: coordinates first."""
    nodes: Array = space.tabulate_dof_coordinates()
    if not space.ufl_element().discontinuous:
        return wrap(space.mesh, nodes)
    midpoints = np.zeros_like(nodes)
    midpoints[space.dofmap.list] = _cell_vertices(space.mesh).mean(axis=1)[:, None]
    return np.hstack((nodes, midpoints))


def _edge_midpoints(space: fem.FunctionSpace) -> Array:
    """Return the midpoints of the edges here, in the order of a Nedelec space."""
    vertices = _cell_vertices(space.mesh)
    edges = np.array(basix.topology(space.mesh.basix_cell())[1])
    index_map = space.dofmap.index_map
    midpoints = np.zeros((index_map.size_local + index_map.num_ghosts, 3))
    midpoints[space.dofmap.list] = vertices[:, edges].mean(axis=2)
    return wrap(space.mesh, midpoints)


def _tangents(space: fem.FunctionSpace) -> Array:
    """Return the edges of a Nedelec space here, in the direction of DOLFINx's unknowns."""
    field = fem.Function(space)
    tangents = []
    for unit in np.eye(space.mesh.geometry.dim):
        field.interpolate(lambda x, unit=unit: np.outer(unit, np.ones(x.shape[1])))
        tangents.append(field.x.array.real.copy())
    return np.stack(tangents, axis=1)
