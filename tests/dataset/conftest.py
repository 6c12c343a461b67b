# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs of all stages, in one dimension and in several: copies of those that are made once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import copytree

import pytest
from pointwise_runs import Run, make_run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Run]:
    """Return a run with its dataset by the number of dimensions."""

    @cache
    def make(dimensions: int) -> Run:
        run = make_run(tmp_path_factory.mktemp("run"), dimensions)
        run.whole.parent.mkdir()
        run.merge("whole/dataset.h5")
        return run

    return make


@pytest.fixture
def run(tmp_path: Path, made_once: Callable[[int], Run]) -> Run:
    return _copy(made_once(2), tmp_path)


@pytest.fixture(params=[1, 2, 3], ids=["1-D", "2-D", "3-D"])
def any_run(tmp_path: Path, request: pytest.FixtureRequest, made_once: Callable[[int], Run]) -> Run:
    return _copy(made_once(request.param), tmp_path)


def _copy(made: Run, folder: Path) -> Run:
    copytree(made.folder, folder, dirs_exist_ok=True)
    return Run(folder, made.config)
