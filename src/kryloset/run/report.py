# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Write the report: one page for people, and its figures as files."""

from pathlib import Path

from kryloset.config import DatasetConfig
from kryloset.dataset.atomic import write_text_whole, write_whole
from kryloset.report.findings import read_findings
from kryloset.report.page import illustrate, render
from kryloset.report.theme import encode


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
        figures: The folder for the figures, each as `.svg`, and `samples.png`.
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
    if "samples" in illustrations:
        with write_whole(figures / "samples.png") as part:
            part.write_bytes(encode(illustrations["samples"].figure, "png"))
    write_text_whole(output, render(findings, illustrations))
