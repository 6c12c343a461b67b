# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure what neural operators are compared with, on the splits and the grids of a dataset."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kryloset.dataset.atomic import require_writable, write_text_whole
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.baselines import fit_linear, fit_mean, fit_nearest
from kryloset.learn.batches import spread
from kryloset.learn.data import FieldPairs
from kryloset.learn.march import March
from kryloset.learn.measuring import (
    Array,
    Predictor,
    arrange,
    describe,
    measure_splits,
    open_splits,
)
from kryloset.learn.metrics import mean
from kryloset.learn.pairs import open_trajectories
from kryloset.learn.scaling import Scaling
from kryloset.learn.seen import TRAINING

logger = logging.getLogger(__name__)

BASELINES = ("linear", "nearest", "mean", "persistence")
"""Their names. Persistence, which predicts the last known state again, needs trajectories."""

MOST_INSTANCES = 2000
"""Largest number of instances to which the baselines are fitted. They need them all in memory, and
more of them hardly reduce the error of the linear one."""


def run(
    data: Path,
    *,
    output: Path,
    on: Path | None = None,
    grids: Sequence[str] = (),
    splits: Sequence[str] = (),
    window: int | None = None,
    stride: int | None = None,
    bundle: int = 1,
) -> None:
    """Fit the baselines and measure them.

    Args:
        data: The dataset whose splits `train` and `valid` they are fitted to.
        output: JSON file to write, as docs/how-to/measuring.md describes it.
        on: The dataset on which they are measured, if it is another one.
        grids: Names of grids of that file; by default all of them.
        splits: Splits of that file; by default all of them.
        window: `training.window` of the models that they are compared with.
        stride: `training.stride` of them.
        bundle: `training.bundle` of them.

    Raises:
        ConfigError: The trajectories are not so long.
        KrylosetError: torch is not installed.
        DataError: A dataset cannot be read, or has no such grid or split; or the two differ in
            their channels or grids; or the file cannot be written.
    """
    require_writable(output)
    with Dataset(data) as dataset:
        march = March.choose(dataset.times, window, stride, bundle)
    kind = partial(FieldPairs, **asdict(march))
    known = open_splits(data, grids, TRAINING, kind=kind)
    found: dict[str, dict[str, Any]] = {}
    settings: Mapping[str, Any] = {}
    task = next(iter(known.values()))["train"].task
    whole = open_trajectories(task, on or data, FieldPairs)
    for points, pairs in open_splits(on or data, grids, splits, kind=whole).items():
        if difference := _difference(known.get(points, {}), pairs):
            raise DataError(
                f"{on} does not fit {data} on {points} points: {difference}; choose another grid "
                "with --grid"
            )
        fitted = _fit(known[points])
        settings = settings or fitted.settings
        for name, predict in fitted.predictors.items():
            measured = measure_splits(predict, pairs)
            found.setdefault(name, {})[points] = describe(measured, fitted.deviations)
            told = ", ".join(f"{key} {mean(of.relative_l2):.4f}" for key, of in measured.items())
            logger.info("%s on %s points: relative L2 error %s", name, points, told)
    trained_on = {"trained_on": next(iter(known.values()))["train"].digest}
    tree = {
        name: arrange(of, on or data, {**settings.get(name, {}), **trained_on})
        for name, of in found.items()
    }
    write_text_whole(output, json.dumps(tree, indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True)
class _Fitted:
    """The baselines of a dataset on one of its grids.

    Attributes:
        predictors: The baselines by name.
        settings: What was chosen on `valid`, by name of the baseline.
        deviations: Standard deviation of each field over the training split, (K,).
    """

    predictors: Mapping[str, Predictor]
    settings: Mapping[str, Mapping[str, float]]
    deviations: Array


def _fit(known: Mapping[str, FieldPairs]) -> _Fitted:
    """Fit the baselines to the splits `train` and `valid`."""
    scaling = Scaling.fit(known["train"])

    def encode(x: Array) -> Array:
        encoded: Array = scaling.encode(torch.from_numpy(x)).numpy()
        return encoded

    states = known["train"].states

    def last(x: Array) -> Array:
        """Return the last known states, to which the linear map adds; 0 without states."""
        return np.nan_to_num(x[:, states.latest]) if states else np.zeros(1)

    samples = {split: _sample(pairs) for split, pairs in known.items()}
    encoded = {split: (encode(x), y) for split, (x, y) in samples.items()}
    average, nearest = fit_mean(*encoded["train"]), fit_nearest(*encoded["train"])
    train, valid = (last(samples[split][0]) for split in TRAINING)
    linear = fit_linear(encoded["train"], encoded["valid"], known=(train, valid))
    predictors: dict[str, Predictor] = {
        "linear": lambda x: last(x) + linear(encode(x)),
        "nearest": lambda x: nearest(encode(x)),
        "mean": lambda x: average(encode(x)),
    }
    if states:
        same = np.tile(np.arange(-states.fields, 0), states.bundle)
        predictors["persistence"] = lambda x: last(x)[:, same]
    settings = {"linear": {"rank": linear.rank, "penalty": linear.penalty}}
    return _Fitted(predictors, settings, scaling.deviations)


def _difference(known: Mapping[str, FieldPairs], pairs: Mapping[str, FieldPairs]) -> str:
    """Return how the channels or the points of two datasets differ; nothing if they fit."""
    if not known:
        return "the grid is not in both"
    one, other = next(iter(known.values())), next(iter(pairs.values()))
    if (one.inputs, one.outputs) != (other.inputs, other.outputs):
        told = (", ".join((*of.inputs, *of.outputs)) for of in (other, one))
        return "it has {}, and not {}".format(*told)
    same = all(map(np.array_equal, one.coordinates, other.coordinates))
    return "" if same else "the points have other coordinates"


def _sample(pairs: FieldPairs) -> tuple[Array, Array]:
    """Return all pairs, or `MOST_INSTANCES` evenly spaced ones if there are more."""
    return pairs.stack(spread(len(pairs), MOST_INSTANCES))
