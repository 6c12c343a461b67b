# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Are the published errors of neural operators reached on data that the workflow makes?

The set is `config/examples/darcy_published.yaml`. Snakemake makes it, trains and evaluates, so that
a run that was stopped goes on where it was.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from kryloset.bench.goals import Goal, check_names
from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.bench.workflow import NAME, find_clone, run_workflow

PUBLISHED: Mapping[str, float] = {
    "deeponet": 0.0588,
    "ufno": 0.0183,
    "fno": 0.0108,
    "lsm": 0.0065,
    "transolver": 0.0057,
}
"""Relative L2 errors on the test split: Wu et al., ICML 2023, and Wu et al., ICML 2024."""

REACHED: Mapping[int, Mapping[str, float]] = {
    5: {"fno": 0.128},
    20: {"fno": 0.057, "transolver": 0.226, "deeponet": 0.295},
}
"""Goals of quick runs by their epochs: a quarter above what they reached."""

QUICK: Mapping[str, Any] = {
    "count": 250,
    "mesh": {"points": 29},
    "training": {
        "model": ["fno", "transolver", "deeponet"],
        "batch_size": 10,
        "settings": {
            "fno": {"modes": 12},
            "deeponet": {"sensors": 29},
            "transolver": {"width": 32, "kernel": 3},
        },
    },
}
"""What a quick run changes in the set."""

EPOCHS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Those of which a curve shows the error."""

DIFFERENCES = """What differs from the papers:
- The coefficient is drawn at the points and has the finite elements of the package; theirs comes
  from splines between midpoints and a five-point scheme (docs/families/darcy.md).
- The weights of an epoch are kept that is best on 50 further instances; theirs are the last ones.
- All networks have the same batches, AdamW with a one-cycle schedule and the relative L2 error as
  loss. Transolver's paper clips gradients, takes batches of 4 and adds the error of derivatives.
- Errors are integrals by the trapezoidal rule, not sums over all points.
- DeepONet and U-FNO have settings of our own, since we do not know those of the papers."""


def run(
    *,
    model: list[str],
    seeds: int,
    epochs: int,
    folder: str,
    quick: bool = False,
    root: Path | None = None,
) -> Iterator[list[Row]]:
    """Make the set, train each model with each seed, and measure it on the test split.

    Yields:
        Of each model, rows of two tables: `error`, with the mean over the seeds of `error` and its
        standard deviation `spread`, the `published` one, `hours` of one training, and `weights`;
        `curve`, with the mean `error` on `valid` after some epochs.

    Raises:
        KrylosetError: A model is not among those of the set, there is no clone, or a run failed.
    """
    root, place = find_clone(root), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(root, quick)
    known = dataset["training"]["model"]
    check_names("--model", model, known)
    for name in model or known:
        changes = {"model": name, "seeds": list(range(seeds)), "epochs": epochs}
        changes["settings"] = {name: dataset["training"]["settings"].get(name, {})}
        training = dataset["training"] | changes
        run_workflow(root, place, dataset | {"training": training}, os.cpu_count() or 1, "train")
        found = place / "results" / NAME / "models" / name
        yield summarise(name, [found / str(seed) for seed in range(seeds)], quick)


def read_dataset(root: Path, quick: bool) -> dict[str, Any]:
    """Return the configuration of the set."""
    text = (root / "config/examples/darcy_published.yaml").read_text("utf-8")
    dataset: dict[str, Any] = yaml.safe_load(text)["datasets"]["darcy_published"]
    if quick:
        dataset["parameters"]["modes"] = QUICK["mesh"]["points"] - 1
        dataset |= QUICK
    return dataset


def summarise(name: str, folders: Sequence[Path], quick: bool) -> list[Row]:
    """Return the rows of a model from the folders of its trainings, one for each seed."""
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    curves = [json.loads((folder / "history.json").read_text()) for folder in folders]
    errors = [one["errors"]["test"]["relative_l2"] for one in metrics]
    about: Row = {"model": name, "quick": quick, "seeds": len(folders)}
    epochs = len(curves[0]["valid"])
    row = about | {
        "table": "error",
        "epochs": epochs,
        "error": fmean(errors),
        "spread": stdev(errors) if len(errors) > 1 else None,
        "published": PUBLISHED[name],
        "ratio": fmean(errors) / PUBLISHED[name],
        "hours": fmean(sum(curve["seconds"]) for curve in curves) / 3600,
        "weights": metrics[0]["parameters"],
    }
    shown = sorted({epoch for epoch in EPOCHS if epoch < epochs} | {epochs})
    return [
        row,
        *(
            about
            | {
                "table": "curve",
                "epoch": epoch,
                "error": fmean(curve["valid"][epoch - 1] for curve in curves),
            }
            for epoch in shown
        ),
    ]


def describe(rows: Sequence[Row]) -> str:
    """Return the tables of a model."""
    tables = ((row for row in rows if row["table"] == table) for table in ("error", "curve"))
    names = ("learn", "learn_curve")
    return "\n\n".join(
        tabulate(list(table), COLUMNS[name]) for table, name in zip(tables, names, strict=True)
    )


def conclude(rows: Sequence[Row]) -> str:
    """Return the table of all models, and what differs from the papers."""
    errors = [row for row in rows if row["table"] == "error"]
    return f"{tabulate(errors, COLUMNS['learn'])}\n\n{DIFFERENCES}"


def judge(rows: Sequence[Row]) -> list[Goal]:
    """Compare errors with the published ones, or those of a quick run with earlier ones."""
    goals = []
    for row in (row for row in rows if row["table"] == "error"):
        limits = REACHED.get(row["epochs"], {}) if row["quick"] else PUBLISHED
        if row["model"] in limits:
            case = f"{row['model']}, {row['epochs']} epochs"
            goals.append(Goal("relative L2 error", case, row["error"], limits[row["model"]]))
    return goals
