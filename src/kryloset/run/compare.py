# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure the effect of recycling and sorting on the first instances of a dataset."""

import json
import logging
from pathlib import Path

from mpi4py import MPI

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.fem.discretise import discretise
from kryloset.ordering import greedy_chain
from kryloset.problems import load_family
from kryloset.run import files
from kryloset.run.comparison import choose_methods, measure, summarise
from kryloset.run.draw import Drawn
from kryloset.run.features import choose_reduction
from kryloset.run.inputs import open_order

logger = logging.getLogger(__name__)


def run(config: DatasetConfig, name: str, *, order: Path, output: Path) -> None:
    """Solve the first instances in solving order by several methods, in one process.

    Writes what `kryloset.run.comparison.summarise` returns, the solver of the dataset first, and
    the turns that the methods took.

    Args:
        config: The dataset; `comparison` has the number of instances.
        name: Its name.
        order: `order.h5`.
        output: The file to write, `comparison.json`.

    Raises:
        DataError: The order is missing, damaged or from another configuration.
    """
    family = load_family(config)
    with open_order(order, config) as sorted_:
        numbers = sorted_.array(files.PERMUTATION)[: config.comparison.instances].tolist()
        given = Drawn(family, config.seed, sorted_)
        drawn = given.instances(numbers)
        instances = list(zip(numbers, drawn, strict=True))
        features = choose_reduction("parameters", family, given, config.count)(numbers, drawn)
        chain = greedy_chain(features).tolist()
        sorted_by = str(sorted_.attrs[files.METHOD])
    methods = choose_methods(config.solver, family, sorted_by)
    records, turns = measure(discretise(family, MPI.COMM_SELF), instances, methods, chain)
    result = {
        "dataset": name,
        "tolerance": config.solver.tolerance,
        "instances": numbers,
        "turns": turns,
        "methods": summarise(methods, records),
    }
    write_text_whole(output, json.dumps(result, indent=1) + "\n")
    for method in result["methods"]:
        median, failed = method["median"], method["unconverged"]
        missed = f", missed the tolerance on {failed} of {len(numbers)}" if failed else ""
        logger.info(
            "%-42s median %g iterations, %.2f ms%s",
            method["label"], median["iterations"], 1e3 * median["seconds"], missed,
        )  # fmt: skip
