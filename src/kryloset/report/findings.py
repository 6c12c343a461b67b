# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The content of a report, read from the files of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.dataset.origin import Provenance
from kryloset.dataset.predictions import Predictions
from kryloset.dataset.reader import Dataset
from kryloset.problems import Family, Variable
from kryloset.problems.checks.coverage import blank

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """How the instances were sorted.

    Attributes:
        method: Name of the order, such as `greedy`; `given` if nothing was sorted.
        seconds: Duration of the sort, in seconds.
        seconds_features: Duration of computing the features, in seconds.
        steps: Distances between neighbours in solving order, shape (N - 1,).
        steps_given: Distances between neighbours in the order of drawing, shape (N - 1,).
    """

    method: str
    seconds: float
    seconds_features: float
    steps: Array
    steps_given: Array


@dataclass(frozen=True)
class Findings:
    """Everything that the report says about one dataset.

    What other files of the run say is None where they are not given.

    Attributes:
        name: Name of the dataset.
        config: Its configuration.
        family: Its family, as the file describes it.
        path: Its HDF5 file.
        size: Bytes of that file.
        numbers: Numbers of the instances, in drawn order, shape (N,).
        permutation: Rows of the instances in solving order, shape (N,).
        bounds: Positions where chunks begin, and N, shape (chunks + 1,).
        order: How it was sorted.
        solver: Solve records by quantity, in drawn order.
        strategies: Names of the strategies by their numbers in `solver["way"]`.
        splits: Instances by split.
        provenance: Provenance of the file, as stored in it.
        about: When the file was made, by whom, its licence and references, as far as it says.
        refinement: By field, the distances of the first instances to their solutions on a refined
            mesh, shape (instances,); perhaps none.
        timings: Content of `timings.json`.
        check: Content of `check.json`.
        comparison: Content of `comparison.json`.
        models: Content of `models.json`.
        predictions: Those of models, perhaps none.
    """

    name: str
    config: DatasetConfig
    family: Family
    path: Path
    size: int
    numbers: NDArray[np.int64]
    permutation: NDArray[np.int64]
    bounds: NDArray[np.int64]
    order: Order | None
    solver: Mapping[str, NDArray[Any]]
    strategies: Mapping[int, str]
    splits: Mapping[str, int]
    provenance: Provenance
    about: Mapping[str, str]
    refinement: Mapping[str, Array]
    timings: Mapping[str, Any] | None
    check: Mapping[str, Any] | None
    comparison: Mapping[str, Any] | None
    models: Mapping[str, Any] | None
    predictions: Sequence[Predictions]

    def values(self, variable: Variable, rows: list[int]) -> Array:
        """Read a variable that is defined on the whole grid, for the instances of a few rows.

        Parameters, like fields, are NaN at points outside the domain.

        Returns:
            Shape (instance, time, *grid, component). Only fields of a family with times have
            the axis `time`, and only vectors the axis `component`.
        """
        with Dataset(self.path) as dataset:
            return np.stack([_read_inside(dataset, variable, index) for index in rows])


def _read_inside(dataset: Dataset, variable: Variable, index: int) -> Array:
    read = dataset.solution if variable.name in dataset.fields else dataset.instance
    values, inside = read(index)[variable.name], dataset.inside(index)
    return values if inside is None else blank(values, inside, variable.rank)
