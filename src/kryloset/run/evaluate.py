# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure a neural operator on every split, beside a mean and a linear predictor."""

import json
import logging
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.errors import DataError
from kryloset.learn.baselines import fit_linear, fit_mean
from kryloset.learn.data import FieldPairs
from kryloset.learn.metrics import measure
from kryloset.learn.operator import load_model
from kryloset.learn.training import BATCH
from kryloset.progress import track

logger = logging.getLogger(__name__)

type Array = NDArray[np.float64]

LINEAR_INSTANCES = 2000
"""Largest number of instances to which the linear predictor is fitted. It needs them all in memory,
and more of them hardly reduce its error."""


def run(config: DatasetConfig, *, data: Path, model: Path, metrics: Path) -> None:
    """Measure the operator and both baselines on every split.

    Args:
        config: The dataset.
        data: The dataset's file.
        model: File of the trained operator.
        metrics: JSON file to write: for each of `fno`, `mean` and `linear`, by split,
            the means of the errors of `kryloset.learn.metrics`; also the numbers of instances, the
            settings of the linear predictor, the number of weights and the seconds of training.

    Raises:
        KrylosetError: torch is not installed.
        DataError: A file cannot be read, or the model was trained on another dataset.
    """
    operator = load_model(model)
    splits = {split: FieldPairs(data, split) for split in config.splits}
    if operator.about["dataset"] != splits["train"].digest:
        raise DataError(
            f"{model} was not trained on {data}, and may have seen its test split: train it again"
        )

    def encode(x: Array) -> Array:
        encoded: Array = operator.scaling.encode(torch.from_numpy(x)).numpy()
        return encoded

    def fno(x: Array) -> Array:
        with torch.no_grad():
            found: Array = operator(torch.from_numpy(x)).numpy()
        return found

    known = {split: _sample(splits[split]) for split in ("train", "valid")}
    encoded = {split: (encode(x), y) for split, (x, y) in known.items()}
    mean = fit_mean(*encoded["train"])
    linear = fit_linear(encoded["train"], encoded["valid"])
    predictors: dict[str, Callable[[Array], Array]] = {
        "fno": fno,
        "mean": lambda x: mean(encode(x)),
        "linear": lambda x: linear(encode(x)),
    }
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in predictors}
    for name, split in track(list(product(predictors, splits)), "measuring"):
        found[name][split] = _errors(predictors[name], splits[split])
    rest = {
        "instances": {split: len(pairs) for split, pairs in splits.items()},
        "linear_settings": {"rank": linear.rank, "penalty": linear.penalty},
        "parameters": sum(weight.numel() for weight in operator.parameters()),
        "seconds_training": operator.about["seconds"],
    }
    write_text_whole(metrics, json.dumps(found | rest, indent=2) + "\n")
    for name, errors in found.items():
        told = ", ".join(f"{split} {means['relative_l2']:.4f}" for split, means in errors.items())
        logger.info("relative L2 error of %s: %s", name, told)


def _sample(pairs: FieldPairs) -> tuple[Array, Array]:
    """Return all pairs, or `LINEAR_INSTANCES` evenly spaced ones if there are more."""
    count = min(len(pairs), LINEAR_INSTANCES)
    return pairs.stack(np.linspace(0, len(pairs) - 1, count).round().astype(int))


def _errors(predict: Callable[[Array], Array], pairs: FieldPairs) -> dict[str, float]:
    """Return the mean of each error over all instances of a split."""
    batches = []
    for batch in DataLoader(pairs, BATCH):
        x, y = batch["x"].numpy(), batch["y"].numpy()
        batches.append(measure(predict(x), y, pairs.closed_coordinates))
    return {key: float(np.concatenate([b[key] for b in batches]).mean()) for key in batches[0]}
