# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure anything that predicts functions on the splits of a dataset, instance by instance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from kryloset.dataset.grids import choose_grids
from kryloset.dataset.integrity import identity
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.bands import Waves
from kryloset.learn.conformal import calibrate
from kryloset.learn.data import FieldPairs
from kryloset.learn.metrics import (
    BATCH,
    boundary,
    maximum,
    mean,
    ratio,
    relative_h1,
    relative_l2,
    vrmse,
)
from kryloset.learn.residuals import Residuals
from kryloset.learn.rollout import Rollout, stepper_of
from kryloset.learn.states import States

type Array = NDArray[np.float64]

#: From inputs (N, C, *grid) to outputs (N, K, *grid), in physical units.
type Predictor = Callable[[Array], Array]

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
        rollout: Whole trajectories, if the predictor goes along them. What is above is then of
            steps from true states: the mean, and the largest distance, over those of an instance.
    """

    errors: Mapping[str, Array]
    distances: Array
    rollout: Rollout | None = None

    def means(self) -> dict[str, float | None]:
        """Return the mean of each error; None where it has no meaning, as on no boundary."""
        return {name: finite(float(mean(values))) for name, values in self.errors.items()}

    def quantiles(self) -> dict[str, dict[str, float | None]]:
        """Return quantiles over the instances, of the mean of each error over the fields."""
        found = {name: mean(values, axis=1) for name, values in self.errors.items()}
        return {name: _quantiles(of[~np.isnan(of)]) for name, of in found.items()}

    def extremes(self) -> list[int]:
        """Return the places in the split of the best, the median and the worst instance.

        They are those of the relative L² error, its mean over the fields; of trajectories, that of
        the last state.
        """
        order = np.argsort(self.shown_errors, kind="stable").tolist()  # NaN comes last
        known = len(order) - int(np.isnan(self.shown_errors).sum()) or len(order)
        return [order[0], order[(known - 1) // 2], order[known - 1]]

    @property
    def relative_l2(self) -> Array:
        """The relative L² error of each instance, its mean over the fields, (N,)."""
        return mean(self.errors["relative_l2"], axis=1)

    @property
    def shown_errors(self) -> Array:
        """The errors of what is shown of each instance, (N,): its solution, or its last state."""
        return self.relative_l2 if self.rollout is None else self.rollout.last_errors


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
    size = np.sum([*waves.energies(np.where(outside, 0, truth)).values()], axis=0)
    return {
        "relative_l2": relative_l2(prediction, truth, coordinates),
        "relative_h1": relative_h1(prediction, truth, coordinates),
        "vrmse": vrmse(prediction, truth),
        "maximum": maximum(prediction, truth),
        "boundary": boundary(prediction, truth, coordinates),
        **{name: np.sqrt(ratio(part, size)) for name, part in parts.items()},
    }


def open_splits(
    path: Path,
    grids: Sequence[str] = (),
    splits: Sequence[str] = (),
    *,
    kind: Callable[..., FieldPairs] = FieldPairs,
) -> dict[str, dict[str, FieldPairs]]:
    """Return splits of a dataset on its grids, by the names of these.

    Args:
        path: The dataset's file.
        grids: Names of the grids; by default the grid of the file, and the further ones that have
            the same channels, which profiles along an axis have not.
        splits: Names of the splits; by default all of them.
        kind: Opens pairs, as `FieldPairs` does.

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
    predict: Predictor,
    splits: Mapping[str, FieldPairs],
    residuals: Residuals | None = None,
    *,
    steps: int | None = None,
) -> dict[str, Measured]:
    """Measure a predictor on all instances of some splits.

    Args:
        predict: The predictor.
        splits: By name the pairs of a split. Pairs with states are whole trajectories.
        residuals: What computes residuals, if they are known.
        steps: Steps of the rollout, if it goes on beyond these trajectories.

    Raises:
        DataError: There are no trajectories, or they have more steps.
    """
    for pairs in splits.values():
        if steps is not None and not pairs.states:
            raise DataError(
                f"--steps {steps}: the model makes no steps, but predicts the solution at once: "
                "leave it out"
            )
        if steps is not None and steps < pairs.steps:
            raise DataError(
                f"--steps {steps}: the trajectories have {pairs.steps}, beyond which a rollout "
                "goes on: take more, or leave it out"
            )
    return {split: _measure(predict, pairs, residuals, steps) for split, pairs in splits.items()}


def describe(
    measured: Mapping[str, Measured], deviations: Array, calibration: Measured | None = None
) -> dict[str, Any]:
    """Return what `metrics.json` has of a predictor on a grid.

    Args:
        measured: By split what was measured.
        deviations: Standard deviation of each field over the training split, (K,).
        calibration: What was measured on the split that calibrates, if it is of another dataset.

    Returns:
        By split the number of `instances`, the means, `errors`, the `quantiles` and the `rollout`,
        which is None without trajectories; and the `calibration`, by the split of that name if it
        is among them. It calibrates by the worst field of each instance: its relative L² error, and
        its largest distance from the solution in standard deviations.
    """

    def score(found: Measured) -> dict[str, Array]:
        return {
            "relative_l2": np.fmax.reduce(found.errors["relative_l2"], axis=1),
            "tube": (found.distances / deviations).max(axis=1),
        }

    scores = {split: score(found) for split, found in measured.items()}
    known = scores.pop(CALIBRATION, None) if calibration is None else score(calibration)
    rollouts = {
        split: found.rollout.describe() for split, found in measured.items() if found.rollout
    }
    return {
        "instances": {split: len(found.distances) for split, found in measured.items()},
        "errors": {split: found.means() for split, found in measured.items()},
        "quantiles": {split: found.quantiles() for split, found in measured.items()},
        "rollout": rollouts or None,
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


def _measure(
    predict: Predictor, pairs: FieldPairs, residuals: Residuals | None, steps: int | None
) -> Measured:
    parts = []
    for batch in DataLoader(pairs, max(1, BATCH // (steps or pairs.steps))):
        x, y, rows, numbers = (batch[name].numpy() for name in ("x", "y", "row", "state"))
        if pairs.states:
            part, prediction, rolled = _along(
                predict, pairs, pairs.states, x, y, steps or pairs.steps
            )
            if residuals is not None:
                part = _with_residuals(part, residuals, rows, numbers, prediction, rolled)
            parts.append(part)
        else:
            prediction = predict(x)
            errors = measure(prediction, y, pairs.closed_coordinates)
            if residuals is not None:
                errors["residual"] = residuals.of_steps(rows, prediction[:, None], numbers)[:, 0]
            parts.append(Measured(errors, _distances(prediction, y)))
    rollouts = [part.rollout for part in parts if part.rollout]
    return Measured(
        {name: np.concatenate([part.errors[name] for part in parts]) for name in parts[0].errors},
        np.concatenate([part.distances for part in parts]),
        Rollout.join(rollouts) if rollouts else None,
    )


def _along(
    predict: Predictor, pairs: FieldPairs, states: States, x: Array, y: Array, steps: int
) -> tuple[Measured, Array, Array]:
    """Measure a predictor on trajectories.

    Returns:
        What was measured; the predictions of single steps, (N, S, K, *grid); and the states of the
        rollout, (N, R, fields, *grid).

    Args:
        predict: It predicts the next state.
        pairs: Whole trajectories.
        states: Which inputs are states.
        x: Inputs of the first step.
        y: The later states, (N, S, K, *grid), of which K channels are predicted at once.
        steps: Steps of the rollout, at least S.
    """
    shape, stepper = y.shape[:2], stepper_of(predict, states)
    prediction, truth = (of.reshape(-1, *y.shape[2:]) for of in (stepper.single_steps(x, y), y))
    with np.errstate(over="ignore"):  # of predictions that are far off
        errors = measure(prediction, truth, pairs.closed_coordinates)
    rolled, true = (
        values.reshape(len(values), -1, states.fields, *values.shape[3:])
        for values in (stepper.roll_out(x, steps), y)
    )
    start, time_step = pairs.times[states.window - 1], pairs.times[1] - pairs.times[0]
    times = start + time_step * np.arange(1, rolled.shape[1] + 1)
    measured = Measured(
        {name: mean(found.reshape(*shape, -1), axis=1) for name, found in errors.items()},
        _distances(prediction, truth).reshape(*shape, -1).max(axis=1),
        Rollout.measure(rolled, true, pairs.closed_coordinates, times, pairs.fields),
    )
    return measured, prediction.reshape(*shape, *prediction.shape[1:]), rolled


def _with_residuals(
    measured: Measured,
    residuals: Residuals,
    rows: NDArray[np.int64],
    numbers: NDArray[np.int64],
    prediction: Array,
    rolled: Array,
) -> Measured:
    """Add the residuals of single steps, and of the rollout, in which states follow predicted ones.

    Args:
        measured: What was measured of trajectories.
        residuals: What computes residuals.
        rows: Rows of the instances, (N,).
        numbers: Numbers of the known states after the first ones, (N, M).
        prediction: Predictions of single steps, (N, S, K, *grid).
        rolled: States of the rollout, (N, R, fields, *grid), M of which have numbers.
    """
    found = {"residual": mean(residuals.of_steps(rows, prediction, numbers), axis=1)}
    rollout = measured.rollout
    if rollout is not None:
        whole = residuals.of_rollout(rows, rolled, numbers)
        rollout = replace(rollout, errors={**rollout.errors, "residual": whole[:, :, None]})
    return replace(measured, errors={**measured.errors, **found}, rollout=rollout)


def _distances(prediction: Array, truth: Array) -> Array:
    """Return the largest distance at any point in the domain, (N, K)."""
    distance = np.abs(np.where(np.isnan(truth), 0, prediction - truth))
    return np.asarray(distance.max(axis=tuple(range(2, truth.ndim))))


def _quantiles(errors: Array) -> dict[str, float | None]:
    """Return the quantiles of errors (N,), None if there are none."""
    shares = [*QUANTILES.values()]
    values = np.quantile(errors, shares).tolist() if len(errors) else [np.nan] * len(shares)
    return dict(zip(QUANTILES, map(finite, values), strict=True))


def finite(value: float) -> float | None:
    """Return a number, or None for what JSON has no number for."""
    return float(value) if np.isfinite(value) else None
