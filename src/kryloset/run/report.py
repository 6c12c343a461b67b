# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write the report: one page for people, and its figures as files."""

import json
from pathlib import Path
from typing import Any

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole, write_whole
from kryloset.dataset.reader import Dataset
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError
from kryloset.problems import load_family
from kryloset.report.findings import Findings, Order
from kryloset.report.page import illustrate, render
from kryloset.run import files


def run(
    config: DatasetConfig,
    name: str,
    *,
    order: Path,
    dataset: Path,
    timings: Path,
    check: Path,
    comparison: Path,
    output: Path,
    figures: Path,
    metrics: Path | None = None,
    history: Path | None = None,
) -> None:
    """Make the report of one dataset.

    Args:
        config: The dataset.
        name: Its name.
        order: `order.h5`.
        dataset: `dataset.h5`.
        timings: `timings.json`.
        check: `check.json`.
        comparison: `comparison.json`.
        output: The page to write, `report.html`.
        figures: The folder for the figures, each as `.svg`.
        metrics: `metrics.json`, where an operator was trained.
        history: `history.json`, alike.

    Raises:
        DataError: A file is missing or damaged.
    """
    findings = read_findings(
        config,
        name,
        order=order,
        dataset=dataset,
        timings=timings,
        check=check,
        comparison=comparison,
        metrics=metrics,
        history=history,
    )
    illustrations = illustrate(findings)
    for illustration in illustrations.values():
        with write_whole(figures / f"{illustration.name}.svg") as part:
            part.write_bytes(illustration.svg)
    write_text_whole(output, render(findings, illustrations))


def read_findings(
    config: DatasetConfig,
    name: str,
    *,
    order: Path,
    dataset: Path,
    timings: Path,
    check: Path,
    comparison: Path,
    metrics: Path | None = None,
    history: Path | None = None,
) -> Findings:
    """Read the files of a run.

    Raises:
        DataError: One is missing or damaged.
    """
    with Dataset(dataset) as data:
        solver, strategies, provenance = data.solver(), data.strategies(), data.provenance()
        splits = {key: len(values) for key, values in data.splits().items()}
    return Findings(
        name=name,
        config=config,
        family=load_family(config),
        path=dataset,
        size=dataset.stat().st_size,
        order=_read_order(order, provenance.parameters),
        solver=solver,
        strategies=strategies,
        splits=splits,
        provenance=provenance,
        timings=_load(timings),
        check=_load(check),
        comparison=_load(comparison),
        metrics=None if metrics is None else _load(metrics),
        history=None if history is None else _load(history),
    )


def _read_order(path: Path, drawn: str) -> Order:
    """Read how the instances were sorted.

    Args:
        path: `order.h5`.
        drawn: Digest of the parameters that the dataset was made from.

    Raises:
        DataError: The file is missing or damaged, or it is the order of other parameters.
    """
    with StagedFile(path) as file:
        if file.seal(files.DRAWN) != drawn:
            raise DataError(f"{path} is the order of other parameters; make it again")
        return Order(
            method=str(file.attrs[files.METHOD]),
            seconds=float(file.attrs[files.SECONDS_SORT]),
            seconds_features=float(file.attrs[files.SECONDS_FEATURES]),
            permutation=file.array(files.PERMUTATION),
            bounds=file.array(files.BOUNDS),
            steps=file.array(files.STEPS),
            steps_given=file.array(files.STEPS_GIVEN),
        )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; make it again") from None
