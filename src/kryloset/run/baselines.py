# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure a mean and a linear predictor on every split, beside which operators are shown."""

import json
import logging
from pathlib import Path

import numpy as np
import torch

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.learn.baselines import fit_linear, fit_mean
from kryloset.learn.data import FieldPairs, Scaling
from kryloset.learn.measuring import Array, Predictor, measure_splits

logger = logging.getLogger(__name__)

LINEAR_INSTANCES = 2000
"""Largest number of instances to which the linear predictor is fitted. It needs them all in memory,
and more of them hardly reduce its error."""


def run(config: DatasetConfig, *, data: Path, output: Path) -> None:
    """Fit the baselines and measure them on every split.

    Args:
        config: The dataset.
        data: The dataset's file.
        output: JSON file to write: for each baseline, by split, the means of the errors of
            `kryloset.learn.metrics`; the numbers of instances, and the settings of the linear one.

    Raises:
        KrylosetError: torch is not installed.
        DataError: The dataset cannot be read or has no split `valid`.
    """
    splits = {split: FieldPairs(data, split) for split in config.splits}
    scaling = Scaling.fit(splits["train"])

    def encode(x: Array) -> Array:
        encoded: Array = scaling.encode(torch.from_numpy(x)).numpy()
        return encoded

    known = {split: _sample(FieldPairs(data, split)) for split in ("train", "valid")}
    encoded = {split: (encode(x), y) for split, (x, y) in known.items()}
    mean = fit_mean(*encoded["train"])
    linear = fit_linear(encoded["train"], encoded["valid"])
    predictors: dict[str, Predictor] = {
        "linear": lambda x: linear(encode(x)),
        "mean": lambda x: mean(encode(x)),
    }
    errors = {name: measure_splits(predict, splits) for name, predict in predictors.items()}
    found = {
        "errors": errors,
        "instances": {split: len(pairs) for split, pairs in splits.items()},
        "settings": {"linear": {"rank": linear.rank, "penalty": linear.penalty}},
    }
    write_text_whole(output, json.dumps(found, indent=2) + "\n")
    for name, means in errors.items():
        told = ", ".join(f"{split} {mean['relative_l2']:.4f}" for split, mean in means.items())
        logger.info("relative L2 error of %s: %s", name, told)


def _sample(pairs: FieldPairs) -> tuple[Array, Array]:
    """Return all pairs, or `LINEAR_INSTANCES` evenly spaced ones if there are more."""
    count = min(len(pairs), LINEAR_INSTANCES)
    return pairs.stack(np.linspace(0, len(pairs) - 1, count).round().astype(int))
