# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the report is made from: the files of a run, read and put in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.reader import Dataset, Provenance
from kryloset.problems import Family, Variable
from kryloset.problems.checks.coverage import blank

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """How the instances were sorted.

    Attributes:
        method: Such as `greedy`; `given` where nothing was sorted.
        seconds: Time the sort took.
        seconds_features: Time it took to read what is compared.
        permutation: Instances in solving order, shape (N,).
        bounds: Positions where chunks begin, and N, shape (chunks + 1,).
        steps: Distances between neighbours in solving order, shape (N - 1,).
        steps_given: The same along the order of drawing.
    """

    method: str
    seconds: float
    seconds_features: float
    permutation: NDArray[np.int64]
    bounds: NDArray[np.int64]
    steps: Array
    steps_given: Array


@dataclass(frozen=True)
class Findings:
    """Everything that is told of one dataset.

    Attributes:
        name: Name of the dataset.
        config: Its configuration.
        family: Its family.
        path: Its HDF5 file.
        size: Bytes of that file.
        order: How it was sorted.
        solver: Solve records by quantity, in drawn order.
        ways: What the numbers of `solver["way"]` mean.
        splits: Instances by split.
        provenance: Where the file comes from, as it says itself.
        timings: Content of `timings.json`.
        check: Content of `check.json`.
        comparison: Content of `comparison.json`.
        metrics: Content of `metrics.json`, None where nothing was trained.
        history: Content of `history.json`, None where nothing was trained.
    """

    name: str
    config: DatasetConfig
    family: Family
    path: Path
    size: int
    order: Order
    solver: Mapping[str, NDArray[Any]]
    ways: Mapping[int, str]
    splits: Mapping[str, int]
    provenance: Provenance
    timings: Mapping[str, Any]
    check: Mapping[str, Any]
    comparison: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    history: Mapping[str, Any] | None

    def values(self, variable: Variable, instances: list[int]) -> Array:
        """Read a variable of a few instances that is on the whole grid.

        Parameters, too, are NaN at points outside of the domain, where they mean nothing.

        Returns:
            Shape (instance, time, *grid, component); there is a time only for fields of a
            family with times, and a component only for vectors.
        """
        with Dataset(self.path) as dataset:
            return np.stack([_read_inside(dataset, variable, index) for index in instances])


def _read_inside(dataset: Dataset, variable: Variable, index: int) -> Array:
    read = dataset.solution if variable.name in dataset.fields else dataset.instance
    values, inside = read(index)[variable.name], dataset.inside(index)
    return values if inside is None else blank(values, inside, variable.rank)
