# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What tests of the whole workflow share."""

from pathlib import Path

import pytest
import yaml
from running import ROOT

#: A dataset that is made in seconds.
TINY = {
    "count": 8,
    "mesh": {"points": 9},
    "parameters": {"modes": 8},
    "solver": {"restart": 10, "recycle": 4},
    "splits": {"train": 0.5, "valid": 0.25, "test": 0.25},
    "comparison": {"instances": 2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a configuration of one tiny dataset and the workflow in reach."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump({"datasets": {"tiny": TINY}}))
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path
