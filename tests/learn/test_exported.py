# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Operators become programs that torch alone loads, and that do the same."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from documentation import read_blocks

pytest.importorskip("torch")

import torch

from kryloset.errors import DataError
from kryloset.learn.exported import ABOUT, export_operator
from kryloset.learn.models.base import GridModel, OnGrid, Task
from kryloset.learn.models.registry import MODELS, model_class, read_settings
from kryloset.learn.operator import Operator, save_model, weights
from kryloset.learn.scaling import Scaling
from kryloset.run import export_model

TASK = Task(("k", "f"), ("u",), (np.linspace(0, 1, 8), np.arange(9) / 9), (False, True), 2)
MASKED = replace(TASK, inputs=("k", "f", "inside"))

#: Small networks, of all models but `cgs`, which torch does not export.
SMALL = {
    "deeponet": {"sensors": 4, "width": 4, "terms": 3},
    "fno": {"width": 4, "modes": 4, "layers": 1},
    "gino": {"latent": 4, "width": 4, "modes": 2, "layers": 1},
    "lsm": {"width": 4, "depth": 1},
    "stagger": {"model": "unet", "settings": {"width": 2, "depth": 1}},
    "tfno": {"width": 4, "modes": 4, "layers": 1, "rank": 0.5},
    "transolver": {"width": 4, "heads": 2, "slices": 2, "layers": 1},
    "ufno": {"width": 2, "modes": 4, "layers": 1, "u_layers": 1, "depth": 1},
    "unet": {"width": 2, "depth": 1},
    "uno": {"width": 4, "modes": 4},
}

#: Loads programs where none but torch is found, and compares them with what is stored.
ALONE = """
import sys
for name in ("kryloset", "neuralop", "tensorly", "lightning_fabric"):
    sys.modules[name] = None
import torch
for name, pairs in torch.load("expected.pt").items():
    operator = torch.export.load(name + ".pt2").module()
    with torch.no_grad():
        for x, u in pairs:
            torch.testing.assert_close(operator(x), u, msg=name)
    print(name)
"""


def build(name, task=TASK) -> Operator:
    torch.manual_seed(0)
    kind = model_class(name)
    network = kind(read_settings(kind, name, SMALL.get(name, {})), task)
    network = network if isinstance(network, GridModel) else OnGrid(network, task)
    channels = len(task.inputs)
    scaling = Scaling(
        [True] + [False] * (channels - 1), [(0.0, 2.0)] * channels, [(1.0, 3.0)], 2,
        masked=task.masked,
    )  # fmt: skip
    operator = Operator(scaling, network).eval()
    settings = network.network if isinstance(network, OnGrid) else network
    settings = read_settings(type(settings), name, SMALL.get(name, {})).model_dump()
    operator.about = {**task.describe(), "model": name, "settings": settings, "where": "grid"}
    return operator


def inputs(count, grid=(8, 9), channels=2):
    return torch.rand(count, channels, *grid) + 0.5


@pytest.mark.slow
def test_torch_alone_loads_each_model_for_batches_of_any_size(tmp_path):
    assert SMALL.keys() == MODELS.keys() - {"cgs"}
    expected = {}
    for name in SMALL:
        operator = build(name)
        export_operator(operator, tmp_path / f"{name}.pt2")
        batches = [inputs(count) for count in (1, 2, 5)]
        with torch.no_grad():
            expected[name] = [(x, operator(x)) for x in batches]
    torch.save(expected, tmp_path / "expected.pt")
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(SMALL)


def test_a_program_has_the_mask_another_grid_and_the_metadata(tmp_path):
    operator = build("fno", MASKED)
    model, path = tmp_path / "model.pt", tmp_path / "model.pt2"
    save_model(model, operator.about, weights(operator))
    export_model.run(model, output=path, grid="12x10")
    x = inputs(2, (12, 10), 3)
    x[:, 2] = 1
    x[:, :, :3, :4] = 0
    about = {ABOUT: ""}
    program = torch.export.load(path, extra_files=about).module()
    with torch.no_grad():
        found, expected = program(x), operator(x)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.isnan(found[:, :, :3, :4]).all()
    told = json.loads(about[ABOUT])
    assert told["inputs"] == list(MASKED.inputs) and told["grid"] == [12, 10]


def test_programs_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_operator(build("fno", replace(TASK, inputs=("k",))), Path("fno.pt2"), (64, 64))
    found = {}
    for block in read_blocks("docs/how-to/models.md")[-2:]:
        exec(block, found)
    assert found["u"].shape == (5, 1, 64, 64)
    assert json.loads(found["about"][ABOUT])["inputs"] == ["k"]


@pytest.mark.parametrize(
    ("name", "task", "about", "grid", "message"),
    [
        ("cgs", TASK, {}, None, "does not follow the network of model cgs"),
        ("transolver", MASKED, {}, None, "transolver maps the points inside of a mask"),
        ("transolver", TASK, {"where": "mesh"}, None, "transolver learnt on meshes"),
        ("fno", TASK, {}, (8,), "a grid of 1 axes: model fno has 2"),
        ("fno", TASK, {}, (9, 0), "a grid of 9x0 points: an axis has 2 at least"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, name, task, about, grid, message):
    operator = build(name, task)
    operator.about |= about
    with pytest.raises(DataError, match=message):
        export_operator(operator, tmp_path / "model.pt2", grid)
    assert not list(tmp_path.iterdir())


def test_a_network_that_torch_does_not_follow_is_refused(tmp_path):
    class Branch(GridModel):
        """Does what it finds."""

        def forward(self, x):
            return x[:, :1] if float(x.mean()) > 1 else x[:, 1:]

    operator = build("fno")
    operator.network = Branch()
    operator.about["model"] = "mine.py:Branch"
    with pytest.raises(DataError, match=r"does not follow the network of model mine\.py:Branch"):
        export_operator(operator, tmp_path / "model.pt2")


@pytest.mark.parametrize("name", ["fno", "transolver"])
def test_a_network_of_one_grid_is_refused_on_another(tmp_path, name):
    operator = build(name)
    network = operator.network
    (network.network if isinstance(network, OnGrid) else network).any_grid = False
    with pytest.raises(DataError, match=rf"12x10 points: model {name} takes that of training"):
        export_operator(operator, tmp_path / "model.pt2", (12, 10))


def test_an_operator_is_afterwards_what_it_was(tmp_path):
    operator, x = build("tfno"), inputs(2)
    with torch.no_grad():
        before = operator(x)
        export_operator(operator, tmp_path / "model.pt2")
        assert torch.equal(operator(x), before)
