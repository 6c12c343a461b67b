# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Does an operator notice by which method its data were solved, and how accurately?

The same instances of Darcy flow are solved by several methods and to several tolerances. The same
network with the same seeds learns from each set, and all are tested on solutions by factors. The
question of the methods is that of Table 33 of Wang et al., ICLR 2024.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kryloset.bench.goals import Goal
from kryloset.bench.learn import EPOCHS
from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.config import DatasetConfig
from kryloset.dataset.reader import Dataset
from kryloset.progress import track
from kryloset.run import one_process

EXACT, EXACT_TOLERANCE = "direct", 1e-12
"""The method of the set by which all others are measured, and its tolerance."""

METHODS = ("gmres", "skr", "auto")
"""What is compared at the default tolerance. The first of them solves to the other tolerances."""

NAME, FIELD = "darcy", "u"
"""The dataset, and the solution of Darcy's equation."""

TRAINING: Mapping[str, Any] = {"model": "fno", "settings": {"fno": {"modes": 8}}, "batch_size": 10}
"""The operator, and the instances for each step of the optimiser."""


def run(
    *, instances: int, points: int, seeds: int, epochs: int, tolerance: list[float]
) -> Iterator[list[Row]]:
    """Make the sets, train on each of them with each seed, and test on the exact set.

    Yields:
        A row of the table `set` for each set: the mean number of `iterations` of its solver; the
        relative L2 error of its solutions, `data_error`, the mean over all instances; the relative
        L2 error of the operator on the exact test split, `error`, the mean over the seeds, with the
        standard deviation `spread`; and `apart`, its distance from the error with the exact set,
        in standard deviations of that. The exact set comes first. At last rows of the table
        `curve`: the error on the set's own split `valid` after some epochs, by method.

    Raises:
        KrylosetError: A set cannot be made, or torch is not installed.
    """
    default = DatasetConfig().solver.tolerance
    cases = [(EXACT, EXACT_TOLERANCE), *((method, default) for method in METHODS)]
    cases += [(METHODS[0], one) for one in tolerance if one != default]
    curves: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="kryloset-") as name:
        exact, reference = Path(name) / f"{EXACT}_{EXACT_TOLERANCE:g}", None
        for method, limit in track(cases, "sets"):
            solver = {"method": method, "tolerance": limit}
            config = _configure(instances, points, seeds, epochs, solver)
            folder = Path(name) / f"{method}_{limit:g}"
            about = {"table": "set", **solver, "instances": instances, "points": points}
            made = _make(config, folder, exact)
            errors, curve = _train(config, folder, exact)
            row = about | {"epochs": epochs, "seeds": seeds} | made | compare(errors, reference)
            reference = reference or row
            if limit in (EXACT_TOLERANCE, default):
                curves[method] = curve
            yield [row]
    shown = sorted({epoch for epoch in EPOCHS if epoch < epochs} | {epochs})
    yield [
        {"table": "curve", "epoch": epoch}
        | {method: curve[epoch - 1] for method, curve in curves.items()}
        for epoch in shown
    ]


def _configure(
    instances: int, points: int, seeds: int, epochs: int, solver: Mapping[str, Any]
) -> DatasetConfig:
    """Return the configuration of a set; the sets differ in the solver alone."""
    return DatasetConfig.model_validate(
        {
            "count": instances,
            "mesh": {"points": points},
            "parameters": {"modes": min(32, points - 1)},
            "splits": {"train": 0.8, "valid": 0.05, "test": 0.15},
            "solver": solver,
            "training": {**TRAINING, "seeds": range(seeds), "epochs": epochs},
        }
    )


def _make(config: DatasetConfig, folder: Path, exact: Path) -> Row:
    """Make a set, and compare its solutions with those of the exact set."""
    folder.mkdir()
    paths = (one_process.make(config, NAME, folder), exact / "dataset.h5")
    with Dataset(paths[0]) as own, Dataset(paths[1]) as other:
        found, truth = (data.array(FIELD)[:].reshape(len(data), -1) for data in (own, other))
        errors = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth, axis=1)
        iterations = own.solver()["iterations"]
    return {"iterations": float(iterations.mean()), "data_error": float(errors.mean())}


def _train(config: DatasetConfig, folder: Path, exact: Path) -> tuple[list[float], list[float]]:
    """Train on a set with each seed.

    Returns:
        The error of each seed on the exact test split, and the mean error on the set's own split
        `valid` after each epoch.
    """
    from kryloset.run import evaluate, train

    errors, curves = [], []
    for seed in config.training.seeds:
        model, history, metrics = (
            folder / f"{seed}.{kind}" for kind in ("pt", "history.json", "metrics.json")
        )
        train.run(config, data=folder / "dataset.h5", model=model, history=history, seed=seed)
        evaluate.run(model, data=exact / "dataset.h5", metrics=metrics, splits=["test"])
        errors.append(json.loads(metrics.read_text())["errors"]["test"]["relative_l2"])
        curves.append(json.loads(history.read_text())["valid"])
    return errors, [*map(fmean, zip(*curves, strict=True))]


def compare(errors: Sequence[float], reference: Row | None) -> Row:
    """Return the part of a row that follows from the errors of the seeds.

    Args:
        errors: One for each seed.
        reference: The row of the exact set; None for that set itself.
    """
    mean, spread = fmean(errors), stdev(errors) if len(errors) > 1 else None
    noise = reference["spread"] if reference else None
    apart = abs(mean - reference["error"]) / noise if reference and noise else None
    return {"errors": list(errors), "error": mean, "spread": spread, "apart": apart}


def find_enough(rows: Sequence[Row]) -> float | None:
    """Return the loosest tolerance at and below which operators are as good as on exact data.

    That is within one standard deviation over the seeds. None, if there is no such tolerance.
    """
    series = [row for row in rows if row.get("method") == METHODS[0] and row["apart"] is not None]
    series.sort(key=lambda row: row["tolerance"])
    *_, last = None, *takewhile(lambda row: row["apart"] <= 1, series)
    return float(last["tolerance"]) if last else None


def describe(rows: Sequence[Row]) -> str:
    """Return the table of a set, or the curves."""
    return tabulate(rows, COLUMNS["validity" if rows[0]["table"] == "set" else "validity_curve"])


def conclude(rows: Sequence[Row]) -> str:
    """Return the table of all sets, and which tolerance is enough."""
    sets = [row for row in rows if row["table"] == "set"]
    enough = find_enough(sets)
    if enough is None:
        return describe(sets)
    return (
        f"{describe(sets)}\n\nA tolerance of {enough:.0e} is enough for this operator on this set."
    )


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Ask whether the error is that of exact data within seed noise, whatever the method."""
    default = DatasetConfig().solver.tolerance
    return [
        Goal("distance from exact data, in ± of seeds", row["method"], row["apart"], 1.0)
        for row in rows
        if row.get("tolerance") == default and row["apart"] is not None
    ]
