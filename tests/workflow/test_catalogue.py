# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The small datasets of all families, which `make run DATASET=name` makes."""

import json
import subprocess
from pathlib import Path

import pytest
import xarray
import yaml

from running import ROOT, snakemake

CONFIGS = sorted((ROOT / "config/families").glob("*.yaml"))


@pytest.mark.slow
def test_every_small_dataset_is_made_and_verified(folder: Path) -> None:
    run = snakemake("--cores", "2", "--keep-going", "--configfile", *CONFIGS, cwd=folder)
    assert run.code == 0, run.output[-3000:]
    for path in CONFIGS:
        ((name, dataset),) = yaml.safe_load(path.read_text())["datasets"].items()
        results = folder / "results" / name
        check = json.loads((results / "check.json").read_text())
        assert check["passed"] and check["residual_max"] <= 1e-6
        assert (results / "figures/samples.svg").stat().st_size > 10_000
        with xarray.open_datatree(results / "dataset.h5", engine="h5netcdf") as tree:
            assert tree.attrs["n_trajectories"] == dataset["count"]


def test_make_names_the_small_datasets() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(path.stem in said.stdout for path in CONFIGS)
    wrong = subprocess.run(
        ["make", "run", "DATASET=nosuch"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "no small dataset nosuch" in wrong.stderr and "darcy" in wrong.stderr


def test_make_names_a_configuration_that_is_not_there() -> None:
    wrong = subprocess.run(
        ["make", "run", "CONFIG=it's no;file.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "there is no file it's no;file.yaml" in wrong.stderr


def test_make_clean_keeps_the_records_of_settings() -> None:
    said = subprocess.run(
        ["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "rm -rf .venv" in said.stdout
    assert not {"results", ".snakemake"}.intersection(said.stdout.split())
