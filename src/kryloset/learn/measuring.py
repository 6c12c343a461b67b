# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure anything that predicts functions on the splits of a dataset, instance by instance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kryloset.dataset.grids import choose_grids
from kryloset.dataset.integrity import identity
from kryloset.dataset.reader import Dataset
from kryloset.learn.bands import Waves
from kryloset.learn.conformal import calibrate
from kryloset.learn.data import FieldPairs
from kryloset.learn.metrics import BATCH, boundary, maximum, relative_h1, relative_l2, vrmse

type Array = NDArray[np.float64]

#: From inputs (N, C, *grid) to outputs (N, K, *grid), in physical units.
type Predictor = Callable[[Array], Array]

#: From rows of a dataset and predictions (N, K, *grid) to their residuals (N, 1).
type Residuals = Callable[[NDArray[np.int64], Array], Array]

#: The quantiles over instances that are reported, by name.
QUANTILES: Mapping[str, float] = {"min": 0.0, "q10": 0.1, "q50": 0.5, "q90": 0.9, "max": 1.0}

#: The split by which predictions are calibrated.
CALIBRATION = "calibration"


@dataclass(frozen=True)
class Measured:
    """What was measured of a predictor on a split.

    Attributes:
        errors: As of `measure`, (N, K).
        distances: Largest distance from the solution at any point, (N, K), in the field's unit.
    """

    errors: Mapping[str, Array]
    distances: Array

    def means(self) -> dict[str, float | None]:
        """Return the mean of each error; None where it has no meaning, as on no boundary."""
        return {name: _number(values.mean()) for name, values in self.errors.items()}

    def quantiles(self) -> dict[str, dict[str, float | None]]:
        """Return quantiles over the instances, of the mean of each error over the fields."""
        return {
            name: {
                key: _number(np.quantile(values.mean(axis=1), share))
                for key, share in QUANTILES.items()
            }
            for name, values in self.errors.items()
        }

    def extremes(self) -> list[int]:
        """Return the places in the split of the best, the median and the worst instance.

        They are those of the relative L² error, its mean over the fields.
        """
        order = np.argsort(self.relative_l2, kind="stable").tolist()
        return [order[0], order[(len(order) - 1) // 2], order[-1]]

    @property
    def relative_l2(self) -> Array:
        """The relative L² error of each instance, its mean over the fields, (N,)."""
        return np.asarray(self.errors["relative_l2"].mean(axis=1))


def measure(prediction: Array, truth: Array, coordinates: Sequence[Array]) -> dict[str, Array]:
    """Return all errors of predicted functions by name, as arrays (N, K).

    Those of the bands of frequencies (`kryloset.learn.bands`) are the norms of the parts of p - u,
    each divided by ||u||: their squares add to that of the relative L² error. The others are those
    of `kryloset.learn.metrics`.

    Args:
        prediction: Predicted functions p, (N, K, *grid).
        truth: True functions u, of the same shape, NaN outside the domain.
        coordinates: Coordinates of the grid, one array per axis, with the end of a periodic one.
    """
    waves, outside = Waves(truth.shape[2:], coordinates), np.isnan(truth)
    parts = waves.energies(np.where(outside, 0, prediction - truth))
    size = sum(waves.energies(np.where(outside, 0, truth)).values())
    return {
        "relative_l2": relative_l2(prediction, truth, coordinates),
        "relative_h1": relative_h1(prediction, truth, coordinates),
        "vrmse": vrmse(prediction, truth),
        "maximum": maximum(prediction, truth),
        "boundary": boundary(prediction, truth, coordinates),
        **{name: np.sqrt(part / size) for name, part in parts.items()},
    }


def open_splits(
    path: Path,
    grids: Sequence[str] = (),
    splits: Sequence[str] = (),
    *,
    kind: type[FieldPairs] = FieldPairs,
) -> dict[str, dict[str, FieldPairs]]:
    """Return splits of a dataset on its grids, by the names of these.

    Args:
        path: The dataset's file.
        grids: Names of the grids; by default the grid of the file, and the further ones that have
            the same channels, which profiles along an axis have not.
        splits: Names of the splits; by default all of them.
        kind: Class of the pairs.

    Raises:
        DataError: There is no such grid; or as of `FieldPairs`.
    """
    with Dataset(path) as dataset:
        chosen, splits = choose_grids(dataset, grids), splits or list(dataset.splits())
    found = {
        name: {split: kind(path, split, points=points) for split in splits}
        for name, points in chosen.items()
    }
    if grids:
        return found
    channels = {name: next(iter(pairs.values())).inputs for name, pairs in found.items()}
    own = next(iter(channels.values()))
    return {name: pairs for name, pairs in found.items() if channels[name] == own}


def measure_splits(
    predict: Predictor, splits: Mapping[str, FieldPairs], residuals: Residuals | None = None
) -> dict[str, Measured]:
    """Measure a predictor on all instances of some splits, with residuals if they are known."""
    return {split: _measure(predict, pairs, residuals) for split, pairs in splits.items()}


def describe(
    measured: Mapping[str, Measured], deviations: Array, calibration: Measured | None = None
) -> dict[str, Any]:
    """Return what `metrics.json` has of a predictor on a grid.

    Args:
        measured: By split what was measured.
        deviations: Standard deviation of each field over the training split, (K,).
        calibration: What was measured on the split that calibrates, if it is of another dataset.

    Returns:
        By split the number of `instances`, the means, `errors`, and the `quantiles`; and the
        `calibration`, by the split of that name if it is among them. It calibrates by the worst
        field of each instance: its relative L² error, and its largest distance from the solution
        in standard deviations.
    """

    def score(found: Measured) -> dict[str, Array]:
        return {
            "relative_l2": found.errors["relative_l2"].max(axis=1),
            "tube": (found.distances / deviations).max(axis=1),
        }

    scores = {split: score(found) for split, found in measured.items()}
    known = scores.pop(CALIBRATION, None) if calibration is None else score(calibration)
    return {
        "instances": {split: len(found.distances) for split, found in measured.items()},
        "errors": {split: found.means() for split, found in measured.items()},
        "quantiles": {split: found.quantiles() for split, found in measured.items()},
        "calibration": known and calibrate(known, scores),
    }


def arrange(
    found: Mapping[str, Mapping[str, Any]], path: Path, rest: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that was measured of a predictor on the grids of a dataset.

    Args:
        found: By the name of a grid what `describe` returned. That of the first one is on top,
            and that of the others is in `grids`.
        path: The dataset's file.
        rest: What depends on no grid.
    """
    with Dataset(path) as dataset:
        digest = identity(dataset.file)
    (points, first), *others = found.items()
    return {"dataset": digest, "grid": points, **first, "grids": dict(others), **rest}


def _measure(predict: Predictor, pairs: FieldPairs, residuals: Residuals | None) -> Measured:
    errors, distances, begin = [], [], 0
    for batch in DataLoader(pairs, BATCH):
        x, y = batch["x"].numpy(), batch["y"].numpy()
        prediction = predict(x)
        errors.append(measure(prediction, y, pairs.closed_coordinates))
        if residuals is not None:
            rows = pairs.instances[begin : begin + len(x)]
            errors[-1]["residual"] = residuals(rows, prediction)
        begin += len(x)
        distance = np.abs(np.where(np.isnan(y), 0, prediction - y))
        distances.append(distance.max(axis=tuple(range(2, y.ndim))))
    return Measured(
        {name: np.concatenate([found[name] for found in errors]) for name in errors[0]},
        np.concatenate(distances),
    )


def _number(value: float) -> float | None:
    """Return a number, or None for what JSON has no number for."""
    return float(value) if np.isfinite(value) else None
