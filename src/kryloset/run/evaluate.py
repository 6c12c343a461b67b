# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Measure a neural operator on the splits and the grids of a dataset."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kryloset.config import label_of
from kryloset.dataset.atomic import require_writable, write_text_whole
from kryloset.dataset.predictions import Predictions, write_predictions
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.devices import find_device
from kryloset.learn.equations import OpenEquations
from kryloset.learn.measuring import (
    CALIBRATION,
    Array,
    Measured,
    Predictor,
    arrange,
    describe,
    measure_splits,
    open_splits,
)
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.mesh_measuring import NumberedPairs, OnGridOfMeshes
from kryloset.learn.metrics import mean
from kryloset.learn.models.base import Task, divides_alike
from kryloset.learn.models.own import network_blamed
from kryloset.learn.operator import Operator, load_with_network
from kryloset.learn.pairs import Pairs, open_trajectories
from kryloset.learn.residuals import Residuals
from kryloset.learn.rollout import stepper_of
from kryloset.learn.seen import require_unseen, warn_of_another_family
from kryloset.problems.checks.coverage import INSIDE

logger = logging.getLogger(__name__)


def run(
    model: Path,
    *,
    data: Path,
    metrics: Path,
    predictions: Path | None = None,
    calibration: Path | None = None,
    grids: Sequence[str] = (),
    splits: Sequence[str] = (),
    network: str | None = None,
    equations: OpenEquations | None = None,
    steps: int | None = None,
) -> None:
    """Measure an operator on a dataset with its channels, that it was trained on or another one.

    Args:
        model: File of the trained operator.
        data: The dataset's file.
        metrics: JSON file to write, as docs/how-to/measuring.md describes it.
        predictions: HDF5 file to write: solutions and predictions of the best, the median and the
            worst instance of `test`, or of the last of `splits`.
        calibration: Another dataset, whose split `calibration` calibrates; by default that of
            `data`, if there is one.
        grids: Names of grids of the file; by default its own, and the further ones with the same
            channels, but for those whose points lie otherwise than the model has learned.
        splits: Splits of the file; by default all of them.
        network: The network as `file.py:Class`, if it is one of somebody's own.
        equations: What opens the equations of the dataset, if the residuals of predictions on its
            own grid, or at the nodes of its meshes, are measured: `open_equations`.
        steps: Steps of the rollout along trajectories, if it goes on beyond the known states.

    Raises:
        KrylosetError: torch is not installed.
        DataError: A file cannot be read, or has no such grid or split; its channels are not those
            of the model; the model may have seen instances of a split that is neither `train`
            nor `valid`; its predictions have no residuals, or it is not measured on the own grid of
            the dataset, where they have them; or a file cannot be written.
    """
    require_writable(metrics, *([predictions] if predictions else []))
    operator = load_with_network(model, network)
    about, deviations = operator.about, operator.scaling.deviations
    if "seen" not in about:
        raise DataError(f"{model} does not say what it has seen; `kryloset train` makes one")
    operator.to(find_device("cpu" if about["training"]["device"] == "cpu" else "auto"))
    for path in (data, *([calibration] if calibration else [])):
        with Dataset(path) as dataset:
            warn_of_another_family(model, about, str(path), dataset.config.family)
    on_grids = [*_on_grids(operator, data, grids, splits)]
    calibrating = {
        points: next(_on_grids(operator, path, [points], [CALIBRATION]))
        for points, *_ in on_grids
        for path in ([calibration] if calibration else [])
    }
    if equations and not any(_is_own(pairs) for _, pairs, _ in on_grids):
        raise DataError(
            f"{data}: residuals are those on its own grid, on which the model is not measured: "
            "leave out --grid, or --residual"
        )
    opened = None
    if equations:
        try:
            opened = equations(data, about["where"])
        except DataError as error:
            raise DataError(f"{error}: leave out --residual") from None
    found: dict[str, dict[str, Any]] = {}
    with network_blamed(network):
        for points, pairs, predict in on_grids:
            at_nodes = predict if isinstance(predict, OnGridOfMeshes) else None
            residuals = Residuals(opened, at_nodes) if opened and _is_own(pairs) else None
            measured, known = measure_splits(predict, pairs, residuals, steps=steps), None
            if points in calibrating:
                _, others, of_others = calibrating[points]
                known = measure_splits(of_others, others)[CALIBRATION]
            if not found and predictions is not None:
                write_predictions(predictions, _select(predict, pairs, measured, about["model"]))
            found[points] = describe(measured, deviations, known)
            told = ", ".join(
                f"{split} {mean(of.relative_l2):.4f}" for split, of in measured.items()
            )
            logger.info("%s on %s points: relative L2 error %s", model, points, told)
    rest = {
        "parameters": sum(weight.numel() for weight in operator.parameters()),
        "seconds": about["seconds"],
        "best_epoch": about["best_epoch"],
        "trained_on": about["dataset"],
    }
    told = json.dumps(arrange(found, data, rest), indent=2, allow_nan=False)
    write_text_whole(metrics, told + "\n")


def _on_grids(
    operator: Operator, data: Path, grids: Sequence[str], splits: Sequence[str]
) -> Iterator[tuple[str, dict[str, FieldPairs], Predictor]]:
    """Yield the grids of a dataset: name, splits, and the operator as a predictor for them.

    If none is named, those are left out whose points lie otherwise than the model has learned.

    Raises:
        DataError: As `run`.
    """
    task = Task.read(operator.about)
    at_nodes = operator.about["where"] == "mesh"
    meshes = open_trajectories(task, data, MeshPairs)(data, "train") if at_nodes else None
    kind = open_trajectories(task, data, NumberedPairs if at_nodes else FieldPairs)
    opened = open_splits(data, grids, splits, kind=kind)
    first = {points: next(iter(pairs.values())) for points, pairs in opened.items()}
    for there in first.values():
        if lacking := _lacking(operator, meshes or there):
            raise DataError(f"{data} does not fit the model: {lacking}")
    unfit = {} if meshes else {p: _unfit(operator, task, there) for p, there in first.items()}
    fit = [points for points in first if not unfit.get(points)]
    for points in (points for points in first if points not in fit):
        told = f"{data}: points of the grid {points} {unfit[points]}"
        if grids or not fit:
            raise DataError(f"{told}: measure it on another grid, with --grid")
        logger.warning("%s: it is left out", told)
    for points in fit:
        pairs, there = opened[points], first[points]
        for split in pairs.values():
            require_unseen(operator.about["seen"], split)
        yield (
            points,
            pairs,
            OnGridOfMeshes(operator, meshes, there.coordinates)
            if meshes
            else _predictor(operator, there),
        )


def _is_own(pairs: Mapping[str, FieldPairs]) -> bool:
    """Return whether pairs are on the dataset's own grid."""
    return next(iter(pairs.values())).points is None


def _unfit(operator: Operator, task: Task, there: FieldPairs) -> str:
    """Return what is wrong with the points of a grid for an operator on grids; nothing if it fits.

    An operator whose network takes any grid may see another number of points, in the same places.
    """
    same = there.grid == tuple(map(len, task.coordinates))
    if not (same or operator.network.any_grid):
        return "are not as many as those on which the model learned, and it takes no others"
    if not divides_alike(task, there.coordinates):
        return (
            "lie otherwise along an axis than where the model learned, as equidistant and "
            "Chebyshev points do"
        )
    return ""


def _lacking(operator: Operator, there: Pairs) -> str:
    """Return how the channels of a dataset differ from those of an operator; nothing if it fits."""
    about = operator.about
    if there.masked and INSIDE.name not in about["inputs"]:
        return (
            "it has points outside of the domain, of which the model, trained without a mask, "
            "knows nothing"
        )
    missing = [name for name in about["inputs"] if name not in there.inputs]
    if missing:
        return f"the model needs {', '.join(missing)}, and it has {', '.join(there.inputs)}"
    if list(there.outputs) != list(about["outputs"]):
        told = ", ".join(about["outputs"])
        return f"the model predicts {told}, and its solution is {', '.join(there.outputs)}"
    if len(there.coordinates) != about["dimensions"]:
        told = about["dimensions"]
        return f"the model has {told} axes of space, and it has {len(there.coordinates)}"
    return ""


def _predictor(operator: Operator, there: FieldPairs) -> Predictor:
    """Return an operator as a function of arrays with the channels of a dataset."""
    order = [there.inputs.index(name) for name in operator.about["inputs"]]
    device = operator.scaling.input_mean.device

    def predict(x: Array) -> Array:
        with torch.no_grad():
            found: Array = operator(torch.from_numpy(x[:, order]).to(device)).cpu().numpy()
        return found

    return predict


def _select(
    predict: Predictor, pairs: Mapping[str, FieldPairs], measured: Mapping[str, Measured], name: str
) -> Predictions:
    """Return predictions of the best, the median and the worst instance that are held out."""
    *_, last = pairs.values()
    with Dataset(last.path) as dataset:
        split = dataset.config.held_out if dataset.config.held_out in pairs else last.split
        held_out, places = pairs[split], measured[split].extremes()
        numbers = dataset.numbers[held_out.instances[places]]
    x, truth = held_out.stack(places)
    given: Array = x.astype(np.float32)  # as it was measured
    if held_out.states:
        state = slice(-held_out.states.fields, None)
        truth = truth[:, -1, state]
        stepper = stepper_of(predict, held_out.states)
        prediction = stepper.roll_out(given, held_out.steps)[:, -1, state]
    else:
        prediction = predict(given)
    return Predictions(
        label=label_of(name),
        dataset=held_out.digest,
        split=split,
        channels=held_out.fields,
        coordinates=dict(zip(held_out.axes, held_out.coordinates, strict=True)),
        instance=numbers,
        error=measured[split].shown_errors[places],
        truth=truth,
        prediction=np.where(np.isnan(truth), np.nan, prediction),
    )
