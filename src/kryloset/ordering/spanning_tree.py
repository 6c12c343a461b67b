# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The walk around a spanning tree of near neighbours."""

import numpy as np
import scipy
from numpy.typing import NDArray

from kryloset.ordering.checks import require_vectors
from kryloset.ordering.hilbert import PRINCIPAL_AXES, curve_order, project_on_principal_axes

CURVES = 4
"""Number of Hilbert curves along which neighbours are found."""

NEIGHBOURS = 12
"""Number of next instances along a curve that count as neighbours."""

PAIRS_AT_ONCE = 4096
"""Number of pairs whose differences are in memory at a time."""


def spanning_tree_walk(
    features: NDArray[np.floating], *, neighbours: int = NEIGHBOURS
) -> NDArray[np.int64]:
    """Order vectors by a depth-first walk around a minimum spanning tree.

    Rosenkrantz, Stearns and Lewis, SIAM J. Comput. 6 (1977), 563-581. The walk skips visited
    vectors, so by the triangle inequality the path is at most twice as long as the tree. The branch
    with the most vectors comes last, since there is no way back from the last one.

    The tree is minimal in the graph of vectors that are near along one of several Hilbert curves
    through rotated axes (S. Liao, M. A. Lopez, S. T. Leutenegger, ICDE 2001, shift the curve). If
    `neighbours` is at least N - 1, the graph has all pairs. Apart from sorting, the method takes
    O(N neighbours d) operations.

    Args:
        features: One vector for each instance, shape (N, d), finite.
        neighbours: Number of next vectors along each curve that count as neighbours, at least 1.

    Returns:
        A permutation of 0, ..., N - 1 that begins with 0.

    Raises:
        ValueError: The features are not a finite matrix, or `neighbours` is below 1.
    """
    features = require_vectors(features)
    if neighbours < 1:
        raise ValueError(f"neighbours {neighbours} is not a number of vectors: take 1 or more")
    if len(features) < 2:
        return np.arange(len(features))
    return _walk(spanning_tree(features, neighbours))


def spanning_tree(
    features: NDArray[np.float64], neighbours: int = NEIGHBOURS
) -> "scipy.sparse.csr_array":
    """Return a minimum spanning tree of the graph of near vectors, with an entry for each edge.

    Args:
        features: Shape (N, d), N at least 2.
        neighbours: As for `spanning_tree_walk`.

    Returns:
        Lengths of the edges, shape (N, N). An edge of length zero has the least positive number.
    """
    count = len(features)
    points = project_on_principal_axes(features, PRINCIPAL_AXES)
    generator = np.random.default_rng(0)
    tree = scipy.sparse.csr_array((count, count))
    for curve in range(CURVES):
        turn = np.eye(points.shape[1])
        if curve:
            turn = np.linalg.qr(generator.standard_normal(turn.shape))[0]
        order = curve_order(points @ turn)
        pairs = [
            np.sort([order[:-distance], order[distance:]], axis=0)
            for distance in range(1, min(neighbours, count - 1) + 1)
        ]
        first, second = np.concatenate(pairs, axis=1)
        # In SciPy's graphs an entry of zero is no edge.
        lengths = np.maximum(_distances(features, first, second), np.finfo(float).tiny)
        graph = scipy.sparse.csr_array((lengths, (first, second)), shape=(count, count))
        # An edge that is not in the tree of a subgraph is not in that of the whole graph.
        tree = scipy.sparse.csr_array(
            scipy.sparse.csgraph.minimum_spanning_tree(tree.maximum(graph))
        )
    return tree


def _distances(
    features: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    lengths = np.empty(len(first))
    for begin in range(0, len(first), PAIRS_AT_ONCE):
        block = slice(begin, begin + PAIRS_AT_ONCE)
        lengths[block] = np.linalg.norm(features[first[block]] - features[second[block]], axis=1)
    return lengths


def _walk(tree: "scipy.sparse.csr_array") -> NDArray[np.int64]:
    """Return the vertices of a tree in preorder from 0, the largest branch last."""
    count = tree.shape[0]
    visited, parent = scipy.sparse.csgraph.breadth_first_order(tree, 0, directed=False)
    sizes = [1] * count
    for vertex in visited[:0:-1].tolist():
        sizes[parent[vertex]] += sizes[vertex]
    rank = np.empty(count, dtype=np.int64)
    rank[visited] = np.arange(count)
    rest = visited[1:]
    branches = rest[np.lexsort((np.array(sizes)[rest], rank[parent[rest]]))]
    # Where the next branch of a vertex begins. Parents come before their branches.
    begins = [1] * count
    order = np.zeros(count, dtype=np.int64)
    for vertex, above in zip(branches.tolist(), parent[branches].tolist(), strict=True):
        place = begins[above]
        order[place] = vertex
        begins[above] = place + sizes[vertex]
        begins[vertex] = place + 1
    return order
