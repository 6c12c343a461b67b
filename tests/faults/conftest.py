# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs to be interrupted, and what they must come to."""

from pathlib import Path

import pytest
from slow_dataset import Interrupted


@pytest.fixture
def interrupted(tmp_path: Path) -> Interrupted:
    """A folder in which nothing was run yet."""
    return Interrupted(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The dataset of a run that nothing disturbed."""
    run = Interrupted(tmp_path_factory.mktemp("undisturbed"))
    done = run.finish()
    assert done.code == 0, done.output
    return run.dataset.read_bytes()
