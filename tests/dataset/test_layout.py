# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Splits partition the instances, and depend on the seed alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kryloset.config import DatasetConfig
from kryloset.dataset.layout import split_indices


@given(count=st.integers(8, 300), seed=st.integers(0, 2**64 - 1))
def test_splits_partition_the_instances(count, seed):
    config = DatasetConfig(count=count, seed=seed)
    splits = split_indices(config)
    assert {name: len(part) for name, part in splits.items()} == config.split_sizes()
    np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(count))
    for part in splits.values():
        assert np.all(np.diff(part) > 0)


def test_another_seed_splits_otherwise():
    trains = {tuple(split_indices(DatasetConfig(seed=seed))["train"]) for seed in range(20)}
    assert len(trains) == 20


def test_every_instance_is_in_train_as_often():
    """400 seeds: hits of an instance are binomial with mean 300 and deviation 8.7."""
    count = DatasetConfig().count
    hits = np.zeros(count)
    for seed in range(400):
        hits[split_indices(DatasetConfig(seed=seed))["train"]] += 1
    assert hits.mean() == 300
    assert np.abs(hits - 300).max() < 5 * np.sqrt(400 * 0.75 * 0.25)


def test_the_splits_of_a_seed_never_change():
    """A dataset's splits can be made again with any later version."""
    splits = split_indices(DatasetConfig(count=10, seed=1, splits={"train": 0.6, "test": 0.4}))
    assert splits["test"].tolist() == [1, 4, 8, 9]
