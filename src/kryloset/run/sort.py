# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw the instances, sort them by similarity and divide them into chunks.

The parameters are not stored: an instance is its seed and its number, and whoever needs it draws it
again. The file has their digests, so that no stage goes on from other instances.
"""

import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.dataset.failures import Failures, dump_failures, stored_numbers
from kryloset.dataset.layout import require_storable
from kryloset.dataset.staged import create_staged
from kryloset.errors import DataError
from kryloset.given.opening import open_parameters
from kryloset.ordering import ORDERS, partition, steps
from kryloset.problems import Family
from kryloset.problems.populations import load_populations, require_same_fixed
from kryloset.provenance import stage_identity
from kryloset.run import files
from kryloset.run.chunking import count_chunks, count_processors
from kryloset.run.draw import Drawn, Instances, draw_all, draw_first
from kryloset.run.features import NOTHING, choose_reduction, make_features, read_parts
from kryloset.run.keeping import find_kept, keep, keep_last

logger = logging.getLogger(__name__)

type Array = NDArray[np.float64]

GREEDY_UP_TO = 5000
"""Instances up to which `sort: auto` compares all pairs."""

WHOLE_UP_TO = 2**18
"""Total size of the parameters up to which `features: auto` compares them without reduction.

For more, comparing them takes longer than the shorter path saves: for 5,000 permeabilities 4.7 ms
an instance instead of 0.2 with cosines, and 0.3 % of the length (docs/explanation/ordering.md).
"""

CHUNK_SIZE_TOLERANCE = 0.02
"""Relative deviation allowed in the size of a chunk, so that chunks end at the longest steps."""


def run(
    config: DatasetConfig,
    name: str,
    *,
    output: Path,
    chunks: int | None = None,
    threads: int = 1,
    earlier: Path | None = None,
) -> None:
    """Draw `config.count` instances and order them so that neighbours resemble each other.

    Those of shifted distributions (`config.ood`) follow as they are drawn, each in a chunk of its
    own.

    The file has the arrays that `kryloset.run.files` lists for `order.h5`. Its attributes are the
    configuration, the order and the features that were used (`method`, `features_kind`), and the
    seconds of the order (`seconds`) and of drawing instances and making features
    (`seconds_features`).

    Args:
        config: The dataset.
        name: Its name.
        output: The file to write, `order.h5`.
        chunks: Number of chunks; by default that of the configuration, or one that suits the
            processors of this machine.
        threads: Most processes that draw at once. The file does not depend on it.
        earlier: The dataset that was made before. If it fits, its instances are kept
            (`kryloset.run.keeping`): they are not drawn again, and come last in their chunks.

    Raises:
        ConfigError: The family or its settings are wrong; there are more chunks than instances;
            `features` is `solutions` and the family has no coarse grid; or the file of
            `instances` is another one than it was.
        DataError: A parameter is not finite or does not describe an instance, and no more instances
            may fail; the file of
            `instances` cannot be read or does not fit; or the family has variables that cannot be
            stored.
        FamilyError: `draw` did not return the parameters, or did not take all randomness from its
            generator; or instances or parameters do not differ.
    """
    own, *shifted = populations = load_populations(config)
    family = own.family
    require_storable(family)
    require_same_fixed(populations, config.seed)
    began = time.perf_counter()
    method = _choose_order(config, family)
    given = open_parameters(config, family)
    if given is not None:
        given.digest()  # The file may have changed since the configuration was made.
    with find_kept(earlier, output, config, family, given) as kept:
        failures = Failures(
            config.failures_allowed, kept.failures() if kept else (), leave_out=config.leaves_out
        )
        precision = config.storage.precision
        drawn = Drawn([own], config.seed, given=given, failures=failures, precision=precision)
        kind = _choose_features(config, method, family, drawn)
        reduce = choose_reduction(kind, family, drawn, config.count)
        # PETSc and MPI do not survive a fork.
        workers = 1 if kind == "solutions" else threads
        known = kept.known(config) if kept else ()
        digests, features = draw_all(
            own, config.seed, reduce, workers, given, known, failures, precision
        )
        keeping = keep(kept, digests, output, earlier, config) if kept and earlier else None
        nothing = choose_reduction(NOTHING, family, drawn, config.count)
        for one in shifted:
            found, _ = draw_all(
                one, config.seed, nothing, workers, failures=failures, precision=precision
            )
            digests = np.concatenate([digests, found])
    read = time.perf_counter()
    everything = stored_numbers(config.total, failures)
    there = everything[everything < config.count]
    places = ORDERS[method](features)
    seconds, seconds_features = time.perf_counter() - read, read - began
    along, along_given = (steps(features, one) for one in (places, np.arange(len(there))))
    parts = (chunks or count_chunks(config, family, count_processors())) - len(shifted)
    if len(there) < parts:
        raise DataError(
            f"{config.count - len(there)} of {config.count} instances are left out, which leaves "
            f"too few for {parts} chunks: draw milder parameters, or take fewer chunks"
        )
    bounds = partition(len(there), parts, along, tolerance=CHUNK_SIZE_TOLERANCE)
    permutation = there[places]
    if keeping is not None:
        permutation = keep_last(permutation, bounds, keeping.count)
        along = steps(features, np.searchsorted(there, permutation))
    for one in shifted:
        rest = everything[np.isin(everything, one.numbers)]
        permutation = np.concatenate([permutation, rest])
        bounds = np.append(bounds, len(permutation))
    logger.info(
        "%s order of %d instances in %.2f s, drawing and features (%s) in %.2f s: "
        "path %.4g, as drawn %.4g",
        method, len(there), seconds, kind, seconds_features, along.sum(), along_given.sum(),
    )  # fmt: skip
    with create_staged(output) as written:
        written.describe(
            {
                files.CONFIG: dump_dataset(name, config),
                files.CODE: stage_identity("sort", family),
                files.METHOD: method,
                files.FEATURES_KIND: kind,
                files.SECONDS_SORT: seconds,
                files.SECONDS_FEATURES: seconds_features,
            }
        )
        if keeping is not None:
            keeping.write(written)
        if len(failures):
            written.text(files.FAILURES, dump_failures(failures))
        written.array(files.DRAWN, digests)
        written.array(files.PERMUTATION, permutation)
        written.array(files.BOUNDS, bounds)
        written.array(files.FEATURES, features)
        written.array(files.STEPS, along)
        written.array(files.STEPS_GIVEN, along_given)


def order_instances(config: DatasetConfig, family: Family, given: Instances) -> NDArray[np.int64]:
    """Sort instances by similarity.

    Args:
        config: Has the number of instances, and how to sort them.
        family: Their family.
        given: The instances.

    Returns:
        Positions of the instances as given, in sorted order, shape (count,).

    Raises:
        ConfigError: `features` is `solutions`, and the family has no coarse grid.
    """
    method = _choose_order(config, family)
    kind = _choose_features(config, method, family, given)
    return ORDERS[method](make_features(family, given, config.count, kind))


def _choose_order(config: DatasetConfig, family: Family) -> str:
    if config.sort != "auto":
        return config.sort
    if family.operator.constant:
        return "given"  # One factor, or one recycled space, serves all.
    return "greedy" if config.count <= GREEDY_UP_TO else "hilbert"


def _choose_features(config: DatasetConfig, method: str, family: Family, given: Instances) -> str:
    if config.features != "auto":
        return config.features
    if method == "given":
        return NOTHING
    parts = read_parts(family, [0], [draw_first(given, range(config.count))])
    small = config.count * sum(part.size for part in parts) <= WHOLE_UP_TO
    return "parameters" if method == "greedy" and small else "cosines"
