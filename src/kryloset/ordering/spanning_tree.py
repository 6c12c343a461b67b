# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The walk around a spanning tree of near neighbours."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from kryloset.ordering.checks import require_vectors
from kryloset.ordering.hilbert import AXES, curve_order, project_on_principal_axes

CURVES = 4
"""Hilbert curves along which neighbours are looked for."""

NEIGHBOURS = 12
"""Next instances along a curve that are regarded as neighbours."""

BLOCK = 4096
"""Instances whose differences to others are in memory at a time."""


def spanning_tree_walk(
    features: NDArray[np.floating], *, neighbours: int = NEIGHBOURS
) -> NDArray[np.int64]:
    """Order vectors by a walk around a minimum spanning tree, each branch to its end.

    Rosenkrantz, Stearns and Lewis, SIAM J. Comput. 6 (1977), 563-581: what was visited
    before is passed over, so by the triangle inequality the path is at most twice as
    long as the tree. Of the branches at a vector that with the most vectors comes last,
    since one need not come back from the last one.

    The tree is the minimal one of the graph of those that are near along one of several
    Hilbert curves, each through turned axes (S. Liao, M. A. Lopez, S. T. Leutenegger, ICDE
    2001, shift the curve); with `neighbours` at least N - 1 that is of all pairs.
    O(N neighbours d) operations beside sorting.

    Args:
        features: One vector an instance, shape (N, d), finite.
        neighbours: Next vectors along each curve to regard, at least 1.

    Returns:
        A permutation of 0, ..., N - 1 that begins with 0.

    Raises:
        ValueError: The features are no matrix or not finite, or `neighbours` is below 1.
    """
    features = require_vectors(features)
    if neighbours < 1:
        raise ValueError(f"neighbours {neighbours} is not a number of vectors: take 1 or more")
    if len(features) < 2:
        return np.arange(len(features))
    return _walk(spanning_tree(features, neighbours))


def spanning_tree(features: NDArray[np.float64], neighbours: int = NEIGHBOURS) -> sp.csr_array:
    """Return a minimum spanning tree of the graph of near vectors, an entry an edge.

    Args:
        features: Shape (N, d), N at least 2.
        neighbours: As for `spanning_tree_walk`.

    Returns:
        Lengths of the edges, shape (N, N); an edge of no length is the least positive number.
    """
    count = len(features)
    points = project_on_principal_axes(features, AXES)
    generator = np.random.default_rng(0)
    tree = sp.csr_array((count, count))
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
        # SciPy's graphs have no edges of no length.
        lengths = np.maximum(_distances(features, first, second), np.finfo(float).tiny)
        graph = sp.csr_array((lengths, (first, second)), shape=(count, count))
        # Edges that are not in the tree of a part are not in that of the whole.
        tree = sp.csr_array(minimum_spanning_tree(tree.maximum(graph)))
    return tree


def _distances(
    features: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    lengths = np.empty(len(first))
    for begin in range(0, len(first), BLOCK):
        block = slice(begin, begin + BLOCK)
        lengths[block] = np.linalg.norm(features[first[block]] - features[second[block]], axis=1)
    return lengths


def _walk(tree: sp.csr_array) -> NDArray[np.int64]:
    """Return the vertices of a tree in preorder from 0, of branches the largest last."""
    count = tree.shape[0]
    visited, parent = breadth_first_order(tree, 0, directed=False)
    sizes = [1] * count
    for vertex in visited[:0:-1].tolist():
        sizes[parent[vertex]] += sizes[vertex]
    rank = np.empty(count, dtype=np.int64)
    rank[visited] = np.arange(count)
    rest = visited[1:]
    branches = rest[np.lexsort((np.array(sizes)[rest], rank[parent[rest]]))]
    # Where the next branch of a vertex begins; that of a parent is known before its branches'.
    begins = [1] * count
    order = np.zeros(count, dtype=np.int64)
    for vertex, above in zip(branches.tolist(), parent[branches].tolist(), strict=True):
        place = begins[above]
        order[place] = vertex
        begins[above] = place + sizes[vertex]
        begins[vertex] = place + 1
    return order
