# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which instances a model has seen, so that no split is called a test that is none.

A model carries a digest of each instance of its train and valid splits, and what the model carried
that its training began with. In another file an instance is the same if its parameters have the
same digest. On another grid they have another one, so it is also taken for the same if it has the
same number, and was drawn by the same family with the same settings and seed.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, label_of
from kryloset.dataset.instances import instance_digests
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.pairs import Pairs

logger = logging.getLogger(__name__)

#: Bytes of an instance's digest that a model carries.
LENGTH = 16
#: The splits that a model may have seen.
TRAINING = ("train", "valid")


def note_seen(splits: Sequence[Pairs], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what tells the instances of some splits of one file again, for a model's `about`.

    Args:
        splits: The splits.
        before: What this returned for the model that the training began with, if there is one.
    """
    with Dataset(splits[0].path) as dataset:
        digests, drawn = instance_digests(dataset)[:, :LENGTH].copy(), _drawing(dataset.config)
        numbers, family = dataset.numbers, dataset.config.family
    return {
        "dataset": splits[0].digest,
        "family": family,
        "drawn": drawn,
        "instances": {pairs.split: torch.from_numpy(numbers[pairs.instances]) for pairs in splits},
        "digests": {pairs.split: torch.from_numpy(digests[pairs.instances]) for pairs in splits},
        **({} if before is None else {"before": before}),
    }


def note_stream(
    config: DatasetConfig,
    identity: str,
    digests: NDArray[np.uint8],
    splits: Mapping[str, NDArray[np.int64]],
) -> dict[str, Any]:
    """Return the same of instances that are learnt from before there is a file of them.

    Args:
        config: Their dataset.
        identity: A digest of all that they depend on.
        digests: The digest of each instance by its number, (count, 32).
        splits: Numbers of the instances by split.
    """
    return {
        "dataset": identity,
        "family": config.family,
        "drawn": _drawing(config),
        "instances": {name: torch.from_numpy(numbers) for name, numbers in splits.items()},
        "digests": {
            name: torch.from_numpy(digests[numbers, :LENGTH].copy())
            for name, numbers in splits.items()
        },
    }


def find_seen(seen: Mapping[str, Any], path: Path) -> dict[str, NDArray[np.bool_]]:
    """Return which instances of a file a model may have seen.

    Args:
        seen: What `note_seen` returned when the model was trained.
        path: The file of a dataset.

    Returns:
        By the split in which it saw them, a truth value for each row.

    Raises:
        DataError: The file is missing or damaged.
    """
    with Dataset(path) as dataset:
        digests, drawn = instance_digests(dataset)[:, :LENGTH], _drawing(dataset.config)
        # Shifted instances have other settings.
        numbers = dataset.numbers[dataset.numbers < dataset.config.count]
    keys = _keys(digests)
    found = {}
    for split, known in seen["digests"].items():
        found[split] = np.isin(keys, _keys(known.numpy()))
        if drawn and drawn == seen["drawn"]:
            found[split][: len(numbers)] |= np.isin(numbers, seen["instances"][split].numpy())
    return found


def require_unseen(seen: Mapping[str, Any], pairs: Pairs) -> None:
    """Refuse a split of which a model may have seen instances, unless its name says so.

    Args:
        seen: What `note_seen` returned when the model was trained.
        pairs: The split.

    Raises:
        DataError: It is neither `train` nor `valid`, and the model may have seen instances of it.
    """
    if pairs.split in TRAINING:
        return
    if "before" in seen:
        require_unseen(seen["before"], pairs)
    counts = {
        split: int(mine[pairs.instances].sum())
        for split, mine in find_seen(seen, pairs.path).items()
    }
    told = [f"{count} in the split `{split}`" for split, count in counts.items() if count]
    if told:
        raise DataError(
            f"{pairs.path}: the split `{pairs.split}` is no test of this model, which may have "
            f"seen, of its {len(pairs.instances)} instances, {' and '.join(told)} of the dataset "
            f"{seen['dataset'][:16]} that it was trained on; measure other splits, or make the "
            "dataset with another seed"
        )


def warn_of_another_family(model: Path, about: Mapping[str, Any], other: str, family: str) -> None:
    """Say that a model learnt on instances of another family, whose channels may have its names.

    Args:
        model: The file of the model.
        about: Its metadata. One of an earlier version does not know the family.
        other: What has the instances of which it should predict the solutions.
        family: The family of these, as in the configuration.
    """
    learnt = about.get("seen", {}).get("family")
    if learnt is not None and label_of(learnt) != label_of(family):
        logger.warning(
            "%s learnt on instances of the family %s, and %s has those of %s",
            model, learnt, other, family,
        )  # fmt: skip


def _drawing(config: DatasetConfig) -> str:
    """Return what decides how instances are drawn; nothing if they were given."""
    if config.instances.file:
        return ""
    return json.dumps([config.family, config.seed, config.parameters], sort_keys=True, default=str)


def _keys(digests: NDArray[np.uint8]) -> NDArray[np.void]:
    return np.ascontiguousarray(digests).view(f"V{LENGTH}").ravel()
