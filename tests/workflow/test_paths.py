# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Folders and files may have any name: the shell never interprets it."""

import re
from pathlib import Path

import pytest
import yaml

from kryloset.config import parse_config
from kryloset.errors import ConfigError
from running import ROOT, TINY, snakemake

#: Names that a shell would interpret.
NAMES = ["two words", "it's", 'a"b', "a;touch owned;b", "$(touch owned)", "a&touch owned", "a*?[b]"]
FAMILY = "from kryloset.problems.darcy import Darcy\n\n\nclass Mine(Darcy):\n    pass\n"


def test_every_rule_quotes_its_paths():
    """Only `launcher` is a command with arguments, not a path."""
    for rules in (ROOT / "workflow/rules").glob("*.smk"):
        text = re.sub(r"message:\n.*\n", "", rules.read_text())
        places = re.findall(r"\{((?:input|output|log|params)\b[^}]*)\}", text)
        bare = {place for place in places if not place.endswith(":q")}
        assert bare <= {"params.launcher"}, rules.name


@pytest.mark.slow
def test_names_with_shell_syntax_are_not_executed(folder: Path):
    home = folder / f"home {NAMES[3]}"
    home.mkdir()
    for name in ("Snakefile", "workflow", "profiles", "envs"):
        (folder / name).rename(home / name)
    family = f"fam {' '.join(NAMES)}.py"
    (home / family).write_text(FAMILY)
    folders = {key: f"{key} {' '.join(NAMES)}" for key in ("results", "logs", "benchmarks")}
    tree = {"datasets": {"tiny": TINY | {"family": f"{family}:Mine"}}, "pathvars": folders}
    (home / "my config;.yaml").write_text(yaml.safe_dump(tree))

    run = snakemake("--cores", "2", "--configfile", "my config;.yaml", cwd=home)

    assert run.code == 0, run.output[-5000:]
    made = {path.name for path in (home / folders["results"] / "tiny").iterdir()}
    assert {"dataset.h5", "check.json", "report.html"} <= made
    assert not list(folder.rglob("owned"))


@pytest.mark.parametrize("name", ["a{b}", "a<b>", "-a", "", "a\nb", "a\0b"])
def test_paths_that_snakemake_or_a_command_would_read_otherwise_are_refused(name: str):
    dataset = {"family": f"{name}.py:Mine" if name else ":Mine"}
    dataset["solver"] = {"policy": f"replay {name}" if name else "replay -"}
    with pytest.raises(ConfigError) as refused:
        parse_config({"datasets": {"tiny": dataset}, "pathvars": {"results": name}})
    for key in ("pathvars.results", "datasets.tiny.family", "datasets.tiny.solver.policy"):
        assert f"{key}: " in str(refused.value)
