# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The identity of code follows from imports alone, and packages import only what they may."""

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.provenance import closure

ROOT = Path(__file__).parents[1]
STAGES = ("sort", "solve", "verify", "merge", "check", "compare", "report")
STAGES += ("train", "evaluate", "baselines", "tabulate")
IDENTITIES = """
from kryloset import provenance
from kryloset.config import DatasetConfig
from kryloset.problems import load_family
assert provenance.__file__.startswith({root!r}), provenance.__file__
families = {{name: load_family(DatasetConfig(family=name)) for name in {families!r}}}
for edited in {edits!r}:
    if edited:
        with open({root!r} + "/kryloset/" + edited, "a") as file:
            file.write("# edited\\n")
    for function in vars(provenance).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    for name, family in families.items():
        for stage in {stages!r}:
            identity = provenance.stage_identity(stage, family)
            print(edited or "-", name.rpartition(":")[2], stage, identity)
"""
FAMILIES = ("darcy", "thermal", "heat", "reaction_diffusion")
OWN = """
from kryloset.problems import NonlinearFamily, Variable
class Own(NonlinearFamily):
    summary = equation = "u = f"
    parameters, fields = (Variable("f", "source"),), (Variable("u", "solution"),)
    draw = weak_form = None
"""


def identities(root: Path) -> dict[str, dict[tuple[str, str], str]]:
    """Edit files of the package in `root`, one after the other.

    Returns:
        By the edited file, `-` for none, the identities by family and stage.
    """
    families, edits = (*FAMILIES, f"{root}/own.py:Own"), ("", *EDITS)
    code = IDENTITIES.format(root=str(root), families=families, stages=STAGES, edits=edits)
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    found: dict[str, dict[tuple[str, str], str]] = {}
    for edited, family, stage, identity in map(str.split, done.stdout.splitlines()):
        found.setdefault(edited, {})[family, stage] = identity
    return found


#: The stages that discretise: the sort does so on a coarse grid, and the check solves some
#: instances anew. Verification and merging, which follow each solve, share the check's report.
DISCRETISING = {"sort", "solve", "verify", "merge", "check", "compare"}
#: The file that is edited, and the stages of Darcy flow whose identity this changes. A family
#: counts for every stage, since all data come from it. The comparison sorts for SKR.
EDITS = {
    "krylov/methods/gcrodr.py": DISCRETISING - {"sort"},
    "krylov/native/kernels.c": DISCRETISING,
    "ordering/greedy.py": {"sort", "compare"},
    "sampling/gaussian.py": set(STAGES),
    "fem/steady.py": DISCRETISING,
    "fem/evolution.py": set(),
    "fem/newton.py": set(),
    "fem/finite_elements.py": DISCRETISING,
    "problems/darcy.py": set(STAGES),
    "problems/heat.py": set(),
    "report/page.html.jinja": {"report"},
    "learn/baselines.py": {"baselines"},
    "cli.py": set(),
    "config/render.md": set(),
}
#: Of these, the files that concern only some families, and then the same stages of each.
CONCERNED = {
    "fem/steady.py": {"darcy", "thermal"},
    "fem/evolution.py": {"heat"},
    "fem/newton.py": {"reaction_diffusion", "Own"},
    "fem/finite_elements.py": {*FAMILIES, "Own"},
    "problems/darcy.py": {"darcy"},
    "problems/heat.py": {"heat"},
}


@pytest.mark.slow
def test_an_edit_changes_the_stages_and_families_that_depend_on_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src/kryloset", tmp_path / "kryloset")
    (tmp_path / "own.py").write_text(OWN)
    found = identities(tmp_path)
    before = found.pop("-")
    assert [*found] == [*EDITS]
    touched: dict[str, dict[str, set[str]]] = {}
    for edited, after in found.items():
        touched[edited] = {family: set() for family in (*FAMILIES, "Own")}
        for family, stage in before:
            if before[family, stage] != after[family, stage]:
                touched[edited][family].add(stage)
        before = after
    assert {edited: families["darcy"] for edited, families in touched.items()} == EDITS
    for edited, concerned in CONCERNED.items():
        for family, stages in touched[edited].items():
            wanted = DISCRETISING if edited.startswith("fem/") else set(STAGES)
            assert stages == (wanted if family in concerned else set()), (edited, family)


def test_the_imports_of_every_module_are_found():
    """Grimp finds them by parsing all files."""
    graph = grimp.build_graph("kryloset", cache_dir=None)
    for module in graph.modules:
        assert closure(module) == {module, *graph.find_upstream_modules(module)}, module


def test_darcy_flow_depends_on_no_other_discretisation() -> None:
    graph = grimp.build_graph("kryloset", cache_dir=None)
    used = graph.find_upstream_modules("kryloset.problems.darcy")
    for stage in STAGES:
        used |= graph.find_upstream_modules(f"kryloset.run.{stage}")
    module, _, _ = load_family(DatasetConfig()).discretisation.partition(":")
    used |= {module, *graph.find_upstream_modules(module)}
    assert module == "kryloset.fem.steady"
    assert not used & {f"kryloset.fem.{other}" for other in ("evolution", "newton", "remeshed")}


def test_packages_import_only_allowed_packages() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
