# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A model knows which instances it has seen, in the file of its training and in others."""

import numpy as np
import pytest

pytest.importorskip("torch")

from reaction_data import family_of, make_data

from kryloset.dataset.instances import instance_digests
from kryloset.dataset.integrity import digest_instance
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.seen import find_seen, note_seen, require_unseen
from kryloset.torch import FieldPairs


@pytest.fixture(scope="module")
def seen(data):
    return note_seen([FieldPairs(data.path, split) for split in ("train", "valid")])


def test_the_digest_of_an_instance_is_that_of_its_parameters(data):
    with Dataset(data.path) as dataset:
        found = instance_digests(dataset)
    assert [row.tobytes() for row in found] == [
        digest_instance(p.values()) for p in data.parameters
    ]


def test_in_its_own_file_a_model_has_seen_what_it_was_trained_on(data, seen):
    found = find_seen(seen, data.path)
    for split, mine in found.items():
        np.testing.assert_array_equal(np.flatnonzero(mine), FieldPairs(data.path, split).instances)
    for split in ("train", "valid", "test"):
        require_unseen(seen, FieldPairs(data.path, split))


def test_a_longer_dataset_keeps_its_test_split(data, seen, tmp_path):
    longer = make_data(tmp_path / "longer.h5", count=60)
    require_unseen(seen, FieldPairs(longer.path, "test"))
    found = find_seen(seen, longer.path)
    assert {split: int(mine.sum()) for split, mine in found.items()} == {"train": 24, "valid": 8}


def test_with_another_seed_nothing_was_seen(seen, tmp_path):
    other = make_data(tmp_path / "other.h5", count=10, seed=1)
    assert not any(mine.any() for mine in find_seen(seen, other.path).values())


def test_a_test_split_with_instances_of_the_training_is_refused_by_their_number(
    data, seen, tmp_path
):
    other = make_data(tmp_path / "other.h5", splits={"train": 0.1, "test": 0.9})
    shared = np.isin(
        FieldPairs(other.path, "test").instances, FieldPairs(data.path, "train").instances
    )
    digest = seen["dataset"][:16]
    message = rf"`test` is no test of this .* {shared.sum()} in the split `train` .*{digest}"
    with pytest.raises(DataError, match=message):
        require_unseen(seen, FieldPairs(other.path, "test"))
    require_unseen(seen, FieldPairs(other.path, "train"))


def test_the_same_draws_on_another_grid_may_have_been_seen(seen, tmp_path):
    other = make_data(tmp_path / "other.h5", mesh={"points": 7})
    found = find_seen(seen, other.path)
    assert {split: int(mine.sum()) for split, mine in found.items()} == {"train": 24, "valid": 8}
    require_unseen(seen, FieldPairs(other.path, "test"))


def test_another_family_is_another_thing(seen, tmp_path):
    other = make_data(tmp_path / "other.h5", family=family_of("Uniform"))
    require_unseen(seen, FieldPairs(other.path, "test"))
