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
from kryloset.problems import load_family
from kryloset.provenance import stage_identity
import kryloset
assert kryloset.__file__.startswith({root!r}), kryloset.__file__
for name in {families!r}:
    family = load_family(DatasetConfig(family=name))
    for stage in {stages!r}:
        print(name.rpartition(":")[2], stage, stage_identity(stage, family))
"""
OWN = """
from kryloset.problems import NonlinearFamily, Variable
class Own(NonlinearFamily):
    summary = equation = "u = f"
    parameters, fields = (Variable("f", "source"),), (Variable("u", "solution"),)
    draw = weak_form = None
"""


def identities(root: Path, *families: str) -> dict[tuple[str, str], str]:
    """Return the identity of each stage of the package in `root`, by family and stage."""
    code = IDENTITIES.format(root=str(root), families=families, stages=STAGES)
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    found = [line.split() for line in done.stdout.splitlines()]
    return {(family, stage): identity for family, stage, identity in found}


def touched_by(root: Path, edited: str, *families: str) -> dict[str, set[str]]:
    """Edit a file of the package, and return the stages of each family that this changes."""
    before = identities(root, *families)
    with (root / "kryloset" / edited).open("a") as file:
        file.write("# edited\n")
    after = identities(root, *families)
    names = [family.rpartition(":")[2] for family in families]
    return {name: {s for s in STAGES if before[name, s] != after[name, s]} for name in names}


#: The file that is edited, and the stages of Darcy flow whose identity that changes. A family
#: and its discretisation count for every stage, since all data come from them. The check solves
#: some instances anew.
EDITS = {
    "krylov/methods/gcrodr.py": {"solve", "compare", "check"},
    "krylov/native/kernels.c": {"solve", "compare", "check"},
    "ordering/greedy.py": {"sort"},
    "sampling/gaussian.py": set(STAGES),
    "fem/steady.py": set(STAGES),
    "fem/newton.py": set(),
    "fem/evolution.py": set(),
    "report/page.html.jinja": {"report"},
    "learn/baselines.py": {"evaluate"},
    "cli.py": set(),
    "config/render.md": set(),
}


@pytest.mark.slow
def test_an_edit_changes_the_stages_that_depend_on_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/kryloset", tmp_path / "kryloset")
    assert {edited: touched_by(tmp_path, edited, "darcy")["darcy"] for edited in EDITS} == EDITS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edited", "families"),
    [
        ("fem/steady.py", {"darcy", "thermal"}),
        ("fem/evolution.py", {"heat"}),
        ("fem/newton.py", {"reaction_diffusion", "Own"}),
        ("fem/finite_elements.py", {"darcy", "thermal", "heat", "reaction_diffusion", "Own"}),
        ("problems/darcy.py", {"darcy"}),
    ],
)
def test_a_family_depends_on_its_own_discretisation_alone(
    tmp_path: Path, edited: str, families: set[str]
) -> None:
    shutil.copytree(ROOT / "src/kryloset", tmp_path / "kryloset")
    (tmp_path / "own.py").write_text(OWN)
    own = f"{tmp_path / 'own.py'}:Own"
    known = ("darcy", "thermal", "heat", "reaction_diffusion")
    touched = touched_by(tmp_path, edited, *known, own)
    assert {name for name, stages in touched.items() if stages == set(STAGES)} == families
    assert not any(stages for name, stages in touched.items() if name not in families)


def test_rooms_import_only_what_they_may() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
