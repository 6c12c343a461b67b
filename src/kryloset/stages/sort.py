# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sort the instances by similarity and divide them into chunks."""

import logging
import time
from pathlib import Path

import numpy as np

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import create_hdf5, write_whole
from kryloset.ordering import greedy_chain, partition, steps
from kryloset.problems import load_family
from kryloset.provenance import stage_identity
from kryloset.stages.inputs import open_input, read_instance

logger = logging.getLogger(__name__)


def run(
    config: DatasetConfig, name: str, *, parameters: Path, output: Path, chunks: int | None = None
) -> None:
    """Order the instances so that neighbours resemble each other.

    Writes `/permutation`, `/bounds` (chunk c holds the positions bounds[c] to
    bounds[c + 1] - 1), `/features`, and the distances between neighbours along
    the order (`/steps`) and along the given one (`/steps_given`).

    Args:
        config: The dataset.
        name: Its name.
        parameters: `parameters.h5` of the stage before.
        output: The file to write, `order.h5`.
        chunks: Number of chunks, `config.chunks` by default.

    Raises:
        DataError: `parameters` is missing, damaged or from another configuration.
        ConfigError: There are more chunks than instances.
    """
    family = load_family(config)
    with open_input(parameters, config, name, "parameters") as file:
        features = np.stack(
            [family.features(read_instance(file, family, i)) for i in range(config.count)]
        )
    began = time.perf_counter()
    given = np.arange(config.count)
    permutation = greedy_chain(features) if config.sort == "greedy" else given
    seconds = time.perf_counter() - began
    bounds = partition(config.count, config.chunks if chunks is None else chunks)
    along, along_given = steps(features, permutation), steps(features, given)
    logger.info(
        "%s order of %d instances in %.2f s: path %.4g, as drawn %.4g",
        config.sort, config.count, seconds, along.sum(), along_given.sum(),
    )  # fmt: skip
    with write_whole(output) as part, create_hdf5(part) as file:
        file.attrs["code"] = stage_identity("sort", config)
        file.attrs["method"] = config.sort
        file.attrs["seconds"] = seconds
        file["permutation"] = permutation
        file["bounds"] = bounds
        file.create_dataset("features", data=features, fletcher32=True, chunks=True)
        file["steps"] = along
        file["steps_given"] = along_given
