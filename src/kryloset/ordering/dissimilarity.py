# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measures of the dissimilarity of two instances."""

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

from kryloset.ordering.distances import squared_distances

type Dissimilarity = Callable[
    [NDArray[np.float64], NDArray[np.float64]],
    NDArray[np.float64],
]
"""From instances of shapes (n, ...) and (m, ...) to nonnegative numbers, shape (n, m)."""

ENTRIES_AT_ONCE = 2**22
"""Number of entries of differences of matrices that are in memory at a time."""


def frobenius(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ||A - B||_F, the Euclidean distance of all entries."""
    return np.asarray(scipy.spatial.distance.cdist(_flat(a), _flat(b)))


def squared_frobenius(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ||A - B||_F^2, which orders neighbours as the norm does and needs no roots."""
    points = _flat(b)
    return np.reshape([squared_distances(one, points) for one in _flat(a)], (len(a), len(b)))


def spectral(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ||A - B||_2, the largest singular value, for shapes (n, p, q) and (m, p, q).

    It lies between ||A - B||_F / sqrt(min(p, q)) and ||A - B||_F. Each pair takes
    O(p q min(p, q)) operations, so it suits few instances or small matrices.

    Raises:
        ValueError: The instances are not matrices.
    """
    if a.ndim != 3 or b.ndim != 3:
        raise ValueError(f"the spectral norm is for matrices, not for shape {a.shape[1:]}")
    found = np.empty((len(a), len(b)))
    length = max(1, ENTRIES_AT_ONCE // max(1, a[0].size if len(a) else 1))
    for i, one in enumerate(a):
        for begin in range(0, len(b), length):
            differences = b[begin : begin + length] - one
            found[i, begin : begin + length] = np.linalg.norm(differences, ord=2, axis=(1, 2))
    return found


def sine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the sine of the angle between the lines through instances, 0 to 1.

    T. Daniel, F. Casenave, N. Akkari, A. Ketata, D. Ryckelynck, "Physics-informed cluster
    analysis and a priori efficiency criterion for the construction of local reduced-order
    bases", J. Comput. Phys. 458 (2022). For unit vectors u and v it is the distance of u
    from the line through v. It is computed as |u - v| |u + v| / 2, since the root of
    1 - (u . v)^2 loses half its digits for small angles.

    Raises:
        ValueError: An instance is zero, which has no direction.
    """
    u, v = _units(a), _units(b)
    distances = scipy.spatial.distance.cdist
    return np.asarray(np.minimum(distances(u, v) * distances(u, -v) / 2, 1.0))


def _flat(instances: NDArray[np.float64]) -> NDArray[np.float64]:
    return instances.reshape(len(instances), -1)


def _units(instances: NDArray[np.float64]) -> NDArray[np.float64]:
    vectors = _flat(instances)
    # Scaled first, since the squares in the norm may underflow or overflow.
    largest = abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    if not largest.all():
        raise ValueError(f"instance {int(largest[:, 0].argmin())} is zero: it has no direction")
    vectors = vectors / largest
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


DISSIMILARITIES: dict[str, Dissimilarity] = {
    "frobenius": frobenius,
    "spectral": spectral,
    "sine": sine,
}
