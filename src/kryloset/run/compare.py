# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure the effect of recycling, sorting and the tolerance on a dataset's first instances."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from mpi4py import MPI

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.errors import KrylosetError
from kryloset.fem.accuracy import Accuracy, measured
from kryloset.fem.accuracy import measure as measure_accuracy
from kryloset.fem.discretise import discretise
from kryloset.krylov import State
from kryloset.ordering import greedy_chain
from kryloset.problems import Discretisation, Family, Instance, load_family
from kryloset.run import files
from kryloset.run.comparison import choose_methods, measure, summarise
from kryloset.run.draw import Drawn
from kryloset.run.features import choose_reduction
from kryloset.run.inputs import open_order
from kryloset.run.solve_record import solve_group
from kryloset.run.solver import make_solver

logger = logging.getLogger(__name__)


def run(config: DatasetConfig, name: str, *, order: Path, output: Path) -> None:
    """Solve the first instances in solving order by several methods, in one process.

    Writes what `kryloset.run.comparison.summarise` returns, the solver of the dataset first, the
    turns that the methods took, and the error that the tolerance leaves.

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
    discretisation = discretise(family, MPI.COMM_SELF)
    records, turns = measure(discretisation, instances, methods, chain)
    accuracy = _accuracy(config, family, discretisation, instances[: measured(family)])
    result = {
        "dataset": name,
        "tolerance": config.solver.tolerance,
        "instances": numbers,
        "turns": turns,
        "methods": summarise(methods, records),
        "accuracy": None if accuracy is None else accuracy.as_json(),
    }
    write_text_whole(output, json.dumps(result, indent=1) + "\n")
    for method in result["methods"]:
        median, failed = method["median"], method["unconverged"]
        missed = f", missed the tolerance on {failed} of {len(numbers)}" if failed else ""
        logger.info(
            "%-42s median %g iterations, %.2f ms%s",
            method["label"], median["iterations"], 1e3 * median["seconds"], missed,
        )  # fmt: skip
    if accuracy is not None:
        accuracy.log()


def _accuracy(
    config: DatasetConfig,
    family: Family,
    discretisation: Discretisation,
    instances: Sequence[tuple[int, Instance]],
) -> Accuracy | None:
    """Measure the error that the tolerance leaves, in solutions by the solver of the dataset."""
    solver = make_solver(config.solver, family)
    state: State = solver.init()
    solved: dict[int, tuple[Instance, Instance]] = {}
    try:
        for number, instance in instances:
            (solution,), _, state = solve_group(discretisation, solver, state, [(number, instance)])
            solved[number] = (instance, solution)
    except KrylosetError as error:
        logger.info("the error that the tolerance leaves was not measured: %s", error)
        return None
    return measure_accuracy(family, discretisation, config.solver.tolerance, solved)
