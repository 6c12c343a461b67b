# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The order of a Hilbert curve through feature space, and cells along it."""

import numpy as np
import scipy
from numpy.typing import NDArray

from kryloset.ordering.checks import require_vectors
from kryloset.ordering.refine import chain_through, or_opt
from kryloset.progress import track

PRINCIPAL_AXES = 8
"""Number of principal axes whose space the curve fills."""

CELL = 1024
"""Number of instances in a cell. All CELL^2 distances in a cell are computed."""


def hilbert_chain(
    features: NDArray[np.floating], *, cell: int = CELL, refine: bool = False
) -> NDArray[np.int64]:
    """Order vectors along a Hilbert curve, and greedily in cells of the curve.

    This is the large-scale variant that Wang et al., ICLR 2024, sketch in appendix E.2.2. The curve
    orders the vectors, and each run of `cell` vectors forms a cell. A greedy chain runs through
    each cell from the vector nearest to the end of the previous cell. Or-opt may shorten it. The
    method takes O(N cell d) operations, and O(N + cell^2) memory beside the features.

    Args:
        features: One vector for each instance, shape (N, d), finite.
        cell: Number of vectors in a cell, at least 1. With N or more the chain is the exact greedy
            chain through all vectors, apart from where it begins.
        refine: Whether Or-opt shortens the chains.

    Returns:
        A permutation of 0, ..., N - 1.

    Raises:
        ValueError: The features are not a finite matrix, or `cell` is less than 1.
    """
    features = require_vectors(features)
    if cell < 1:
        raise ValueError(f"cell {cell} is not a number of instances: take 1 or more")
    curve = curve_order(project_on_principal_axes(features, PRINCIPAL_AXES))
    order = np.empty_like(curve)
    end = features[curve[:1]]
    distance = scipy.spatial.distance
    for begin in track(range(0, len(curve), cell), "sorting cells of instances"):
        members = curve[begin : begin + cell]
        points = features[members]
        start = int(distance.cdist(end, points, "sqeuclidean").argmin())
        # Each distance once, with the same bits as both of `cdist`.
        distances = distance.squareform(distance.pdist(points))
        path = chain_through(distances, start)
        if refine:
            path = or_opt(distances, path)
        order[begin : begin + cell] = members[path]
        end = points[path[-1:]]
    return order


def curve_order(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order points along a Hilbert curve through their bounding box.

    The box is divided equally finely along all axes, so that an axis along which the points hardly
    differ counts as little as in their distances.

    Args:
        points: Shape (N, d), d at most 32.

    Returns:
        A permutation of 0, ..., N - 1. Points in the same place keep their order.
    """
    corner = points.min(axis=0, initial=np.inf)
    width = (points - corner).max(initial=0.0)
    if width == 0:
        return np.arange(len(points))
    bits = min(63 // points.shape[1], 31)
    places = np.minimum((points - corner) / width * 2.0**bits, 2.0**bits - 1)
    return np.argsort(hilbert_index(places.astype(np.uint64), bits), kind="stable")


def project_on_principal_axes(features: NDArray[np.float64], axes: int) -> NDArray[np.float64]:
    """Return the coordinates of vectors along the axes in which they vary most.

    Args:
        features: One vector for each instance, shape (N, d).
        axes: Largest number of axes.

    Returns:
        Shape (N, min(axes, d)), with mean zero, in the order of decreasing variance. Along each
        axis the first vector that differs from the mean has a positive coordinate, so that signs
        do not depend on the linear algebra library.
    """
    centred = features - features.mean(axis=0) if len(features) else features
    if centred.shape[1] <= len(centred):
        basis = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    else:
        basis = np.linalg.svd(centred, full_matrices=False)[2].T
    points = centred @ basis[:, :axes]
    if len(points):
        first = (abs(points) > 1e-9 * abs(points).max(axis=0)).argmax(axis=0)
        points *= np.where(points[first, np.arange(points.shape[1])] < 0, -1.0, 1.0)
    return points


def hilbert_index(places: NDArray[np.unsignedinteger], bits: int) -> NDArray[np.uint64]:
    """Return the positions of cells of a regular grid along a Hilbert curve.

    J. Skilling, "Programming the Hilbert curve", AIP Conf. Proc. 707 (2004), 381-387, for all cells
    at once.

    Args:
        places: Coordinates of the cells, shape (N, d), integers below 2^bits.
        bits: Number of bits of a coordinate, bits d <= 64.

    Returns:
        Positions along the curve, shape (N,). Cells at successive positions share a face.
    """
    x = np.array(places.T, dtype=np.uint64)
    axes = len(x)
    one = np.uint64(1)
    for bit in range(bits - 1, 0, -1):
        q = one << np.uint64(bit)
        lower = q - one
        for axis in range(axes):
            inverted = (x[axis] & q) != 0
            swapped = np.where(inverted, 0, (x[0] ^ x[axis]) & lower).astype(np.uint64)
            x[0] ^= np.where(inverted, lower, swapped)
            x[axis] ^= swapped
    for axis in range(1, axes):
        x[axis] ^= x[axis - 1]
    flips = np.zeros_like(x[0])
    for bit in range(bits - 1, 0, -1):
        q = one << np.uint64(bit)
        flips ^= np.where((x[-1] & q) != 0, q - one, 0).astype(np.uint64)
    x ^= flips
    index = np.zeros_like(x[0])
    for bit in range(bits - 1, -1, -1):
        for axis in range(axes):
            index = (index << one) | ((x[axis] >> np.uint64(bit)) & one)
    return np.asarray(index)
