# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Edge elements of lowest order on simplices: their vertices, and the field inside the cells."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

type Numbers = NDArray[Any]

#: Fraction of the longest edge by which two computations of a vertex may differ.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class EdgeMesh:
    """A mesh whose degrees of freedom belong to edges.

    Attributes:
        points: (points, d), the vertices.
        vertices: (cells, d + 1), those of each cell.
        edges: (cells, edges of a cell), numbers of the degrees of freedom.
        ends: (2, edges of the mesh), the vertices from and to which each edge leads.
    """

    points: Numbers
    vertices: Numbers
    edges: Numbers
    ends: Numbers

    @classmethod
    def of(cls, middles: Numbers, edges: Numbers, tangents: Numbers) -> Self:
        """Find the vertices.

        Args:
            middles: (edges of the mesh, d), the midpoints of the edges.
            edges: (cells, edges of a cell).
            tangents: (edges of the mesh, d), the edges from end to end.
        """
        dimension = middles.shape[1]
        ends = np.concatenate([middles - tangents / 2, middles + tangents / 2])
        keys = np.round(ends / (_ROUNDING * np.abs(tangents).max())).astype(np.int64)
        _, first, numbers = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        numbers = numbers.reshape(2, -1)
        # Each vertex of a simplex ends as many edges as there are axes.
        vertices = np.sort(np.hstack([numbers[0][edges], numbers[1][edges]]))[:, ::dimension]
        return cls(ends[first], vertices, edges, numbers)

    def evaluate(self, dofs: Numbers) -> Numbers:
        """Return the field at the midpoints of the cells, (cells, d).

        The basis function of the edge from a to b is l_a grad l_b - l_b grad l_a, with barycentric
        coordinates l (Nedelec, Numer. Math. 35, 1980), so at the midpoint the field is the sum of
        dof (grad l_b - grad l_a) / (d + 1).

        Args:
            dofs: (edges of the mesh,), the integrals of the field along the edges.
        """
        corners = np.pad(self.points[self.vertices], ((0, 0), (0, 0), (1, 0)), constant_values=1)
        # Column k of the inverse has the coefficients of the barycentric coordinate of vertex k.
        gradients = np.moveaxis(np.linalg.inv(corners)[:, 1:], 1, 2)
        rows, dimension = np.arange(len(self.vertices)), self.points.shape[1]
        found = np.zeros((len(rows), dimension))
        for edge in self.edges.T:
            a, b = (np.argmax(self.vertices == end[edge][:, None], axis=1) for end in self.ends)
            change = gradients[rows, b] - gradients[rows, a]
            found += dofs[edge, None] * change / (dimension + 1)
        return found
