# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Clusters of instances around medoids."""

import numpy as np
from numpy.typing import NDArray

from kryloset.ordering.checks import require_features
from kryloset.ordering.dissimilarity import Dissimilarity, sine

MEDOID_CANDIDATES = 2048
"""Number of instances among which medoids are chosen."""

INSTANCES_AT_ONCE = 8192
"""Number of instances that are assigned to clusters at a time."""


def k_medoids(
    dissimilarities: NDArray[np.float64], clusters: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """Choose medoids that minimise the sum of dissimilarities to the nearest one.

    The method is that of eager swaps, FasterPAM: E. Schubert, P. J. Rousseeuw, "Fast and eager
    k-medoids clustering", Inf. Syst. 101 (2021). In the result no swap of a medoid for another
    instance reduces the sum. A pass takes O(N^2) operations, and few passes are needed.

    Args:
        dissimilarities: Nonnegative dissimilarities of all pairs, shape (N, N).
        clusters: Number of medoids, 1 to N.
        seed: Seed of the initial choice.

    Returns:
        The medoids, ascending, shape (clusters,).

    Raises:
        ValueError: The number of clusters is not between 1 and N.
    """
    count = len(dissimilarities)
    if not 1 <= clusters <= count:
        raise ValueError(f"{count} instances cannot have {clusters} medoids: take 1 to {count}")
    columns = np.ascontiguousarray(dissimilarities.T)
    medoids = np.random.default_rng(seed).choice(count, clusters, replace=False)
    nearest, least, second = _nearest_two(columns[medoids])
    slack = 1e-12 * least.sum()
    untried, candidate = count, 0
    while untried:
        to_candidate = columns[candidate]
        without = np.minimum(to_candidate, least)
        # The change for all instances, and for those that lose their medoid.
        change = (without - least).sum() + np.bincount(
            nearest, np.minimum(to_candidate, second) - without, minlength=clusters
        )
        leaving = int(change.argmin())
        if change[leaving] < -slack:
            medoids[leaving] = candidate
            nearest, least, second = _nearest_two(columns[medoids])
            untried = count
        untried -= 1
        candidate = (candidate + 1) % count
    return np.sort(medoids)


def cluster(
    features: NDArray[np.floating],
    clusters: int,
    *,
    dissimilarity: Dissimilarity = sine,
    sample: int = MEDOID_CANDIDATES,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide instances into clusters around medoids.

    With more than `sample` instances, medoids are chosen among a random sample (CLARA: L. Kaufman,
    P. J. Rousseeuw, Finding groups in data, 1990). Then every instance is assigned to the nearest
    medoid. This takes O(sample^2 + N clusters) dissimilarities.

    Args:
        features: One vector or matrix for each instance, shape (N, ...), finite.
        clusters: Number of clusters.
        dissimilarity: The measure of dissimilarity.
        sample: Largest number of instances among which medoids are chosen.
        seed: Seed of the random choices.

    Returns:
        The medoids, ascending, shape (clusters,), and the cluster of each instance, shape (N,);
        the first of equally near ones.

    Raises:
        ValueError: The features are not finite, or there are fewer instances than clusters.
    """
    features = require_features(features)
    drawn = np.arange(len(features))
    if len(drawn) > sample:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, sample, replace=False))
    between = dissimilarity(features[drawn], features[drawn])
    medoids = drawn[k_medoids(between, clusters, seed=seed)]
    labels = np.empty(len(features), dtype=np.int64)
    for begin in range(0, len(features), INSTANCES_AT_ONCE):
        block = slice(begin, begin + INSTANCES_AT_ONCE)
        labels[block] = dissimilarity(features[block], features[medoids]).argmin(axis=1)
    return medoids, labels


def _nearest_two(
    to_medoids: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the nearest medoid of each instance, and the dissimilarities to it and the next."""
    nearest = to_medoids.argmin(axis=0)
    places = np.arange(to_medoids.shape[1])
    least = to_medoids[nearest, places]
    others = to_medoids.copy()
    others[nearest, places] = np.inf
    return nearest, least, others.min(axis=0)
