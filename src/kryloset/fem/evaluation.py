# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Exact evaluation of finite element functions at given points, by one sparse matrix."""

from dataclasses import dataclass

from mpi4py import MPI

import basix
import numpy as np
import scipy
from dolfinx import geometry
from dolfinx.mesh import Mesh
from numpy.typing import NDArray

from kryloset.errors import DataError
from kryloset.fem.unknowns import Unknowns, order_cells
from kryloset.problems.base import Array
from kryloset.problems.checks.coverage import POINT_ROUNDING

TOUCHING = 1e-10
"""Fraction of the domain's extent by which a point may lie outside a cell that contains it."""


class Evaluation:
    """Evaluates finite element functions at given points, from their canonical unknowns.

    On the interface of cells, the value of a function is that in the first of these cells, in the
    order of their midpoints. This matters for discontinuous functions.

    Attributes:
        inside: (points,), whether each point lies in the mesh, on rank 0; None on other ranks.
    """

    def __init__(self, unknowns: Unknowns, points: Array) -> None:
        """Find the cells of the points, and the basis functions there. Collective.

        Args:
            unknowns: Degrees of freedom on a mesh of straight intervals, triangles or tetrahedra.
            points: (points, dimension), the same on every process.

        Raises:
            ValueError: The points have a different dimension from the mesh, or its cells are not
                straight simplices.
        """
        domain = unknowns.space.mesh
        dimension = domain.geometry.dim
        if points.ndim != 2 or points.shape[1] != dimension:
            raise ValueError(f"points have shape {points.shape}, expected (points, {dimension})")
        corners = domain.geometry.dofmaps[0].shape[1]
        if domain.topology.dim != dimension or corners != dimension + 1:
            raise ValueError(
                f"expected straight simplices in {dimension} dimensions, found cells of "
                f"{corners} points: use intervals, triangles or tetrahedra of degree 1"
            )
        located = _locate(domain, points)
        if unknowns.tangents is None:
            basis = _lagrange_basis(unknowns, located)
        else:
            basis = _nedelec_basis(unknowns, unknowns.tangents, located)

        self._components: int = basis.shape[1]
        rows = located.points[:, None] * self._components + np.arange(self._components)
        columns = unknowns.numbers[unknowns.space.dofmap.list[located.cells]]
        entries = (
            basis.ravel(),
            np.broadcast_to(rows[:, :, None], basis.shape).ravel(),
            np.broadcast_to(columns[:, None, :], basis.shape).ravel(),
        )
        parts = domain.comm.gather((located.points, *entries))
        self.inside: NDArray[np.bool_] | None = None
        self._matrix: scipy.sparse.csr_array | None = None
        self._outside = np.zeros(0, np.int64)
        if parts is not None:
            found, values, *at = (np.concatenate(part) for part in zip(*parts, strict=True))
            shape = (len(points) * self._components, len(unknowns.points))
            self._matrix = scipy.sparse.csr_array((values, at), shape)
            self.inside = np.zeros(len(points), np.bool_)
            self.inside[found] = True
            self._outside = np.flatnonzero(np.repeat(~self.inside, self._components))

    def __call__(self, values: Array) -> Array:
        """Evaluate a function, on rank 0.

        Args:
            values: Its unknowns, as `Unknowns.gather` returns them.

        Returns:
            (points,), or (points, block) in a space of vectors, or (points, dimension) in a
                Nedelec space; NaN outside the mesh.

        Raises:
            RuntimeError: Called on a rank other than 0.
        """
        at_points = self.of_lanes(values)
        return at_points if self._components == 1 else at_points.reshape(-1, self._components)

    def of_lanes(self, values: Array) -> Array:
        """Evaluate several functions by one product, on rank 0.

        Args:
            values: (nodes, any), unknowns of functions side by side.

        Returns:
            (points * components, any); NaN outside the mesh.

        Raises:
            DataError: There is another number of unknowns than the mesh has.
            RuntimeError: Called on a rank other than 0.
        """
        if self._matrix is None:
            raise RuntimeError("call an evaluation on rank 0: other ranks do not have it")
        if len(values) != self._matrix.shape[1]:
            raise DataError(
                f"a function has {len(values)} unknowns, and its mesh has {self._matrix.shape[1]}"
            )
        at_points: Array = self._matrix @ values
        if self._outside.size:
            at_points[self._outside] = np.nan
        return at_points


@dataclass(frozen=True)
class _Located:
    """The points that lie in cells of this process.

    Attributes:
        points: (n,), numbers of the points.
        cells: (n,), numbers of their cells.
        vertices: (n, dimension + 1, dimension), vertices of these cells.
        barycentric: (n, dimension + 1), barycentric coordinates of the points.
        gradients: (n, dimension + 1, dimension), gradients of the barycentric coordinates.
    """

    points: NDArray[np.int64]
    cells: NDArray[np.int32]
    vertices: Array
    barycentric: Array
    gradients: Array


def _locate(domain: Mesh, points: Array) -> _Located:
    """Find one cell for each point, the first by midpoint on all processes. Collective."""
    comm: MPI.Comm = domain.comm
    index_map, dimension = domain.topology.index_map(domain.topology.dim), domain.geometry.dim
    begin, end = index_map.local_range
    ranks = np.argsort(order_cells(domain))[begin:end]
    dofs = domain.geometry.dofmaps[0][: end - begin]
    vertices = domain.geometry.x[dofs][..., :dimension]
    gradients = np.empty_like(vertices)
    gradients[:, 1:] = np.linalg.inv(vertices[:, 1:] - vertices[:, :1]).transpose(0, 2, 1)
    gradients[:, 0] = -gradients[:, 1:].sum(axis=1)

    corners = domain.geometry.x
    box = np.stack((corners.max(axis=0, initial=-np.inf), -corners.min(axis=0, initial=np.inf)))
    comm.Allreduce(MPI.IN_PLACE, box, MPI.MAX)
    extent = box.sum(axis=0).max()
    tree = geometry.bb_tree(
        domain,
        dimension,
        padding=POINT_ROUNDING * extent,
        entities=np.arange(end - begin, dtype=np.int32),
    )
    padded = np.zeros((len(points), 3))
    padded[:, :dimension] = points
    near = geometry.compute_collisions_points(tree, padded)
    at, cells = np.repeat(np.arange(len(points)), np.diff(near.offsets)), near.array

    barycentric = np.einsum("nij,nj->ni", gradients[cells], points[at] - vertices[cells, 0])
    barycentric[:, 0] += 1
    # The distance from a facet is the coordinate that is 0 there, divided by its gradient's length.
    distances = (barycentric / np.linalg.norm(gradients, axis=2)[cells]).min(axis=1)
    nowhere = np.iinfo(np.int64).max
    best = np.full(len(points), nowhere)
    # A point that touches no cell may lie on a boundary whose coordinates have few digits.
    for tolerance in (TOUCHING, POINT_ROUNDING):
        touched = (distances >= -tolerance * extent) & (best[at] == nowhere)
        np.minimum.at(best, at[touched], ranks[cells[touched]])
        comm.Allreduce(MPI.IN_PLACE, best, MPI.MIN)
    chosen = ranks[cells] == best[at]
    at, cells = at[chosen], cells[chosen]
    return _Located(at, cells, vertices[cells], barycentric[chosen], gradients[cells])


def _lagrange_basis(unknowns: Unknowns, located: _Located) -> Array:
    """Return the basis functions, (points, 1, nodes of a cell)."""
    element = unknowns.space.ufl_element().basix_element
    basis: Array = element.tabulate(0, np.ascontiguousarray(located.barycentric[:, 1:]))[0, ..., 0]
    return basis[:, None, :]


def _nedelec_basis(unknowns: Unknowns, tangents: Array, located: _Located) -> Array:
    """Return the basis functions, (points, dimension, edges of a cell).

    The function of the edge from vertex a to b is w = l_a grad l_b - l_b grad l_a with
    barycentric coordinates l (H. Whitney, Geometric Integration Theory (1957), p. 139). Its
    integral is 1 along this edge and 0 along the others.
    """
    a, b = np.array(basix.topology(unknowns.space.mesh.basix_cell())[1]).T
    coordinates, gradients = located.barycentric[..., None], located.gradients
    basis = coordinates[:, a] * gradients[:, b] - coordinates[:, b] * gradients[:, a]
    canonical = tangents[unknowns.numbers[unknowns.space.dofmap.list[located.cells]]]
    along = np.sum((located.vertices[:, b] - located.vertices[:, a]) * canonical, axis=2)
    return np.swapaxes(basis * np.sign(along)[..., None], 1, 2)
