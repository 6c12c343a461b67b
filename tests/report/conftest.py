# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The files of a small run, made by the stages."""

import json
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

import pytest
from trained import trained_models

from kryloset.config import DatasetConfig
from kryloset.dataset.integrity import identity
from kryloset.dataset.reader import Dataset
from kryloset.run import compare, solve, sort
from merging import merge_verified


@pytest.fixture(scope="session")
def config() -> DatasetConfig:
    """A dataset that takes a moment to make."""
    return DatasetConfig.model_validate(
        {
            "count": 8,
            "chunks": 2,
            "mesh": {"points": 17},
            "parameters": {"modes": 8},
            "splits": {"train": 0.5, "valid": 0.25, "test": 0.25},
            "comparison": {"instances": 3},
        }
    )


@pytest.fixture(scope="session")
def make_files() -> Callable[[DatasetConfig, Path], dict[str, Path]]:
    """Make the inputs of the report stage, by argument, with the stages before it."""

    def make(config: DatasetConfig, folder: Path) -> dict[str, Path]:
        names = ("order.h5", "dataset.h5", "timings.json", "check.json", "comparison.json")
        paths = {name.partition(".")[0]: folder / name for name in names}
        order = paths["order"]
        sort.run(config, "small", output=order)
        chunks = [f"{i + 1}-of-{config.chunks}" for i in range(config.chunks)]
        solved = [folder / f"{chunk}.h5" for chunk in chunks]
        for chunk, path in zip(chunks, solved, strict=True):
            solve.run(config, "small", order=order, chunk=chunk, output=path, comm=MPI.COMM_SELF)
        merge_verified(config, "small", order=order, chunks=solved, output=paths["dataset"])
        compare.run(config, "small", order=order, output=paths["comparison"])
        return paths

    return make


@pytest.fixture(scope="session")
def run_files(config, make_files, tmp_path_factory) -> dict[str, Path]:
    """The inputs of the report stage by argument."""
    return make_files(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def digest(run_files) -> str:
    """The digest of the dataset."""
    with Dataset(run_files["dataset"]) as data:
        return identity(data.file)


@pytest.fixture(scope="session")
def training_files(digest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The further input of a report with training."""
    path = tmp_path_factory.mktemp("training") / "models.json"
    path.write_text(json.dumps(trained_models({"fno": [0.05]}, digest=digest)))
    return {"models": path}
