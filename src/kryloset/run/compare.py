# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure the effect of recycling, sorting and the tolerance on a dataset's first instances."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mpi4py import MPI

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.dataset.failures import Failures
from kryloset.errors import ConfigError, KrylosetError
from kryloset.fem.accuracy import Accuracy, measured
from kryloset.fem.accuracy import measure as measure_accuracy
from kryloset.fem.discretise import discretise
from kryloset.given.opening import open_parameters
from kryloset.krylov import State
from kryloset.ordering import greedy_chain
from kryloset.problems import Discretisation, Family, Instance
from kryloset.problems.populations import load_populations
from kryloset.run import files
from kryloset.run.chunking import expect_seconds
from kryloset.run.comparison import choose_methods, measure, summarise
from kryloset.run.draw import Drawn
from kryloset.run.features import choose_reduction
from kryloset.run.inputs import open_order, read_failures
from kryloset.run.solve_record import SolveRecord, solve_group
from kryloset.run.solver import make_solver

logger = logging.getLogger(__name__)

SHARE = 0.2
"""Part of the seconds that the dataset is expected to take that its comparison may take."""

LEAST_SECONDS = 1.0
"""Processor seconds that a comparison may take, also of a small dataset."""

FIRST = 2
"""Instances by which the seconds of an instance are measured, and the fewest that are compared. It
is one if these are expected to take longer than `comparison.seconds`."""

type Compared = tuple[dict[str, list[SolveRecord]], list[list[str]]]


def run(config: DatasetConfig, name: str, *, order: Path, output: Path) -> None:
    """Solve the first instances in solving order by several methods, in one process.

    There are fewer instances than `comparison.instances` if they would take more than a fifth of
    the seconds that the dataset is expected to take, or than `comparison.seconds`, but at least
    `FIRST`. Once these have passed, the error that the tolerance leaves is measured on one.

    Writes what `kryloset.run.comparison.summarise` returns, the solver of the dataset first, the
    turns that the methods took, and the error that the tolerance leaves.

    Args:
        config: The dataset; `comparison` has the limits.
        name: Its name.
        order: `order.h5`.
        output: The file to write, `comparison.json`.

    Raises:
        DataError: The order is missing, damaged or from another configuration.
    """
    own, *_ = load_populations(config)
    family = own.family
    with open_order(order, config) as sorted_:
        permutation = sorted_.array(files.PERMUTATION)
        # Others are of shifted distributions.
        numbers = permutation[permutation < config.count][: config.comparison.instances].tolist()
        failures = Failures(config.failures_allowed, read_failures(sorted_))
        parameters = open_parameters(config, family)
        given = Drawn([own], config.seed, sorted_, parameters, failures, config.storage.precision)
        drawn = given.instances(numbers)
        instances = list(zip(numbers, drawn, strict=True))
        methods = choose_methods(config.solver, family, str(sorted_.attrs[files.METHOD]))
        features = None
        if any(method.order == "greedy" for method in methods):
            features = choose_reduction("parameters", family, given, config.count)(numbers, drawn)
    discretisation = discretise(family, MPI.COMM_SELF)

    def compare(count: int) -> Compared:
        chain = [] if features is None else greedy_chain(features[:count]).tolist()
        return measure(discretisation, instances[:count], methods, chain)

    share = max(LEAST_SECONDS, SHARE * config.count * expect_seconds(family))
    seconds = min(config.comparison.seconds, share)
    expected = FIRST * len(methods) * expect_seconds(family)
    first = min(FIRST if expected < config.comparison.seconds else 1, len(numbers))
    began = time.process_time()
    found = None
    try:
        found = compare_within(seconds, compare, len(numbers), first)
    except KrylosetError as error:
        if not config.failures_allowed or isinstance(error, ConfigError):
            raise
    if config.failures_allowed and not _all_converged(found, methods[0].name):
        # The dataset has others in the place of those that cannot be solved.
        solved = _solved(config, family, discretisation, instances)
        numbers, instances = [numbers[i] for i in solved], [instances[i] for i in solved]
        features = None if features is None else features[solved]
        first = min(first, len(solved))
        found = compare_within(seconds, compare, len(solved), first)
    assert found is not None
    records, turns = found
    numbers = numbers[: len(turns)]
    several = measured(family) if time.process_time() - began < seconds else 1
    accuracy = _accuracy(config, family, discretisation, instances[:several])
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


def _all_converged(found: Compared | None, own: str) -> bool:
    """Return whether the solver of the dataset reached the tolerance for all instances."""
    return found is not None and all(record.converged for record in found[0][own])


def _solved(
    config: DatasetConfig,
    family: Family,
    discretisation: Discretisation,
    instances: Sequence[tuple[int, Instance]],
) -> list[int]:
    """Return the places of the instances that the solver of the dataset solves.

    Raises:
        KrylosetError: There are none.
    """
    solver, places = make_solver(config.solver, family), []
    for place, instance in enumerate(instances):
        try:
            solve_group(discretisation, solver, solver.init(), [instance])
            places.append(place)
        except KrylosetError as error:
            logger.warning("compared without an instance that is not solved: %s", error)
            last = error
    if not places:
        raise last
    return places


def compare_within(
    seconds: float, compare: Callable[[int], Compared], most: int, first: int
) -> Compared:
    """Compare methods on as many of the first instances as there is time for.

    Args:
        seconds: Processor seconds that all may take; only the first instances may exceed them.
        compare: Compares the methods on a number of instances.
        most: The largest number of instances.
        first: The number of instances by which their seconds are measured.

    Returns:
        What `compare` returned for the most instances.
    """
    began, wall = time.process_time(), time.perf_counter()
    found = compare(first)
    spent, passed = time.process_time() - began, time.perf_counter() - wall
    # The set-ups of all methods came before the last instance. Its seconds are those of a clock,
    # of which the processor has a share on a busy machine.
    each = sum(records[-1].seconds for records in found[0].values()) * spent / passed
    # A family may need no solver, and then no seconds of one.
    left = max(0.0, seconds - spent)
    count = most if most * each <= left else int(left / each)
    return compare(count) if count > first else found


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
