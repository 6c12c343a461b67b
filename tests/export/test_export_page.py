# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands and programs of docs/how-to/export.md run as they are printed."""

import re
import shlex
import sys
from typing import get_type_hints

import numpy as np
import pytest

from documentation import ROOT, read_blocks
from kryloset.__main__ import main
from kryloset.export.formats import FORMATS
from kryloset.inspection import export
from small_sets import make_small

PAGE = "docs/how-to/export.md"
#: The libraries that a command or a program of the page needs, by a word in it.
NEEDED = {
    "zarr": ["zarr"], "neuraloperator": ["torch"], "huggingface": ["pyarrow"], "vtk": ["meshio"],
    "load_dataset": ["datasets"], "the_well": ["the_well", "torch"], "torch": ["torch"],
    "meshio": ["meshio"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "results/darcy").mkdir(parents=True)
    make_small(folder / "results/darcy/dataset.h5", "darcy")
    return folder


def test_the_commands_and_programs_run_in_order(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / "cache"))
    missing = {word for word, names in NEEDED.items() if not all(map(is_there, names))}
    for block in read_blocks(PAGE, "sh"):
        for line in block.splitlines():
            if not any(word in line for word in missing):
                monkeypatch.setattr(sys, "argv", shlex.split(line))
                with pytest.raises(SystemExit) as ended:
                    main()
                assert not ended.value.code, line
    names = {}
    for block in read_blocks(PAGE):
        if not any(word in block for word in missing):
            exec(block, names)
            if "u" in names:
                assert np.isfinite(names.pop("u")).all()


def test_the_page_and_the_help_list_all_formats():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(FORMATS)
    option = get_type_hints(export, include_extras=True)["to"].__metadata__[0]
    assert set(re.findall(r"\w+", option.help)) - {"or"} == set(FORMATS)


def is_there(module):
    from importlib.util import find_spec

    return find_spec(module) is not None
