# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What tests of the whole workflow share."""

import os
from pathlib import Path

# Before NumPy is loaded: the vectors of the tests are too short for threads, which on a
# busy machine make them many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import yaml

from running import ROOT, TINY

# Other tests run beside, so that the time of a single example says nothing.
hypothesis.settings.register_profile("beside others", deadline=None)
hypothesis.settings.load_profile("beside others")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a configuration of one tiny dataset and the workflow in reach."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump({"datasets": {"tiny": TINY}}))
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path
