# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the report is made from: the files of a run, read and put in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.errors import DataError
from kryloset.problems import Family, Variable, load_family

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """How the instances were sorted.

    Attributes:
        method: `greedy` or `given`.
        seconds: Time the sort took.
        permutation: Instances in solving order, shape (N,).
        bounds: Positions where chunks begin, and N, shape (chunks + 1,).
        steps: Distances between neighbours in solving order, shape (N - 1,).
        steps_given: The same along the order of drawing.
    """

    method: str
    seconds: float
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
        solver: Evidence of the solver by quantity, in drawn order.
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
    splits: Mapping[str, int]
    provenance: Mapping[str, str]
    timings: Mapping[str, Any]
    check: Mapping[str, Any]
    comparison: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    history: Mapping[str, Any] | None

    def pictured(self) -> list[Variable]:
        """Return the variables that are fields on the plane, parameters first."""
        variables = (*self.family.parameters, *self.family.fields)
        return [v for v in variables if len(v.dimensions) == 2]

    def values(self, variable: Variable, instances: list[int]) -> Array:
        """Read a variable of a few instances, the last time where there are several.

        Returns:
            Shape (instance, x, y).
        """
        with h5py.File(self.path) as file:
            stored = file["t0_fields"][variable.name]
            chosen = np.stack([np.asarray(stored[i], dtype=float) for i in instances])
        return chosen if chosen.ndim == 3 else chosen[:, -1]


def read_findings(
    config: DatasetConfig,
    name: str,
    *,
    order: Path,
    dataset: Path,
    timings: Path,
    check: Path,
    comparison: Path,
    metrics: Path | None = None,
    history: Path | None = None,
) -> Findings:
    """Read the files of a run.

    Raises:
        DataError: One is missing or damaged.
    """
    with _open(dataset) as file:
        solver = {key: values[...] for key, values in file["solver"].items()}
        splits = {key: len(values) for key, values in file["splits"].items()}
        provenance = {key: str(value) for key, value in file["provenance"].attrs.items()}
    return Findings(
        name=name,
        config=config,
        family=load_family(config),
        path=dataset,
        size=dataset.stat().st_size,
        order=_read_order(order),
        solver=solver,
        splits=splits,
        provenance=provenance,
        timings=_load(timings),
        check=_load(check),
        comparison=_load(comparison),
        metrics=None if metrics is None else _load(metrics),
        history=None if history is None else _load(history),
    )


def _read_order(path: Path) -> Order:
    with _open(path) as file:
        return Order(
            method=str(file.attrs["method"]),
            seconds=float(file.attrs["seconds"]),
            permutation=file["permutation"][...],
            bounds=file["bounds"][...],
            steps=file["steps"][...],
            steps_given=file["steps_given"][...],
        )


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; make it again") from None


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; make it again") from None
