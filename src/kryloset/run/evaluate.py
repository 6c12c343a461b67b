# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure a neural operator on every split."""

import json
import logging
from pathlib import Path

import torch

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.measuring import Array, measure_splits
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import load_model

logger = logging.getLogger(__name__)


def run(
    config: DatasetConfig, *, data: Path, model: Path, metrics: Path, network: str | None = None
) -> None:
    """Measure an operator on every split.

    Args:
        config: The dataset; the model is one of its `training`.
        data: The dataset's file.
        model: File of the trained operator.
        metrics: JSON file to write: by split, the means of the errors of `kryloset.learn.metrics`;
            also the number of weights, and seconds and best epoch of the training.
        network: Which of the configured models it is; None if there is only one.

    Raises:
        ConfigError: There is no such model, or a choice has to be made.
        KrylosetError: torch is not installed.
        DataError: A file cannot be read, or the model was trained on another dataset.
    """
    (name,) = config.training.only(network, config.training.seeds[0]).models
    operator = load_model(model, model_class(name))
    splits = {split: FieldPairs(data, split) for split in config.splits}
    if operator.about["dataset"] != splits["train"].digest:
        raise DataError(
            f"{model} was not trained on {data}, and may have seen its test split: train it again"
        )

    def predict(x: Array) -> Array:
        with torch.no_grad():
            found: Array = operator(torch.from_numpy(x)).numpy()
        return found

    errors = measure_splits(predict, splits)
    found = {
        "errors": errors,
        "parameters": sum(weight.numel() for weight in operator.parameters()),
        "seconds": operator.about["seconds"],
        "best_epoch": operator.about["best_epoch"],
    }
    write_text_whole(metrics, json.dumps(found, indent=2) + "\n")
    told = ", ".join(f"{split} {means['relative_l2']:.4f}" for split, means in errors.items())
    logger.info("%s: relative L2 error %s", model, told)
