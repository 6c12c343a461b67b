# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write the report: one page for people, and its figures as files."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kryloset.dataset.atomic import write_whole
from kryloset.dataset.described import DescribedFamily
from kryloset.dataset.integrity import identity
from kryloset.dataset.layout import recorded
from kryloset.dataset.opening import describable, require_rows
from kryloset.dataset.origin import Provenance
from kryloset.dataset.predictions import Predictions, read_predictions
from kryloset.dataset.reader import Dataset
from kryloset.dataset.staged import StagedFile
from kryloset.errors import DataError
from kryloset.report.findings import Findings, Order
from kryloset.report.page import illustrate, render
from kryloset.run import files
from kryloset.run.checks.solver_records import check_order

logger = logging.getLogger(__name__)


def run(dataset: Path, output: Path, *, figures: Path | None = None, **others: Any) -> None:
    """Make the report of one dataset, from its file and what is given of the run's other files.

    Args:
        dataset: `dataset.h5`.
        output: The page to write, `report.html`.
        figures: The folder for the figures, each as `.svg`; none by default.
        others: As `read_findings` takes them.

    Raises:
        DataError: A file is missing or damaged.
    """
    findings = read_findings(dataset, **others)
    # Numbers that were changed may be ones that cannot be drawn, and texts ones that cannot be
    # written: h5py reads bytes that are not UTF-8 as lone surrogates.
    with describable(dataset):
        illustrations = illustrate(findings)
        page = render(findings, illustrations).encode()
    if figures is not None:
        for illustration in illustrations.values():
            with write_whole(figures / f"{illustration.name}.svg") as part:
                part.write_bytes(illustration.svg)
    with write_whole(output) as part:
        part.write_bytes(page)
    logger.info("%s: the report of %s", output, dataset)


def read_findings(
    dataset: Path,
    *,
    order: Path | None = None,
    timings: Path | None = None,
    check: Path | None = None,
    comparison: Path | None = None,
    models: Path | None = None,
    predictions: Sequence[Path] = (),
) -> Findings:
    """Read a dataset, and what is given of the other files of its run.

    Args:
        dataset: `dataset.h5`.
        order: `order.h5`.
        timings: `timings.json`.
        check: `check.json`.
        comparison: `comparison.json`.
        models: `models.json`, where operators were trained.
        predictions: `predictions.h5` of some of them.

    Raises:
        DataError: One is missing or damaged, or has errors or predictions on another dataset.
    """
    with Dataset(dataset) as data:
        data.require_unchanged_texts()
        records = [files.solver(quantity) for quantity in recorded(data.config.storage)]
        require_rows(dataset, data.file, ["sample", *records], len(data))
        solver, provenance = data.solver(), data.provenance()
        permutation = check_order(solver)
        chunk = solver["chunk"][permutation]
        return Findings(
            name=data.name,
            config=data.config,
            family=DescribedFamily(data),
            path=dataset,
            size=dataset.stat().st_size,
            numbers=data.numbers,
            permutation=permutation,
            bounds=np.append(np.flatnonzero(np.diff(chunk, prepend=-1)), len(chunk)),
            order=None if order is None else _read_order(order, provenance),
            solver=solver,
            strategies=data.strategies(),
            splits={key: len(values) for key, values in data.splits().items()},
            provenance=provenance,
            about=data.about,
            refinement=data.refinement(),
            timings=_load(timings),
            check=_load(check),
            comparison=_load(comparison),
            models=None if models is None else _read_models(models, identity(data.file)),
            predictions=[_read_predictions(path, identity(data.file)) for path in predictions],
        )


def _read_order(path: Path, provenance: Provenance) -> Order:
    """Read how the instances were sorted.

    Args:
        path: `order.h5`.
        provenance: Has the digest of the dataset's parameters.

    Raises:
        DataError: The file is missing or damaged, or it is the order of other parameters.
    """
    with StagedFile(path) as file:
        # Others took the place of instances that failed since they were sorted, or none did.
        redrawn = any(one.stage == "solve" or one.left_out for one in provenance.failures)
        if file.seal(files.DRAWN) != provenance.parameters and not redrawn:
            raise DataError(f"{path} is the order of other parameters; make it again")
        return Order(
            method=str(file.attrs[files.METHOD]),
            seconds=float(file.attrs[files.SECONDS_SORT]),
            seconds_features=float(file.attrs[files.SECONDS_FEATURES]),
            steps=file.array(files.STEPS),
            steps_given=file.array(files.STEPS_GIVEN),
        )


def _read_predictions(path: Path, digest: str) -> Predictions:
    """Read predictions on the dataset of a digest."""
    found = read_predictions(path)
    if found.dataset != digest:
        raise DataError(f"{path} has predictions on another dataset; make it again")
    return found


def _read_models(path: Path, digest: str) -> Any:
    """Read the table of the models that were measured on the dataset of a digest."""
    table = _load(path)
    try:
        every = *table["models"].values(), *table["baselines"].values()
        # One of a version without rollouts is none, either.
        told = [(of["dataset"], of["rollout"]) for of in every]
        measured = {found for datasets, _ in told for found in datasets}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no table of models: {error}; make it again") from None
    if measured != {digest}:
        raise DataError(f"{path} has errors on another dataset; make it again")
    return table


def _load(path: Path | None) -> Any:
    """Return the content of a JSON file; None if there is no file."""
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}; make it again") from None
