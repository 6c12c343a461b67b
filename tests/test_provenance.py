# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The identity of code follows imports and nothing else; the house keeps its rooms apart."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ("sample", "sort", "solve", "merge", "check", "compare", "report", "train", "evaluate")
IDENTITIES = """
from kryloset.config import DatasetConfig
from kryloset.provenance import stage_identity
import kryloset
assert kryloset.__file__.startswith({root!r}), kryloset.__file__
for stage in {stages!r}:
    print(stage, stage_identity(stage, DatasetConfig()))
"""


def identities(root: Path) -> dict[str, str]:
    """Return the identity of each stage of the package in `root`."""
    code = IDENTITIES.format(root=str(root), stages=STAGES)
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in done.stdout.splitlines())


#: The file that is edited, and the stages whose identity that changes. A family
#: counts for every stage, since all data come from it. The check solves some instances anew.
EDITS = {
    "krylov/methods/gcrodr.py": {"solve", "compare", "check"},
    "krylov/native/kernels.c": {"solve", "compare", "check"},
    "ordering/greedy.py": {"sort"},
    "sampling/gaussian.py": set(STAGES),
    "fem/steady.py": set(STAGES),
    "report/page.html.jinja": {"report"},
    "learn/baselines.py": {"evaluate"},
    "cli.py": set(),
    "config/render.md": set(),
}


@pytest.mark.slow
def test_an_edit_changes_the_stages_that_depend_on_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/kryloset", tmp_path / "kryloset")
    before = identities(tmp_path)
    touched = {}
    for edited in EDITS:
        with (tmp_path / "kryloset" / edited).open("a") as file:
            file.write("# edited\n")
        after = identities(tmp_path)
        touched[edited] = {stage for stage in STAGES if before[stage] != after[stage]}
        before = after
    assert touched == EDITS


def test_rooms_import_only_what_they_may() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
