# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Meshes of simplices as graphs: neighbours, quadrature at the nodes, and the boundary."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]
type Numbers = NDArray[np.int64]

#: Barycentric coordinates below this are 0: nodes of an element are far from each other.
_ROUNDING = 1e-6


#: Pairs of a point and a cell that are looked at together.
_PAIRS = 1_000_000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Evaluates linear or quadratic functions on a mesh at points.

    Attributes:
        nodes: (Q, nodes of a cell), those of the cell of each point.
        basis: (Q, nodes of a cell), the functions of these nodes at the point.
    """

    nodes: Numbers
    basis: Array

    def __call__(self, values: Array) -> Array:
        """Return values at the points (Q, K) for values at the nodes (P, K)."""
        return np.asarray(np.einsum("qn,qnk->qk", self.basis, values[self.nodes]))


@dataclass(frozen=True, eq=False)
class SimplexMesh:
    """A mesh of intervals, triangles or tetrahedra with the nodes of a Lagrange element.

    Attributes:
        points: (P, D), coordinates of the nodes.
        cells: (n, nodes of a cell), numbers of nodes. The D + 1 corners come first.
        periods: Lengths of the periodic axes by their numbers. A cell that reaches the end of one
            has nodes at its beginning.
    """

    points: Array
    cells: Numbers
    periods: Mapping[int, float]

    @property
    def corners(self) -> Numbers:
        """(n, D + 1), the corners of the cells."""
        return self.cells[:, : self.points.shape[1] + 1]

    @cached_property
    def edges(self) -> Numbers:
        """(2, E), neighbours: two nodes of one cell, in both directions, sorted."""
        pairs = [self.cells[:, pair] for pair in combinations(range(self.cells.shape[1]), 2)]
        one, other = np.concatenate(pairs).T
        count = len(self.points)
        keys = np.unique(np.concatenate((one * count + other, other * count + one)))
        return np.stack(np.divmod(keys, count))

    @cached_property
    def _sides(self) -> Array:
        """(n, nodes of a cell - 1, D), from the first corner of each cell to its other nodes."""
        places = self.points[self.cells]
        sides = places[:, 1:] - places[:, :1]
        for axis, period in self.periods.items():
            sides[..., axis] -= period * np.round(sides[..., axis] / period)
        return sides

    @cached_property
    def volumes(self) -> Array:
        """(n,), lengths, areas or volumes of the cells."""
        dimension = self.points.shape[1]
        parallelepipeds = np.abs(np.linalg.det(self._sides[:, :dimension]))
        return np.asarray(parallelepipeds / math.factorial(dimension))

    @cached_property
    def gradients(self) -> Array:
        """(n, D + 1, D), in each cell the gradients of the linear functions of its corners."""
        # The barycentric coordinates of all corners but the first are those along the sides.
        others = np.linalg.inv(self._sides[:, : self.points.shape[1]]).swapaxes(1, 2)
        return np.concatenate((-others.sum(axis=1, keepdims=True), others), axis=1)

    @cached_property
    def weights(self) -> Array:
        """(P,), weights of the nodes in integrals: their sum is the volume of the mesh.

        They are those of the trapezoidal rule: the integral of the linear functions through the
        nodes. Cells with further nodes at the midpoints of their edges are divided there.
        """
        dimension, nodes = self.points.shape[1], self.cells.shape[1]
        shares = np.full(nodes, 1 / (dimension + 1))
        if nodes > dimension + 1:
            shares /= 2**dimension
            shares[dimension + 1 :] = (1 - shares[: dimension + 1].sum()) / (nodes - dimension - 1)
        each = np.multiply.outer(self.volumes, shares)
        return np.bincount(self.cells.ravel(), each.ravel(), minlength=len(self.points))

    @cached_property
    def boundary(self) -> NDArray[np.bool_]:
        """(P,), whether a node is on the boundary: on a facet of only one cell."""
        corners = self.corners
        facets = [np.delete(corners, k, axis=1) for k in range(corners.shape[1])]
        every = np.sort(np.concatenate(facets), axis=1)
        # A number for each facet, since rows are compared slowly. It fits 64 bits up to 2e6 nodes.
        keys = every @ len(self.points) ** np.arange(every.shape[1])
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        opposite, cells = np.divmod(first[counts == 1], len(corners))
        return self.on_facets(np.stack((cells, opposite), axis=1))

    def on_facets(self, facets: Numbers) -> NDArray[np.bool_]:
        """Return which nodes are on facets, (P,).

        Args:
            facets: (facets, 2), of each a cell, and the corner of it that is not on the facet.
        """
        found = np.zeros(len(self.points), np.bool_)
        for opposite in range(self.points.shape[1] + 1):
            nodes = self._barycentric[:, opposite] < _ROUNDING
            found[self.cells[facets[facets[:, 1] == opposite, 0]][:, nodes]] = True
        return found

    def evaluate(self, points: Array) -> "Evaluation":
        """Return what evaluates functions on the mesh at points, (Q, D).

        At a point in no cell, the function of the nearest cell is continued.
        """
        sides, first = self._sides[:, : self.points.shape[1]], self.points[self.cells[:, 0]]
        inverse, found = np.linalg.inv(sides), []
        for some in np.array_split(points, -(-len(points) * len(sides) // _PAIRS)):
            along = some[:, None] - first
            for axis, period in self.periods.items():
                along[..., axis] -= period * np.round(along[..., axis] / period)
            others = np.einsum("qnd,nde->qne", along, inverse)
            every = np.concatenate((1 - others.sum(axis=-1, keepdims=True), others), axis=-1)
            best = every.min(axis=-1).argmax(axis=1)
            found.append((best, every[np.arange(len(some)), best]))
        cells, barycentric = map(np.concatenate, zip(*found, strict=True))
        return Evaluation(self.cells[cells], self._basis(barycentric))

    def _basis(self, barycentric: Array) -> Array:
        """Return the functions of the nodes of a cell, (Q, nodes of a cell), as of `Evaluation`."""
        corners = barycentric.shape[1]
        if self.cells.shape[1] == corners:
            return barycentric
        ends = np.argsort(-self._barycentric[corners:], axis=1, kind="stable")[:, :2]
        between = 4 * barycentric[:, ends].prod(axis=-1)
        return np.concatenate((barycentric * (2 * barycentric - 1), between), axis=1)

    def in_cells(self, cells: Numbers) -> NDArray[np.bool_]:
        """Return which nodes belong to some cells, (P,)."""
        found = np.zeros(len(self.points), np.bool_)
        found[self.cells[cells]] = True
        return found

    @cached_property
    def _barycentric(self) -> Array:
        """(nodes of a cell, D + 1), barycentric coordinates of the nodes, which all cells share."""
        sides = self._sides[0]
        others = np.vstack((np.zeros(len(sides[0])), sides)) @ np.linalg.inv(
            sides[: self.points.shape[1]]
        )
        return np.column_stack((1 - others.sum(axis=1), others))
