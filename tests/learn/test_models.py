# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks: what every one keeps to, their coordinates and neighbours, their names and settings."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from own_models import Local

from documentation import ROOT
from kryloset.config import DatasetConfig, TrainingConfig
from kryloset.errors import ConfigError
from kryloset.learn.models.base import (
    GridModel,
    OnGrid,
    PointModel,
    Points,
    Task,
    grid_points,
    unit_coordinates,
    with_coordinates,
)
from kryloset.learn.models.registry import (
    MODELS,
    check_training,
    model_class,
    model_modules,
    read_settings,
)
from kryloset.problems import load_family

#: Settings of small networks.
SMALL = {
    "fno": {"width": 2, "modes": 4, "layers": 1},
    "tfno": {"width": 4, "modes": 4, "layers": 1, "rank": 0.5},
    "uno": {"width": 2, "modes": 4},
}

OWN = Path(__file__).with_name("own_models.py")


def make_task(dimensions=2, points=(8, 9, 10), periodic=False, masked=False) -> Task:
    axes = tuple(np.linspace(0, 2, n) for n in points[:dimensions])
    inputs = ("k", "f", "inside") if masked else ("k", "f")
    return Task(inputs, ("u", "v", "p"), axes, (periodic,) * dimensions, dimensions)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_a_model_maps_functions_in_any_dimension_and_learns(name, dimensions):
    task, kind = make_task(dimensions), model_class(name)
    torch.manual_seed(0)
    network = kind(read_settings(kind, name, SMALL[name]), task)
    network = network if isinstance(network, GridModel) else OnGrid(network, task)
    outputs = network(torch.rand(3, 2, *(8, 9, 10)[:dimensions]))
    assert outputs.shape == (3, 3, *(8, 9, 10)[:dimensions])
    outputs.square().mean().backward()
    slopes = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert slopes and all(torch.isfinite(slope).all() for slope in slopes)
    assert sum(float(slope.abs().sum()) for slope in slopes) > 0
    assert kind.__doc__ and kind.learning_rate > 0


def test_unit_coordinates_are_those_of_the_points_and_divide_an_axis_as_they_do():
    walls = 1 - np.cos(np.pi * np.arange(5) / 4)
    task = Task(("k",), ("u",), (walls, np.arange(4) / 2), (False, True), 2)
    x = torch.zeros(3, 1, 5, 4, dtype=torch.float64)
    first, second = unit_coordinates(task, x)
    np.testing.assert_allclose(first[:, 2], walls / 2)
    np.testing.assert_allclose(second[3], [0, 0.25, 0.5, 0.75])
    finer = unit_coordinates(task, torch.zeros(3, 1, 9, 8, dtype=torch.float64))
    assert torch.equal(finer[0, ::2, 0], first[:, 0])
    np.testing.assert_allclose(finer[1, 0], np.arange(8) / 8)
    both = with_coordinates(task, x)
    assert both.shape == (3, 3, 5, 4) and torch.equal(both[1, 1], first)


@pytest.mark.parametrize("periodic", [False, True])
def test_neighbours_on_a_grid_are_the_points_one_step_away(periodic):
    task = make_task(points=(4, 5), periodic=periodic)
    inside = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.3
    points = grid_points(task, inside)
    places = inside.nonzero()
    assert points.count == 3 and torch.equal(points.instance, places[:, 0])
    step = (places[:, None] - places).abs()
    if periodic:
        step[..., 1:] = torch.minimum(step[..., 1:], torch.tensor([4, 5]) - step[..., 1:])
    near = (step[..., 0] == 0) & (step[..., 1:].sum(-1) == 1)
    assert {*map(tuple, points.edges.T.tolist())} == {*map(tuple, near.nonzero().tolist())}
    assert len(points.edges.T) == near.sum()


def test_a_point_model_on_a_grid_sees_only_points_inside():
    task = make_task(points=(4, 5), masked=True)
    torch.manual_seed(0)
    network = Local(Local.Settings(), task)
    x = torch.rand(2, 3, 4, 5)
    x[:, -1] = torch.rand(2, 4, 5) > 0.4
    outputs = OnGrid(network, task)(x)
    outside = x[:, -1:] == 0
    assert (outputs[outside.expand_as(outputs)] == 0).all()
    changed = torch.where(outside, torch.tensor([9.0, 9.0, 1.0])[:, None, None] * x, x)
    assert torch.equal(OnGrid(network, task)(changed), outputs)
    # An instance does not know of the other ones of its batch.
    alone = OnGrid(network, task)(x[1:])
    torch.testing.assert_close(alone[0], outputs[1])


def test_points_move_to_a_device_together():
    points = Points(torch.zeros(2, 1), torch.zeros(2).long(), 1, torch.zeros(2, 0).long())
    moved = points.to(torch.device("meta"))
    assert {moved.positions.device.type, moved.instance.device.type, moved.edges.device.type} == {
        "meta"
    }


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"model": "fnoo"}, "model 'fnoo' is unknown: take one of .*fno"),
        ({"settings": {"fno": {"with": 3}}}, "with: no such key: is `width` meant"),
        ({"settings": {"fno": {"width": 1}}}, "width: Input should be greater than or equal to 2"),
        (
            {"where": "mesh"},
            "training.where: model 'fno' learns on grids alone: take `auto` or `grid`",
        ),
        (
            {"model": "cgs", "optimiser": "adahessian"},
            "training.optimiser: adahessian .* model 'cgs' has no second derivative",
        ),
        ({"model": "none.py:Net"}, "model 'none.py:Net': there is no file none.py"),
        ({"model": f"{OWN}:Net"}, "has no class 'Net' that derives from GridModel or PointModel"),
        ({"model": f"{OWN}:nn"}, "has no class 'nn'"),
        (
            {"model": f"{OWN}:Pointwise", "settings": {"Pointwise": {"width": 0}}},
            "settings of model .*own_models.py:Pointwise cannot be run:\n  width",
        ),
    ],
)
def test_a_wrong_model_is_refused_before_any_work(training, message):
    with pytest.raises(ConfigError, match=message):
        check_training(TrainingConfig.model_validate(training), load_family(DatasetConfig()))


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"model": []}, "model: the list is empty"),
        ({"model": ["fno", "fno"]}, "model: 'fno' is there twice"),
        ({"model": ["a.py:Net", "b.py:Net"]}, "model: 'Net' is there twice"),
        ({"model": "a.py:1"}, "what follows the last colon is no class"),
        ({"seeds": [1, 1]}, "seeds: 1 is there twice"),
    ],
)
def test_trainings_that_are_not_told_apart_are_refused(training, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig.model_validate(training)


def test_the_code_of_a_model_is_its_own_or_that_of_all_which_it_may_make(monkeypatch):
    assert model_modules("fno") == ("kryloset.learn.models.fno",)
    assert model_modules("mine.py:Net") == ()
    monkeypatch.setitem(MODELS, "wrapper", ("kryloset.learn.models.catalogue", "Wrapper"))
    assert {*model_modules("wrapper")} == {module for module, _ in MODELS.values()}


def test_the_page_on_models_has_each_of_them_and_where_it_works():
    text = (ROOT / "docs/how-to/models.md").read_text(encoding="utf-8")
    table = text.partition("| works on |\n")[2].partition("\n\n")[0]
    rows = table.splitlines()[1:]
    found = {row.split("`")[1]: row.split("|")[-2].strip() for row in rows}
    assert [*found] == [*MODELS]
    for name, where in found.items():
        kind = model_class(name)
        assert where == ("any points" if issubclass(kind, PointModel) else "grids"), name


def test_the_command_lists_models_and_their_settings():
    def say(*arguments):
        command = [sys.executable, "-m", "kryloset", "models", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    listed = say()
    assert all(f"\n{name} " in f"\n{listed}" for name in MODELS)
    assert "learning_rate: 0.01" in say("fno") and "  width: 16    # Hidden channels." in say("fno")
    assert "The same affine map" in say(f"{OWN}:Pointwise")
