# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Fixtures for tests of the whole workflow."""

import os
from pathlib import Path

# Set before NumPy is loaded: the vectors of the tests are too short for threads, which would
# slow them down many times on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Otherwise the time of making would differ between two files that have the same bytes.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")

import hypothesis
import pytest
import yaml

from running import ROOT, TINY

# Tests run in parallel, so the time of a single example means nothing.
hypothesis.settings.register_profile("beside others", deadline=None)
hypothesis.settings.load_profile("beside others")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the workflow and a configuration of one tiny dataset."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump({"datasets": {"tiny": TINY}}))
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path
