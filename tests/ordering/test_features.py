# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Short features keep the distances of what they keep, and never increase distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from kryloset.ordering.features import NUMBERS, REDUCTIONS, principal_axes

type Array = NDArray[np.float64]

ORTHOGONAL = ("cosines", "fourier", "blocks")
SHAPES = ((), (1,), (37,), (300,), (8, 8), (33, 20), (65, 65), (2, 40, 3), (9, 10, 11))


def draw(shape: tuple[int, ...], count: int = 5, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *shape))


def flat(fields: Array) -> Array:
    return fields.reshape(len(fields), -1)


@pytest.mark.parametrize("kind", REDUCTIONS)
@settings(max_examples=40)
@given(shape=st.sampled_from(SHAPES), numbers=st.integers(1, 200), seed=st.integers(0, 9))
def test_features_are_few_linear_and_by_instance(
    kind: str, shape: tuple[int, ...], numbers: int, seed: int
) -> None:
    fields = draw(shape, seed=seed)
    reduce = REDUCTIONS[kind]
    found = reduce(fields, numbers)
    assert found.shape[0] == 5 and 1 <= found.shape[1] <= numbers
    np.testing.assert_allclose(reduce(fields[1:2] - 3 * fields[:1], numbers)[0],
                               found[1] - 3 * found[0], atol=1e-9)  # fmt: skip
    np.testing.assert_array_equal(reduce(fields[2:4], numbers), found[2:4])


@pytest.mark.parametrize("kind", ORTHOGONAL)
@settings(max_examples=40)
@given(shape=st.sampled_from(SHAPES), numbers=st.integers(1, 200))
def test_distances_never_grow(kind: str, shape: tuple[int, ...], numbers: int) -> None:
    fields = draw(shape)
    found = REDUCTIONS[kind](fields, numbers)
    assert (cdist(found, found) <= cdist(flat(fields), flat(fields)) * (1 + 1e-12)).all()


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (37,), (8, 8), (5, 3, 2)])
def test_distances_stay_where_nothing_is_left_out(kind: str, shape: tuple[int, ...]) -> None:
    fields = draw(shape)
    found = REDUCTIONS[kind](fields, NUMBERS)
    assert found.shape == flat(fields).shape
    np.testing.assert_allclose(cdist(found, found), cdist(flat(fields), flat(fields)), atol=1e-12)


def waves(kind: str, points: int) -> Array:
    """Fields of the three longest waves of a kind, 10 instances."""
    places = np.arange(points)
    if kind == "cosines":
        along = np.cos(np.pi * np.arange(3)[:, None] * (places + 0.5) / points)
    elif kind == "fourier":
        angles = 2 * np.pi * places / points
        along = np.stack([np.ones(points), np.cos(angles), np.sin(angles)])
    else:
        along = np.kron(np.eye(3), np.ones(points // 3))
    return np.einsum("nij,ix,jy->nxy", draw((3, 3), 10), along, along)


@pytest.mark.parametrize("kind", ORTHOGONAL)
def test_distances_between_long_waves_are_exact(kind: str) -> None:
    fields = waves(kind, 30)
    found = REDUCTIONS[kind](fields, 9)
    assert found.shape == (10, 9)
    np.testing.assert_allclose(cdist(found, found), cdist(flat(fields), flat(fields)), rtol=1e-9)


def test_coarse_fields_are_means_over_blocks() -> None:
    fields = draw((12, 12))
    means = fields.reshape(5, 3, 4, 3, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(REDUCTIONS["blocks"](fields, 9), 4 * flat(means))


def test_random_projection_keeps_squared_distances_in_the_mean() -> None:
    fields = draw((40, 40), 60)
    found = REDUCTIONS["random"](fields, NUMBERS)
    pairs = np.triu_indices(60, 1)
    ratios = (cdist(found, found) ** 2 / np.maximum(cdist(flat(fields), flat(fields)), 1) ** 2)[
        pairs
    ]
    # Standard deviation of a ratio: about sqrt(2 / 144) = 0.12.
    assert abs(ratios.mean() - 1) < 0.03
    assert ratios.std() < 0.15


def test_principal_axes_are_the_best_orthogonal_projection() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((200, 30)) / np.arange(1, 31) + 7
    axes = principal_axes(vectors, 4)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-12)
    variance = np.linalg.eigvalsh(np.cov(vectors.T, ddof=0))[::-1]
    np.testing.assert_allclose((vectors @ axes).var(axis=0), variance[:4])
    for _ in range(5):
        other = np.linalg.qr(generator.standard_normal((30, 4)))[0]
        assert (vectors @ other).var(axis=0).sum() < variance[:4].sum()
