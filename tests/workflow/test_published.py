# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The published method, from its one key to the report."""

import json
from pathlib import Path

import pytest
import yaml

from kryloset.dataset.reader import Dataset
from running import ROOT, TINY, snakemake


@pytest.mark.slow
def test_the_example_of_skr_makes_a_dataset(folder: Path) -> None:
    """In a small size; the solver is that of the file."""
    example = yaml.safe_load((ROOT / "config/examples/skr.yaml").read_text())
    example["datasets"]["darcy_skr"] = TINY | example["datasets"]["darcy_skr"]
    (folder / "config/config.yaml").write_text(yaml.safe_dump(example))
    run = snakemake("--cores", "1", cwd=folder)
    assert run.code == 0, run.output[-3000:]
    results = folder / "results/darcy_skr"
    assert json.loads((results / "check.json").read_text())["passed"]
    with Dataset(results / "dataset.h5") as data:
        assert data.config.sort == "greedy"
        assert set(data.strategies().values()) == {"gcrodr+ilu"}
        # All but the first of each of the two chunks.
        assert (data.solver()["predecessor"] >= 0).sum() == len(data) - 2
    comparison = json.loads((results / "comparison.json").read_text())
    assert comparison["methods"][0]["label"] == "SKR: GCRO-DR(40,20) + ILU, recycled"
    assert comparison["methods"][0]["label"] in (results / "report.html").read_text()
