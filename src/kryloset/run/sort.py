# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sort the instances by similarity and divide them into chunks."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.staged import create_staged
from kryloset.errors import DataError, FamilyError
from kryloset.ordering import ORDERS, partition, steps
from kryloset.ordering.features import NUMBERS, REDUCTIONS, principal_axes
from kryloset.problems import Family, load_family
from kryloset.problems.checks.mistakes import blamed, describe_class
from kryloset.progress import track
from kryloset.provenance import stage_identity
from kryloset.run import files
from kryloset.run.inputs import Rows, open_input, parameter_path, read_instance, require_same

logger = logging.getLogger(__name__)

type Array = NDArray[np.float64]

GREEDY_UP_TO = 5000
"""Instances up to which `sort: auto` compares all pairs."""

WHOLE_UP_TO = 2**18
"""Total size of the parameters up to which `features: auto` compares them without reduction.

For more, comparing them takes longer than the shorter path saves: for 5,000 permeabilities 4.7 ms
an instance instead of 0.2 with cosines, and 0.3 % of the length (docs/explanation/ordering.md).
"""

PRINCIPAL_SAMPLE = 1024
"""Number of instances from which principal axes are computed."""

CHUNK_SIZE_TOLERANCE = 0.02
"""Relative deviation allowed in the size of a chunk, so that chunks end at the longest steps."""

BLOCK_BYTES = 2**23
"""Bytes of parameters that are read at a time, unless one instance has more."""


def run(
    config: DatasetConfig, name: str, *, parameters: Path, output: Path, chunks: int | None = None
) -> None:
    """Order the instances so that neighbours resemble each other.

    The file has the arrays that `kryloset.run.files` lists for `order.h5`. Its attributes are the
    order and the features that were used (`method`, `features_kind`), and the seconds of the order
    (`seconds`) and of reading parameters and making features (`seconds_features`). The attribute
    `parameters` is the digest of the parameters that were sorted.

    Args:
        config: The dataset.
        name: Its name.
        parameters: `parameters.h5` of the stage before.
        output: The file to write, `order.h5`.
        chunks: Number of chunks, `config.chunks` by default.

    Raises:
        DataError: `parameters` is missing, damaged or from another configuration.
        ConfigError: There are more chunks than instances, or `features` is `solutions` and the
            family has no coarse grid.
    """
    family = load_family(config)
    with open_input(parameters, config, name, files.PARAMETERS) as file:
        require_same(file, config, "sample")
        drawn = file.digest(files.PARAMETERS)
        order = order_instances(config, family, file)
    along, along_given = (
        steps(order.features, one) for one in (order.permutation, np.arange(config.count))
    )
    bounds = partition(
        config.count,
        config.chunks if chunks is None else chunks,
        along,
        tolerance=CHUNK_SIZE_TOLERANCE,
    )
    logger.info(
        "%s order of %d instances in %.2f s, their features (%s) in %.2f s: "
        "path %.4g, as drawn %.4g",
        order.method, config.count, order.seconds, order.kind, order.seconds_features,
        along.sum(), along_given.sum(),
    )  # fmt: skip
    with create_staged(output) as written:
        written.attrs[files.CODE] = stage_identity("sort", family)
        written.attrs[files.DRAWN] = drawn
        written.attrs[files.METHOD] = order.method
        written.attrs[files.FEATURES_KIND] = order.kind
        written.attrs[files.SECONDS_SORT] = order.seconds
        written.attrs[files.SECONDS_FEATURES] = order.seconds_features
        written.array(files.PERMUTATION, order.permutation)
        written.array(files.BOUNDS, bounds)
        written.array(files.FEATURES, order.features)
        written.array(files.STEPS, along)
        written.array(files.STEPS_GIVEN, along_given)


@dataclass(frozen=True)
class Order:
    """How instances were sorted.

    Attributes:
        method: A key of `ORDERS`.
        kind: What they were compared by, as the key `features` of the configuration.
        features: A vector for each instance, shape (count, d).
        permutation: Positions of the instances as given, in sorted order, shape (count,).
        seconds: Time that the order took.
        seconds_features: Time that reading the parameters and making features took.
    """

    method: str
    kind: str
    features: Array
    permutation: NDArray[np.int64]
    seconds: float
    seconds_features: float


def order_instances(config: DatasetConfig, family: Family, parameters: Rows) -> Order:
    """Sort instances by similarity.

    Args:
        config: Has the number of instances, and how to sort them.
        family: Their family.
        parameters: Their parameters.

    Raises:
        ConfigError: `features` is `solutions`, and the family has no coarse grid.
        DataError: A parameter of the family is missing.
    """
    began = time.perf_counter()
    method = _choose_order(config)
    kind = _choose_features(config, method, parameters, family)
    features = make_features(parameters, family, config.count, kind)
    read = time.perf_counter()
    permutation = ORDERS[method](features)
    seconds = time.perf_counter() - read
    return Order(method, kind, features, permutation, seconds, read - began)


def _choose_order(config: DatasetConfig) -> str:
    if config.sort != "auto":
        return config.sort
    return "greedy" if config.count <= GREEDY_UP_TO else "hilbert"


def _choose_features(config: DatasetConfig, method: str, file: Rows, family: Family) -> str:
    if config.features != "auto":
        return config.features
    numbers = config.count * sum(part[0].size for part in _read_parts(file, family, 0, 1))
    whole = method in ("greedy", "given") and numbers <= WHOLE_UP_TO
    return "parameters" if whole else "cosines"


def make_features(file: Rows, family: Family, count: int, kind: str) -> Array:
    """Return the features by which instances are compared, reading some instances at a time.

    Args:
        file: Parameters, such as an open `parameters.h5`.
        family: The family.
        count: Number of instances.
        kind: A value of the key `features` of the configuration, except `auto`.

    Returns:
        A vector for each instance, shape (count, d): for `parameters` the family's `features`,
        for `solutions` what `make_solutions` returns, otherwise the reduced parameters one after
        the other.

    Raises:
        ConfigError: As `make_solutions`.
        DataError: A parameter of the family is missing.
    """
    if kind == "solutions":
        return make_solutions(file, family, count)
    parts = _read_parts(file, family, 0, 1)
    axes: list[Array] = []
    if kind == "principal":
        # The sample is spread evenly, so its instances are read one by one.
        sample = np.unique(np.linspace(0, count - 1, min(count, PRINCIPAL_SAMPLE)).astype(int))
        read = [_read_parts(file, family, int(i), int(i) + 1) for i in sample]
        axes = [
            principal_axes(np.concatenate([_flat(one[p]) for one in read]))
            for p in range(len(parts))
        ]

    def reduce(place: int, part: Array) -> Array:
        if kind == "parameters" or part[0].size == 1:
            return _flat(part)
        return _flat(part) @ axes[place] if axes else REDUCTIONS[kind](part, NUMBERS)

    features: Array | None = None
    length = max(1, BLOCK_BYTES // max(1, 8 * sum(part[0].size for part in parts)))
    blocks = range(0, count, length)
    for begin in track(blocks, "making features of blocks of instances"):
        end = min(begin + length, count)
        parts = _read_parts(file, family, begin, end)
        block = np.concatenate([reduce(p, part) for p, part in enumerate(parts)], axis=1)
        if features is None:
            features = np.empty((count, block.shape[1]))
        features[begin:end] = block
    assert features is not None
    return features


def make_solutions(file: Rows, family: Family, count: int) -> Array:
    """Return the lowest 144 cosine modes of each field of the solutions on a coarse grid.

    Args:
        file: Parameters, such as an open `parameters.h5`.
        family: The family.
        count: Number of instances.

    Returns:
        A vector for each instance, shape (count, d).

    Raises:
        ConfigError: The family has no coarse grid.
        DataError: An instance cannot be solved on it, or a parameter is missing.
    """
    # Imported here, since other features do not need DOLFINx.
    from kryloset.fem.coarse_grid import CoarseGrid

    grid = CoarseGrid(family)
    logger.info("solving on %d points a side", grid.points)
    rows = []
    for index in track(range(count), "solving instances on a coarse grid"):
        try:
            fields = grid.solve(read_instance(file, family, index))
        except DataError as error:
            raise DataError(f"instance {index}: {error}") from error
        rows.append(np.concatenate([REDUCTIONS["cosines"](u[None], NUMBERS)[0] for u in fields]))
    return np.stack(rows)


def _read_parts(file: Rows, family: Family, begin: int, end: int) -> list[Array]:
    """Return the parameters by which to compare the instances from `begin` to `end` - 1.

    A family's own features count as one parameter.
    """
    if type(family).features is not Family.features:
        own = [_own_features(family, file, i) for i in range(begin, end)]
        if len({len(vector) for vector in own}) > 1:
            raise FamilyError(
                f"{describe_class(family)}, features: vectors of instances {begin} to {end - 1} "
                "have several lengths: return the same number of features each time"
            )
        return [np.stack(own)]
    parts = []
    for variable in family.parameters:
        path = parameter_path(file, variable.name)
        if variable.compared:
            parts.append(file.rows(path, begin, end))
    return parts


def _own_features(family: Family, file: Rows, index: int) -> Array:
    """Return the features of an instance from a family's own method."""
    instance = read_instance(file, family, index)
    with blamed(family, "features", doing=f"instance {index}"):
        vector = np.asarray(family.features(instance))
    if vector.ndim != 1 or vector.dtype.kind not in "biuf" or not np.isfinite(vector).all():
        raise FamilyError(
            f"{describe_class(family)}, features, instance {index}: a {vector.dtype} array of "
            f"shape {vector.shape} is not a vector of finite numbers"
        )
    return vector.astype(np.float64)


def _flat(part: Array) -> Array:
    return part.reshape(len(part), -1)
