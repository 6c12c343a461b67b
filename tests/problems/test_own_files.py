# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A user's family file may import modules beside it, which belong to the family."""

import os
import sys
from pathlib import Path

import pytest

from kryloset.config import DatasetConfig
from kryloset.errors import ConfigError
from kryloset.problems import family_files, load_family
from kryloset.problems.registry import family_class
from kryloset.provenance import family_sources

FAMILY = """
from kryloset.problems.darcy import Darcy
{imports}

class Mine(Darcy):
    summary = {summary}
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def summary(family: str) -> str:
    return load_family(DatasetConfig(family=family)).summary


def family(imports: str = "", summary: str = "name") -> str:
    return FAMILY.format(imports=imports, summary=summary)


#: For each case, the files, the family file first, and those that belong to the family.
CASES: dict[str, tuple[dict[str, str], set[str]]] = {
    "beside": (
        {"mine.py": family("from parts import name"), "parts.py": "name = 'x'", "other.py": ""},
        {"parts.py"},
    ),
    "through others": (
        {
            "mine.py": family("import a", "a.b.name"),
            "a.py": "import b",
            "b.py": "import mine_too\nname = 'x'",
            "mine_too.py": "import a",
        },
        {"a.py", "b.py", "mine_too.py"},
    ),
    "in a folder": (
        {"mine.py": family("from lib.deep.parts import name"), "lib/deep/parts.py": "name = 'x'"},
        {"lib/deep/parts.py"},
    ),
    "in a package": (
        {
            "mine.py": family("from lib import parts", "parts.name"),
            "lib/__init__.py": "",
            "lib/parts.py": "from .more import name",
            "lib/more.py": "name = 'x'",
            "lib/unused.py": "",
        },
        {"lib/__init__.py", "lib/parts.py", "lib/more.py"},
    ),
    "a package's own": (
        {
            "models/pkg/sub/mine.py": family("from ..parts import name"),
            "models/pkg/__init__.py": "",
            "models/pkg/sub/__init__.py": "",
            "models/pkg/parts.py": "from pkg.sub import more\nname = more.name",
            "models/pkg/sub/more.py": "name = 'x'",
        },
        {"pkg/__init__.py", "pkg/sub/__init__.py", "pkg/parts.py", "pkg/sub/more.py"},
    ),
    "inside a function": (
        {
            "mine.py": family(
                "def later():\n    from parts import name\n    return name", "later()"
            ),
            "parts.py": "name = 'x'",
        },
        {"parts.py"},
    ),
}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_modules_imported_from_beside_a_family_belong_to_it(case: str, absolute: bool):
    files, parts = CASES[case]
    write(files)
    (first, *_) = files
    path = Path(first).absolute() if absolute else Path(first)
    dataset = DatasetConfig(family=f"{path}:Mine")
    assert summary(dataset.family) == "x"
    found = family_files(dataset)
    own, *others = found
    assert first.endswith(own)
    assert set(others) == parts
    for place, file in found.items():
        assert file.is_absolute() == absolute
        assert str(file).endswith(place)
    assert family_sources(dataset)[own] == files[first]


def test_families_of_one_name_in_different_folders_have_their_own_modules():
    for folder in ("a", "b"):
        write(
            {
                f"{folder}/mine.py": family("from parts import name"),
                f"{folder}/parts.py": f"name = {folder!r}",
            }
        )
    loaded = [load_family(DatasetConfig(family=f"{folder}/mine.py:Mine")) for folder in "abab"]
    assert [found.summary for found in loaded] == ["a", "b", "a", "b"]
    assert {sys.modules[type(found).__module__].__file__ for found in loaded} == {
        os.path.abspath("a/mine.py"), os.path.abspath("b/mine.py"),
    }  # fmt: skip


def test_an_edited_module_is_imported_anew():
    write({"mine.py": family("from parts import name"), "parts.py": "name = 'first'"})
    assert summary("mine.py:Mine") == "first"
    write({"parts.py": "name = 'second one'"})
    assert summary("mine.py:Mine") == "second one"


def test_a_family_file_does_not_replace_an_installed_module():
    write({"random.py": family(summary="'x'")})
    import random

    assert summary("random.py:Mine") == "x"
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("module", "where"), [("random", "a module of Python"), ("scipy", "the installed ")]
)
def test_a_module_beside_it_with_the_name_of_another_is_refused(module: str, where: str):
    write({"mine.py": family(f"import {module}", "'x'"), f"{module}.py": ""})
    with pytest.raises(ConfigError, match=f"imports '{module}' from .*{where}.*rename yours"):
        summary("mine.py:Mine")


def test_a_file_name_that_is_too_long_is_reported_as_missing():
    with pytest.raises(ConfigError, match="there is no file nnn"):
        family_class("n" * 300 + ".py:Mine")


def test_an_error_in_an_imported_module_is_reported_with_its_line():
    write({"mine.py": family("import parts"), "parts.py": "x = 1\ny = x / 0\n"})
    with pytest.raises(ConfigError, match=r"mine.py cannot be imported, line 2 of parts.py: Zero"):
        summary("mine.py:Mine")
