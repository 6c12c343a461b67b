# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Distances have the same bits compiled and by NumPy, and are those of SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from kryloset.ordering import distances, greedy_chain
from kryloset.ordering.dissimilarity import frobenius, squared_frobenius


@given(st.integers(0, 20), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_compiled_distances_have_the_bits_of_numpys(count: int, length: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    point, points = random.standard_normal(length), random.standard_normal((count, length))
    found = distances.squared_distances(point, points)
    assert found.tolist() == distances.squared_distances_by_numpy(point, points).tolist()
    expected = cdist(point[None], points, "sqeuclidean")[0] if length else np.zeros(count)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_squares_of_norms_are_those_of_the_norms() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 5, 4, 7))
    np.testing.assert_allclose(squared_frobenius(a, b[:3]), frobenius(a, b[:3]) ** 2)


def test_a_chain_is_the_same_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).standard_normal((60, 33))
    compiled = greedy_chain(features).tolist()
    monkeypatch.setattr(distances, "_compiled", lambda: None)
    assert greedy_chain(features).tolist() == compiled
