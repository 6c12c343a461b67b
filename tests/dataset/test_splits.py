# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Splits partition the instances, depend only on the seed, and stay as a set grows."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kryloset.config import DatasetConfig
from kryloset.dataset.splits import split_indices

NAMES = ("train", "valid", "test", "extra", "more")


@st.composite
def datasets(draw: st.DrawFn) -> DatasetConfig:
    """Return a configuration with any fractions, and a count at which no split is empty."""
    weights = draw(st.lists(st.integers(1, 60), min_size=1, max_size=len(NAMES)))
    fractions = [weight / sum(weights) for weight in weights]
    count = draw(st.integers(int(1 / min(fractions)) + 1, 400))
    return DatasetConfig(
        count=count,
        chunks=1,
        seed=draw(st.integers(0, 2**64 - 1)),
        splits=dict(zip(NAMES, fractions, strict=False)),
    )


def assigned(config: DatasetConfig) -> np.ndarray:
    """Return the number of each instance's split."""
    found = np.full(config.count, -1)
    for number, indices in enumerate(split_indices(config).values()):
        assert np.all(np.diff(indices) > 0)
        assert np.all(found[indices] == -1)
        found[indices] = number
    assert np.all(found >= 0)
    return found


@given(config=datasets())
def test_a_split_is_never_off_by_an_instance_whatever_the_count(config: DatasetConfig):
    counts = np.arange(1, config.count + 1)
    for number, fraction in enumerate(config.splits.values()):
        sizes = np.cumsum(assigned(config) == number)
        # The fractions are exact to 16 digits.
        assert np.all(np.abs(sizes - fraction * counts) < 1 + 1e-9)
    assert all(len(indices) >= 1 for indices in split_indices(config).values())


@given(config=datasets(), more=st.integers(1, 400))
def test_a_larger_set_moves_no_instance(config: DatasetConfig, more: int):
    larger = config.model_copy(update={"count": config.count + more})
    np.testing.assert_array_equal(assigned(larger)[: config.count], assigned(config))


def test_another_seed_gives_other_splits():
    trains = {tuple(split_indices(DatasetConfig(seed=seed))["train"]) for seed in range(20)}
    assert len(trains) == 20


@pytest.mark.parametrize("fractions", [(0.75, 0.125, 0.125), (0.5, 0.5), (0.9, 0.05, 0.05)])
def test_the_instances_of_a_split_are_not_equally_spaced(fractions: tuple[float, ...]):
    """Distances between consecutive test instances vary, and no distance is that of most."""
    splits = dict(zip(NAMES, fractions, strict=False))
    config = DatasetConfig(count=2000, splits=splits)
    *_, last = split_indices(config).values()
    _, hits = np.unique(np.diff(last), return_counts=True)
    assert len(hits) >= 3
    assert hits.max() < 0.7 * hits.sum()


def test_the_splits_of_a_seed_never_change():
    """Any later version can derive the splits of a dataset again."""
    splits = split_indices(DatasetConfig(count=20, seed=1))
    assert splits["valid"].tolist() == [4, 13]
    assert splits["test"].tolist() == [1, 8, 17]


@pytest.mark.parametrize(
    ("fractions", "digest"),
    [
        ((0.8, 0.1, 0.1), "65093ea2d87902d6"),
        ((0.5, 0.3, 0.17, 0.03), "aeec16ca78d7e34d"),
        ((0.731, 0.134, 0.135), "c9ca04ad37f2904d"),
    ],
)
def test_the_splits_of_many_instances_never_change(fractions: tuple[float, ...], digest: str):
    splits = dict(zip(NAMES, fractions, strict=False))
    found = split_indices(DatasetConfig(count=3000, seed=5, splits=splits)).values()
    assert sha256(b"".join(split.tobytes() for split in found)).hexdigest()[:16] == digest
