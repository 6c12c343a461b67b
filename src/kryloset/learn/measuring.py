# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure anything that predicts functions on the splits of a dataset."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kryloset.learn.data import FieldPairs
from kryloset.learn.metrics import measure

type Array = NDArray[np.float64]

#: From inputs (N, C, *grid) to outputs (N, K, *grid), in physical units.
type Predictor = Callable[[Array], Array]

#: Batch size for evaluation. It affects memory but not results.
BATCH = 32


def measure_splits(
    predict: Predictor, splits: Mapping[str, FieldPairs]
) -> dict[str, dict[str, float]]:
    """Return the mean of each error of `kryloset.learn.metrics` over the instances, by split."""
    return {split: _measure(predict, pairs) for split, pairs in splits.items()}


def _measure(predict: Predictor, pairs: FieldPairs) -> dict[str, float]:
    batches = []
    for batch in DataLoader(pairs, BATCH):
        x, y = batch["x"].numpy(), batch["y"].numpy()
        batches.append(measure(predict(x), y, pairs.closed_coordinates))
    return {key: float(np.concatenate([b[key] for b in batches]).mean()) for key in batches[0]}
