# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The greedy chain of the SKR paper."""

import numpy as np
from numpy.typing import NDArray

from kryloset.ordering.checks import require_features
from kryloset.ordering.dissimilarity import Dissimilarity, squared_frobenius
from kryloset.progress import track


def greedy_chain(
    features: NDArray[np.floating],
    start: int = 0,
    *,
    dissimilarity: Dissimilarity = squared_frobenius,
) -> NDArray[np.int64]:
    """Order vectors by always going to the nearest unvisited one.

    Wang et al., "Accelerating data generation for neural operators via Krylov subspace recycling",
    ICLR 2024, algorithm 1, by default with the Euclidean distance (for matrices, the Frobenius
    distance). Of equally near vectors the first one is taken. The algorithm is exact and takes
    O(N^2 d) operations and O(N d) memory.

    Args:
        features: One vector or matrix for each instance, shape (N, ...), finite.
        start: First instance of the chain.
        dissimilarity: The measure of dissimilarity.

    Returns:
        A permutation of 0, ..., N - 1: the instances in the order of the chain.

    Raises:
        ValueError: The features have only one axis or are not finite, or `start` is not an
            instance.
    """
    features = require_features(features)
    count = len(features)
    if not 0 <= start < max(count, 1):
        raise ValueError(f"start {start} is not an instance of 0 to {count - 1}")
    # Unvisited vectors are kept together at the front: the last one fills each gap, so
    # that a step is one pass over contiguous memory.
    order = np.empty(count, dtype=np.int64)
    left = np.arange(count)
    points = features.copy()
    place = start
    for step in track(range(count), "sorting instances"):
        last = count - step - 1
        order[step] = left[place]
        here = points[place].copy()
        left[place], points[place] = left[last], points[last]
        if last > 0:
            distances = dissimilarity(here[None], points[:last])[0]
            nearest = np.flatnonzero(distances == distances.min())
            place = int(nearest[left[nearest].argmin()])
    return order
