# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What does it change to fine-tune an operator with the residuals of the equations?

An operator is trained without them, and then for as many epochs again: by errors alone, and by
errors and residuals, whose weight makes both parts of the loss equal at the beginning.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.config import DatasetConfig
from kryloset.progress import track
from kryloset.run import one_process

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "darcy": {"parameters": {"modes": 8}},
    "reaction_diffusion": {"parameters": {"modes": 8}},
    "heat": {"parameters": {"modes": 6, "steps": 20, "final_time": 0.02}},
}
"""One linear system, a nonlinear one, and a linear one for each time step."""

NAME = "set"
"""The dataset."""


def run(*, instances: int, points: int, epochs: int, rate: float) -> Iterator[list[Row]]:
    """Train on each family, fine-tune in both ways, and measure on the test split.

    Yields:
        For each family three rows: the `way`, the weight of the residuals in the loss, and the
        errors on `test`, `relative_l2`, `relative_h1` and `residual`. Those of `heat` are of single
        steps, and `rollout` is the relative L2 error of its last state.

    Raises:
        KrylosetError: A set cannot be made, or torch is not installed.
    """
    for family in track([*FAMILIES], "families"):
        with TemporaryDirectory(prefix="kryloset-") as name:
            folder = Path(name)
            config = _configure(family, instances, points)
            one_process.make(config, NAME, folder)
            first = {"epochs": epochs}
            further = first | {"start": f"{folder}/trained.pt", "learning_rate": rate}
            before = _train(config, folder, "trained", first)
            valid = before.pop("valid")
            weight = valid["relative_l2"] / valid["residual"]
            ways = {"errors alone": {}, "and residuals": {"residual": weight}}
            rows = [{"way": "trained", "weight": 0.0, **before}]
            for way, more in ways.items():
                found = _train(config, folder, way, further | more)
                found.pop("valid")
                rows.append({"way": way, "weight": more.get("residual", 0.0), **found})
            about = {"family": family, "instances": instances, "points": points, "epochs": epochs}
            yield [about | row for row in rows]


def _configure(family: str, instances: int, points: int) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "family": family,
            "count": instances if family != "heat" else max(instances // 4, 10),
            "mesh": {"points": points},
            "splits": {"train": 0.7, "valid": 0.1, "test": 0.2},
            **FAMILIES[family],
        }
    )


def _train(config: DatasetConfig, folder: Path, way: str, training: Mapping[str, Any]) -> Row:
    """Train, and return the errors on `test`, and those on `valid` by this name."""
    from kryloset.run import evaluate, train
    from kryloset.run.equations import open_equations

    usual: dict[str, Any] = {
        "settings": {"fno": {"modes": 8}},
        "stride": 1 if config.family == "heat" else None,
    }
    changed = {**config.model_dump(mode="json"), "training": {**usual, **training}}
    model, metrics = folder / f"{way}.pt", folder / f"{way}.json"
    data = folder / "dataset.h5"
    train.run(
        DatasetConfig.model_validate(changed),
        data=data,
        model=model,
        history=folder / "history.json",
        equations=open_equations,
    )
    evaluate.run(
        model, data=data, metrics=metrics, splits=["valid", "test"], equations=open_equations
    )
    found = json.loads(metrics.read_text("utf-8"))
    rollout = found["rollout"]
    errors = {name: found["errors"]["test"][name] for name in ("relative_l2", "relative_h1")}
    return errors | {
        "residual": found["errors"]["test"]["residual"],
        "rollout": rollout and rollout["test"]["errors"]["relative_l2"][-1],
        "valid": found["errors"]["valid"],
    }


def describe(rows: Sequence[Row]) -> str:
    """Return the table of a family."""
    return tabulate(rows, COLUMNS["residual"])


def conclude(rows: Sequence[Row]) -> str:
    """Return the table of all families."""
    return describe(rows)
