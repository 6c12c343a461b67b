# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The workflow grows and shrinks a dataset, and does not overwrite one of another equation."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from kryloset.dataset.integrity import TABLES
from kryloset.dataset.reader import Dataset
from kryloset.run import check
from running import TINY, Run, snakemake

MADE = {"sort_instances", "solve_chunk", "verify_chunk", "merge_chunks", "report_dataset"}


def configure(folder: Path, **changes: object) -> None:
    tree = {"datasets": {"tiny": TINY | changes}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tree))


def grow(folder: Path, **changes: object) -> Run:
    configure(folder, **changes)
    run = snakemake("--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    return run


def rows(folder: Path) -> dict[str, np.ndarray]:
    """Return the digests of all rows, and the residuals and iterations, by instance."""
    found = {}
    with h5py.File(folder / "results/tiny/dataset.h5") as file:
        for name in ("t0_fields/k", "t0_fields/u"):
            found[name] = file[f"{TABLES}/{name}"][:]
        for name in ("true_residual", "iterations"):
            found[name] = file["solver"][name][:]
    return found


def seconds(folder: Path) -> np.ndarray:
    """Return the seconds of all instances in the last run."""
    parts = json.loads((folder / "results/tiny/timings.json").read_text())["instances"]
    return np.sum([*parts.values()], axis=0)


@pytest.mark.slow
def test_a_dataset_grows_and_shrinks_and_keeps_its_rows_bit_for_bit(folder: Path):
    made = folder / "results/tiny/dataset.h5"
    grow(folder, count=64)
    first = rows(folder)
    configure(folder, count=100)
    held = made.read_bytes()
    would = snakemake("-n", cwd=folder)
    assert would.jobs().keys() >= MADE
    assert made.read_bytes() == held
    grow(folder, count=100)
    second = rows(folder)
    for name, values in first.items():
        np.testing.assert_array_equal(second[name][:64], values, err_msg=name)
    assert not seconds(folder)[:64].any() and (seconds(folder)[64:] > 0).all()
    assert check.run(made).passed
    report = (folder / "results/tiny/report.html").read_text()
    assert "The first 64 were kept from an earlier dataset." in report
    again = snakemake("--cores", "2", cwd=folder)
    assert "Nothing to be done" in again.output
    grow(folder, count=80)
    for name, values in rows(folder).items():
        np.testing.assert_array_equal(second[name][:80], values, err_msg=name)
    assert not seconds(folder).any()
    assert check.run(made).passed
    with Dataset(made) as data:
        assert [run.instances for run in data.provenance().earlier] == [64, 80]
    # Splits alone are merged from the chunks, with what they keep.
    run = grow(folder, count=80, splits={"train": 0.75, "test": 0.25})
    assert run.jobs().keys() & {"sort_instances", "solve_chunk"} == set()
    grow(folder, count=80, mesh={"points": 9, "grids": [5]})
    assert not seconds(folder).any()
    assert check.run(made).passed
    # Another solver draws and sorts nothing, and solves all.
    run = grow(folder, count=80, mesh={"points": 9, "grids": [5]}, solver={"tolerance": 1e-6})
    assert "sort_instances" not in run.jobs()
    assert (seconds(folder) > 0).all()


@pytest.mark.slow
def test_a_growth_whose_merge_was_killed_goes_on(folder: Path):
    """Snakemake removes the dataset before it merges; its second name is there until the end."""
    grow(folder)
    first, results = rows(folder), folder / "results/tiny"
    configure(folder, count=12)
    chunks = [f"results/tiny/chunks/{i}-of-2.h5" for i in (1, 2)]
    assert snakemake("--cores", "2", *chunks, cwd=folder).code == 0
    (results / "dataset.h5").unlink()
    assert Dataset(results / "kept.h5").config.count == 8
    grow(folder, count=12)
    for name, values in first.items():
        np.testing.assert_array_equal(rows(folder)[name][:8], values, err_msg=name)
    assert not (results / "kept.h5").exists()
    # The count was changed once more, after the dataset was removed.
    configure(folder, count=16)
    assert snakemake("--cores", "2", *chunks, cwd=folder).code == 0
    (results / "dataset.h5").unlink()
    grow(folder, count=14)
    assert not seconds(folder)[:12].any() and (seconds(folder)[12:] > 0).all()


@pytest.mark.slow
def test_another_family_of_the_same_name_needs_force(folder: Path):
    grow(folder)
    own = folder / "own.py"
    own.write_text("from kryloset.problems.darcy import Darcy\n\n\nclass darcy(Darcy):\n    pass\n")
    configure(folder, family="own.py:darcy")
    said = snakemake("--cores", "2", cwd=folder)
    assert said.code != 0
    assert "results/tiny holds a dataset of another family, darcy;" in said.output
    assert "overwrite it with --config force=true" in said.output
    with Dataset(folder / "results/tiny/dataset.h5") as data:
        assert data.config.family == "darcy"
    forced = snakemake("--cores", "2", "--config", "force=true", cwd=folder)
    assert forced.code == 0, forced.output
    with Dataset(folder / "results/tiny/dataset.h5") as data:
        assert data.config.family == "own.py:darcy"
    assert "Nothing to be done" in snakemake("--cores", "2", cwd=folder).output
