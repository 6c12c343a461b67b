# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The digests of the instances that are stored, after some failed as they were solved."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.failures import Failures
from kryloset.dataset.staged import StagedFile
from kryloset.problems.populations import Population
from kryloset.run import files
from kryloset.run.draw import Drawn
from kryloset.run.inputs import read_failures


def read_redrawn(
    order: StagedFile,
    chunks: Sequence[StagedFile],
    config: DatasetConfig,
    populations: Sequence[Population],
) -> tuple[NDArray[np.uint8], Failures]:
    """Return the digests of stored instances, and what failed before them.

    Args:
        order: `order.h5`, which has the digests of the instances as they were sorted.
        chunks: The files of chunks, which have the failures since.
        config: The dataset.
        populations: Those of the dataset.

    Returns:
        Digests of all instances, (count, 32): of those that failed as they were solved, of what was
        drawn in their place, if their chunk is among those given. They are zeros where an instance
        is left out.

    Raises:
        DataError: More instances failed than may, or a file is damaged.
    """
    failures = Failures(config.failures_allowed, read_failures(order))
    digests, sorted_ = order.array(files.DRAWN), len(failures)
    for chunk in chunks:
        failures.update(read_failures(chunk))
    failed = {failure.instance for failure in failures.since(sorted_)}
    if failed:
        digests = digests.copy()
        digests[[*failed]] = 0
    if again := sorted(failed - failures.left_out):
        precision = config.storage.precision
        drawn = Drawn(populations, config.seed, failures=failures, precision=precision)
        _, rows = drawn.digested(again)
        digests[again] = [np.frombuffer(sha256(row).digest(), np.uint8) for row in rows]
    return digests, failures
