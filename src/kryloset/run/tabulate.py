# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Put the errors of all trained operators into one table, beside those of the baselines."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole
from kryloset.errors import DataError
from kryloset.report.measured import MEASURES, tell_errors, tell_grids, tell_rollout

#: The baselines on every dataset.
BASELINES = ("linear", "nearest", "mean")
#: What is measured of every predictor, and of models alone.
MEASURED = (
    "dataset",
    "grid",
    "instances",
    "errors",
    "quantiles",
    "rollout",
    "calibration",
    "grids",
)
OF_MODELS = (*MEASURED, "parameters", "seconds")
CURVES = ("train", "valid", "seconds")


def run(config: DatasetConfig, *, models: Path, output: Path) -> None:
    """Gather what `kryloset train`, `evaluate` and `baselines` wrote.

    Args:
        config: The dataset; its `training` names the models and the seeds.
        models: Folder with `baselines.json`, and with `history.json` and `metrics.json` in
            MODEL/SEED/ for each of them.
        output: JSON file to write. Beside it, a table as Markdown is written, `.md`.

    Raises:
        DataError: A file is missing or damaged, or they are of several datasets or several steps
            along trajectories.
    """
    seeds = [*config.training.seeds]
    path = models / "baselines.json"
    baselines = _load(path, BASELINES)
    for name, of in baselines.items():
        _require_keys(of, MEASURED, f"{path}, {name},")
    first = next(iter(baselines.values()))
    table = {
        "instances": first["instances"],
        "models": {
            label: {"seeds": seeds} | _gather([models / label / str(seed) for seed in seeds])
            for label in config.training.labels
        },
        "baselines": {
            name: {key: [value] for key, value in of.items()} for name, of in baselines.items()
        },
    }
    for label, model in table["models"].items():
        if set(model["dataset"]) != {first["dataset"]}:
            raise DataError(
                f"{models / label} and {path} were measured on several datasets: measure them "
                "again, on one"
            )
        if any(_times(rollout) != _times(first["rollout"]) for rollout in model["rollout"]):
            raise DataError(
                f"{models / label} and {path} go along trajectories in other steps: measure the "
                "baselines again, with --window, --stride and --bundle of the model"
            )
    write_text_whole(output, json.dumps(table, indent=2) + "\n")
    write_text_whole(output.with_suffix(".md"), "\n".join(_write(table)))


def _gather(folders: list[Path]) -> dict[str, Any]:
    """Return what is known of a model, each as a list with an entry for each seed."""
    metrics = [_load(folder / "metrics.json", OF_MODELS) for folder in folders]
    gathered: dict[str, Any] = {key: [of_seed[key] for of_seed in metrics] for key in metrics[0]}
    return gathered | {"history": [_load(folder / "history.json", CURVES) for folder in folders]}


def _times(rollout: Mapping[str, Any] | None) -> list[float]:
    """Return the times of the known states that were predicted, which all splits share."""
    if not rollout:
        return []
    of = next(iter(rollout.values()))
    found: list[float] = of["times"][: len(of["errors"]["relative_l2"])]
    return found


def _load(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Return the content of a JSON file, which has some keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; make it again") from None
    _require_keys(content, keys, str(path))
    found: dict[str, Any] = content
    return found


def _require_keys(content: Any, keys: Iterable[str], place: str) -> None:
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise DataError(f"{place} has no {', '.join(lacking)}; make it again")


def _write(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the Markdown: a table for each split, the last one first."""
    costs = {
        label: (f"{model['parameters'][0]:,}", f"{mean(model['seconds']):.3g}")
        for label, model in table["models"].items()
    }
    several = any(len(model["seeds"]) > 1 for model in table["models"].values())
    over = ", mean ± standard deviation over the seeds" if several else ""
    for split, count in reversed(table["instances"].items()):
        rows = {
            name: [*errors, *costs.get(name, ("", ""))]
            for name, errors in tell_errors(table, split).items()
        }
        head = [*MEASURES.values(), "weights", "seconds"]
        yield from _tabulate(f"Errors on the split {split} ({_instances(count)}){over}", head, rows)
        grids, on_grids = tell_grids(table, split)
        if grids:
            title = f"Relative L2 error on each grid, on the split {split}{over}"
            yield from _tabulate(title, [f"{points} points" for points in grids], on_grids)
        times, along = tell_rollout(table, split)
        if times:
            title = f"Relative L2 error along the trajectories of the split {split}{over}"
            yield from _tabulate(title, times, along)


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"


def _tabulate(title: str, head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of one table, with a row for each predictor."""
    yield f"{title}:\n"
    yield f"| {' | '.join(['predictor', *head])} |"
    yield f"| --- |{' ---: |' * len(head)}"
    for name, row in rows.items():
        yield f"| {' | '.join([name, *row])} |"
    yield ""
