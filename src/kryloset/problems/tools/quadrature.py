# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Quadrature rules with which forms with positive coefficients are definite."""

from itertools import permutations
from typing import Any

import numpy as np

from kryloset.problems.base import Array

#: Barycentric coordinates of the quadrature points of a tetrahedron, of weights 1/4, whose rule
#: is exact for polynomials of degree 2 (Hammer and Stroud, Math. Tables Aids Comput. 10, 1956).
TETRAHEDRON_RULE = np.full((4, 4), (5 - np.sqrt(5)) / 20) + np.eye(4) / np.sqrt(5)

#: Those of a triangle, of weights 1/3: the midpoints of its sides, which are nodes of degree 2.
TRIANGLE_RULE = (1 - np.eye(3)) / 2


def quadrature(dimension: int, degree: int) -> dict[str, Any]:
    """Return the metadata of a measure for a(u, v) = (k grad u, grad v).

    For degree 1 the rule has one point. For degree 2 its points on triangles are nodes of k, where
    k is positive, so that a is definite however much k jumps. On tetrahedra no rule of that order
    has positive weights and points at nodes: check `least_at_quadrature`.

    Args:
        dimension: Number of space dimensions, 2 or 3.
        degree: Degree of the elements of u and k, 1 or 2.
    """
    if degree == 1:
        return {"quadrature_degree": 1}
    points = TRIANGLE_RULE if dimension == 2 else TETRAHEDRON_RULE
    volume = 1 / 2 if dimension == 2 else 1 / 6
    return {
        "quadrature_rule": "custom",
        "quadrature_points": points[:, 1:],
        "quadrature_weights": np.full(len(points), volume / len(points)),
    }


def least_at_quadrature(k: Array) -> float:
    """Return the least value of the quadratic interpolant of k at the quadrature points.

    Args:
        k: Values at the points of the grid, an odd number along each of three axes, or an even one
            if the axis is periodic. Every second point along each axis is a vertex. Each cuboid is
            divided into six tetrahedra around its diagonal.
    """
    # The last cells along a periodic axis end at its first points.
    k = np.pad(k, [(0, 1 - length % 2) for length in k.shape], mode="wrap")

    def at(offset: Array) -> Array:
        corners = zip(offset.astype(int), k.shape, strict=True)
        return k[tuple(slice(o, o + length - 2, 2) for o, length in corners)]

    least = np.inf
    for order in permutations(2 * np.eye(3)):
        vertices = np.vstack([np.zeros(3), np.cumsum(order, axis=0)])
        for weights in TETRAHEDRON_RULE:
            value = np.zeros_like(at(vertices[0]))
            for i, vertex in enumerate(vertices):
                value += weights[i] * (2 * weights[i] - 1) * at(vertex)
                for j in range(i):
                    value += 4 * weights[i] * weights[j] * at((vertex + vertices[j]) / 2)
            least = min(least, float(value.min()))
    return least
