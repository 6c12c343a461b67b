# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs that tests interrupt, and the result of an undisturbed run."""

from pathlib import Path

import pytest
from slow_dataset import Interrupted


def made(run: Interrupted, *targets: str) -> Interrupted:
    """Make targets, by default the dataset."""
    done = run.finish(run.start(*targets, seconds_late=0.0))
    assert done.code == 0, done.output
    return run


@pytest.fixture(scope="session")
def sorted_instances(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """A folder with everything that solving needs."""
    run = Interrupted(tmp_path_factory.mktemp("sorted"))
    run.lay_out()
    configs = (f"results/slow/config/{stage}.yaml" for stage in ("solve", "merge"))
    return made(run, "results/slow/order.h5", *configs)


@pytest.fixture
def interrupted(sorted_instances: Interrupted, tmp_path: Path) -> Interrupted:
    """A folder in which no instance has been solved yet."""
    return sorted_instances.copy(tmp_path)


@pytest.fixture(scope="session")
def whole(sorted_instances: Interrupted, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """An undisturbed run."""
    return made(sorted_instances.copy(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="session")
def undisturbed(whole: Interrupted) -> bytes:
    """The bytes of the dataset of an undisturbed run."""
    return whole.dataset.read_bytes()
