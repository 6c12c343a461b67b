# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Dissimilarities, and clusters around medoids that no swap improves."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from kryloset.ordering import cluster, greedy_chain, k_medoids
from kryloset.ordering.dissimilarity import DISSIMILARITIES, frobenius, sine, spectral

type Array = NDArray[np.float64]


def draw(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("name", DISSIMILARITIES)
def test_a_dissimilarity_is_a_metric(name: str) -> None:
    # The sine is one, too: the distance between the orthogonal projections on two lines.
    matrices = draw(12, 4, 3)
    found = DISSIMILARITIES[name](matrices, matrices)
    np.testing.assert_allclose(found, found.T, atol=1e-14)
    np.testing.assert_allclose(np.diag(found), 0, atol=1e-14)
    off = found[~np.eye(12, dtype=bool)]
    assert off.min() > 0
    assert (found[:, None] <= found[:, :, None] + found[None] + 1e-12).all()


def test_norms_are_those_of_their_definitions() -> None:
    a, b = draw(5, 4, 3), draw(7, 4, 3) + 1
    f, two = frobenius(a, b), spectral(a, b)
    for i in range(5):
        for j in range(7):
            values = np.linalg.svd(a[i] - b[j])[1]
            assert two[i, j] == pytest.approx(values[0])
            assert f[i, j] == pytest.approx(np.sqrt((values**2).sum()))
    assert (two <= f + 1e-12).all() and (f <= np.sqrt(3) * two + 1e-12).all()
    with pytest.raises(ValueError, match="matrices"):
        spectral(draw(5, 4), draw(5, 4))


@given(st.floats(1e-9, np.pi / 2), st.floats(-1e100, 1e100).filter(lambda s: abs(s) > 1e-100))
def test_the_sine_is_accurate_for_small_angles(angle: float, scale: float) -> None:
    u, v = np.array([[1.0, 0.0]]), scale * np.array([[np.cos(angle), np.sin(angle)]])
    assert sine(u, v)[0, 0] == pytest.approx(np.sin(angle), rel=1e-6)


def test_the_sine_is_the_distance_of_projections_on_lines() -> None:
    vectors = draw(6, 5)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    projections = np.einsum("ni,nj->nij", units, units)
    np.testing.assert_allclose(
        sine(vectors, vectors), spectral(projections, projections), atol=1e-12
    )
    with pytest.raises(ValueError, match="instance 1 is zero"):
        sine(np.array([[1.0, 0], [0, 0]]), vectors[:, :2])


def test_greedy_chains_follow_their_dissimilarity() -> None:
    matrices = draw(40, 5, 5)
    for dissimilarity in DISSIMILARITIES.values():
        between = dissimilarity(matrices, matrices)
        order = greedy_chain(matrices, dissimilarity=dissimilarity)
        for place, here in enumerate(order[:-1]):
            assert between[here, order[place + 1 :]].min() == between[here, order[place + 1]]


# Clusters


def deviation(dissimilarities: Array, medoids: object) -> float:
    return float(dissimilarities[:, np.asarray(medoids)].min(axis=1).sum())


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 100))
def test_no_swap_of_a_medoid_is_better(count: int, clusters: int, seed: int) -> None:
    clusters = min(clusters, count)
    points = np.random.default_rng(seed).integers(0, 12, (count, 2)).astype(float)
    between = cdist(points, points)
    medoids = k_medoids(between, clusters, seed=seed)
    assert len(set(medoids)) == clusters
    found = deviation(between, medoids)
    for leaving in medoids:
        for entering in range(count):
            swapped = [entering if m == leaving else m for m in medoids]
            assert deviation(between, swapped) >= found - 1e-9


def test_medoids_of_a_clear_case_are_the_best_of_all() -> None:
    centres = np.array([[0.0, 0], [20, 0], [0, 20]])
    points = np.concatenate([c + draw(9, 2) for c in centres])
    between = cdist(points, points)
    best = min(combinations(range(27), 3), key=lambda medoids: deviation(between, medoids))
    assert k_medoids(between, 3).tolist() == sorted(best)
    with pytest.raises(ValueError, match="28 medoids"):
        k_medoids(between, 28)


@pytest.mark.parametrize("sample", [30, 300])
def test_instances_go_to_the_cluster_of_their_direction(sample: int) -> None:
    generator = np.random.default_rng(0)
    which = generator.integers(0, 4, 300)
    # The sine does not depend on lengths and signs.
    factors = generator.choice([-1, 1], (300, 1)) * generator.uniform(0.1, 10, (300, 1))
    vectors = factors * (np.eye(4, 6)[which] + 0.1 * generator.standard_normal((300, 6)))
    medoids, labels = cluster(vectors, 4, sample=sample)
    assert labels[medoids].tolist() == [0, 1, 2, 3]
    assert len(set(zip(labels.tolist(), which.tolist(), strict=True))) == 4
