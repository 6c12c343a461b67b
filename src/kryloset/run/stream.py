# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The instances of some solved chunks as pairs to learn from, before there is a dataset."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.config import (
    DatasetConfig,
    InstancesConfig,
    RefinementConfig,
    TrainingConfig,
)
from kryloset.dataset.atomic import write_whole
from kryloset.dataset.layout import recorded
from kryloset.dataset.staged import StagedFile
from kryloset.dataset.writer import write_dataset
from kryloset.problems import Family
from kryloset.run import files
from kryloset.run.inputs import require_same
from kryloset.run.solved import Places, read_instances, read_masks


def write_part(
    path: Path,
    chunks: Sequence[Path],
    chosen: NDArray[np.int64],
    config: DatasetConfig,
    family: Family,
) -> int:
    """Write some instances of solved chunks as a dataset of their own, which is all `train`.

    It has their parameters and solutions, in the order of the chunks, and nothing on how they
    were solved.

    Args:
        path: The file to write; there is none if no instance of the chunks is chosen.
        chunks: Files of `kryloset solve`.
        chosen: Numbers of the instances that may be in it.
        config: The dataset that the chunks are parts of.
        family: Its family.

    Returns:
        How many instances it has.

    Raises:
        DataError: A chunk is damaged, or was solved with another configuration.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(StagedFile(chunk)) for chunk in chunks]
        for file in opened:
            require_same(file, config, "solve")
        found = [np.flatnonzero(np.isin(file.array(files.INSTANCE), chosen)) for file in opened]
        count = sum(map(len, found))
        if not count:
            return 0
        numbers = np.arange(count)
        places = Places(
            opened,
            numbers,
            np.repeat(np.arange(len(opened)), [*map(len, found)]),
            np.concatenate(found),
            np.zeros_like(numbers),
            numbers,
        )
        small = config.model_copy(
            update={
                "count": count,
                "chunks": 1,
                "splits": {"train": 1.0},
                "ood": {},
                "instances": InstancesConfig(),
                "refinement": RefinementConfig(),
                "training": TrainingConfig(),
            }
        )
        nothing = dict.fromkeys(recorded(small.storage), np.zeros(count))
        with write_whole(path) as part:
            write_dataset(
                part, "part", small, family, read_instances(places, family, config), nothing,
                {0: "not told"}, {}, "", masks=read_masks(opened),
            )  # fmt: skip
    return count
