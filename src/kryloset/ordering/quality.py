# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The quality of an order."""

import numpy as np
from numpy.typing import NDArray

STEPS_AT_ONCE = 4096
"""Number of steps whose differences are in memory at a time."""


def steps(features: NDArray[np.floating], order: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the distances from each instance to the next along an order.

    Args:
        features: One vector for each instance, shape (N, d).
        order: The instances in order, shape (N,).

    Returns:
        Euclidean distances, shape (N - 1,); their sum is the length of the path.
    """
    features = np.asarray(features, dtype=float)
    found = np.empty(max(len(order) - 1, 0))
    for begin in range(0, len(found), STEPS_AT_ONCE):
        along = features[order[begin : begin + STEPS_AT_ONCE + 1]]
        found[begin : begin + STEPS_AT_ONCE] = np.linalg.norm(np.diff(along, axis=0), axis=1)
    return found
