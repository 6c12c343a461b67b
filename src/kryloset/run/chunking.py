# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Into how many chunks a dataset is divided, where its configuration leaves that open."""

import math
import os

from kryloset.config import DatasetConfig
from kryloset.problems import Family, NonlinearFamily

LEAST_SECONDS = 1.0
"""Expected seconds of a chunk below which another job costs more than it saves: its start."""

MOST_SECONDS = 3600.0
"""Expected seconds of a chunk above which chunks outnumber workers: limits of a cluster's jobs."""

LEARNT_CHUNKS = 16
"""Chunks at least where a training learns from each as it is solved."""

NEWTON_ITERATIONS = 5
"""Linear systems that an instance of a nonlinear family is expected to need."""

STEP = 0.3
"""Part of the seconds of a first system that a further time step takes, which has its matrix."""


def count_values(family: Family) -> int:
    """Return the number of values in one state of a solution on the grid."""
    points = math.prod(map(len, family.coordinates.values()))
    return points * sum(family.dimension if field.rank else 1 for field in family.fields)


def expect_seconds(family: Family) -> float:
    """Return the seconds that drawing, solving and writing an instance are expected to take.

    It is a guess from the number of values n and the dimension alone, so that it is the same on
    every machine: 2.5e-8 n^1.2 seconds on a line and in the plane, where a factor of a sparse
    matrix has about n log n entries, and 1e-8 n^1.5 in space.
    """
    n = count_values(family)
    seconds = 1e-8 * n**1.5 if family.dimension == 3 else 2.5e-8 * n**1.2
    if isinstance(family, NonlinearFamily):
        seconds *= NEWTON_ITERATIONS
    steps = 1 if family.times is None else len(family.times) - 1
    return float(seconds * (1 + STEP * (steps - 1)))


def choose_chunks(config: DatasetConfig, family: Family, workers: int) -> int:
    """Return the number of chunks: that of the configuration, or one that suits the workers.

    A chunk for each worker, but fewer where a chunk would be done before its job has started, and
    a multiple where it would take longer than an hour; and `LEARNT_CHUNKS` at least where a
    training learns from them as they are solved.

    Args:
        config: The dataset; its `chunks` may be `auto`.
        family: Its family.
        workers: How many chunks are solved at a time.
    """
    if config.chunks != "auto":
        return config.chunks
    seconds = config.count * expect_seconds(family)
    chunks = max(1, min(workers, int(seconds / LEAST_SECONDS)))
    chunks *= math.ceil(seconds / chunks / MOST_SECONDS)
    if config.training.online is not None:
        chunks = max(chunks, LEARNT_CHUNKS)
    return min(chunks, config.count)


def count_chunks(config: DatasetConfig, family: Family, workers: int) -> int:
    """Return the number of all chunks: those of `choose_chunks`, and one for each shift."""
    return choose_chunks(config, family, workers) + len(config.ood)


def count_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))
