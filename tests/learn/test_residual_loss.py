# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Residuals of predictions are learned, on grids and at the nodes of meshes."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from documentation import ROOT
from kryloset.config import DatasetConfig, TrainingConfig
from kryloset.errors import ConfigError, DataError
from kryloset.learn import equations
from kryloset.learn.data import FieldPairs
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.models.registry import check_training
from kryloset.learn.operator import load_model, weights
from kryloset.learn.training import Training
from kryloset.problems import load_family
from kryloset.provenance import closure
from kryloset.run import evaluate, train
from kryloset.run.equations import open_equations
from kryloset.run.one_process import make
from small_sets import make_small, small_config

SPLITS = {"train": 0.5, "valid": 0.5}
NETWORK = {"settings": {"fno": {"modes": 2, "width": 2, "layers": 1}}}


def make_darcy(folder: Path, **changes) -> Path:
    config = {
        "parameters": {"modes": 4},
        "count": 6,
        "mesh": {"points": 9},
        "splits": SPLITS,
    }
    return make(DatasetConfig.model_validate(config | changes), "set", folder)


@pytest.fixture(scope="module")
def darcy(tmp_path_factory) -> Path:
    return make_darcy(tmp_path_factory.mktemp("darcy"))


@pytest.fixture(scope="module", params=["thermal", "thermal_polygons"])
def mesh(request, tmp_path_factory) -> Path:
    """A set whose nodes are no points of the grid, on one mesh or on one for each instance."""
    path = tmp_path_factory.mktemp(request.param) / "dataset.h5"
    return make_small(path, request.param, splits=SPLITS)


def begin(path: Path, checkpoint: Path, **settings) -> Training:
    """Begin a training on the grid with residuals, if `settings` ask for them."""
    settings = TrainingConfig.model_validate(NETWORK | {"epochs": 3, "batch_size": 2} | settings)
    pairs = [FieldPairs(path, split) for split in ("train", "valid")]
    opened = open_equations(path) if settings.residual else None
    return Training(*pairs, settings, checkpoint=checkpoint, code="", equations=opened)


def test_the_loss_has_the_mean_residual_as_often_as_its_weight_says(darcy, tmp_path):
    twice, never = (begin(darcy, tmp_path / "c", residual=weight) for weight in (2.0, 0.0))
    (batch, *_) = twice.loader
    prediction = twice.optimisation.operator(batch.x)
    each = [
        float(open_equations(darcy)[row].residual(one))
        for row, one in zip(batch.rows.tolist(), prediction.detach(), strict=True)
    ]
    added = twice.optimisation.loss(prediction, batch) - never.optimisation.loss(prediction, batch)
    assert added.item() == pytest.approx(2 * np.mean(each), rel=1e-4)
    instances = FieldPairs(darcy, "train").instances
    assert set(batch.rows.tolist()) <= set(instances.tolist())


@pytest.mark.parametrize("room", [0, equations.REMEMBERED])
def test_a_system_is_the_same_whether_it_is_remembered_or_assembled_again(darcy, room, monkeypatch):
    monkeypatch.setattr(equations, "REMEMBERED", room)
    pairs, opened = FieldPairs(darcy, "train"), open_equations(darcy)
    batch = pairs.join([pairs[item] for item in range(len(pairs))])
    guess = torch.rand_like(batch.y)
    first, second = (opened.loss(batch, guess) for _ in range(2))
    expected = [float(opened[row].residual(p)) for row, p in zip(batch.rows, guess, strict=True)]
    assert first == second == pytest.approx(np.mean(expected), rel=1e-6)


def test_a_training_with_residuals_makes_them_smaller(darcy, tmp_path):
    pairs, opened = FieldPairs(darcy, "train"), open_equations(darcy)
    batch = pairs.join([pairs[item] for item in range(len(pairs))])
    found = {}
    for weight in (0.0, 1.0):
        training = begin(
            darcy, tmp_path / f"{weight}", residual=weight, epochs=10, learning_rate=2e-2
        )
        training.run()
        with torch.no_grad():
            found[weight] = float(opened.loss(batch, training.optimisation.operator(batch.x)))
    assert found[1.0] < 0.8 * found[0.0]


def test_a_training_with_residuals_resumes_to_the_same_weights(darcy, tmp_path):
    constant = {"residual": 0.5, "schedule": "constant"}
    whole = begin(darcy, tmp_path / "whole", **constant)
    whole.run()
    begin(darcy, tmp_path / "cut", **constant, epochs=1).run()
    resumed = begin(darcy, tmp_path / "cut", **constant)
    assert resumed.record.epochs == 1
    resumed.run()
    first, second = weights(whole.optimisation.operator), weights(resumed.optimisation.operator)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_solutions_at_the_nodes_of_meshes_solve_the_equations_there(mesh):
    pairs, opened = MeshPairs(mesh, "train"), open_equations(mesh, "mesh")
    batch = pairs.join([pairs[0], pairs[1]])
    # They are in float32, whose rounding A amplifies.
    assert opened.loss(batch, batch.y) < 1e-3
    assert opened.loss(batch, 0 * batch.y) == pytest.approx(1, rel=1e-6)
    exact = [pairs.arrays(item)[1] for item in range(2)]
    assert opened.residuals(pairs.instances, exact).max() < 2e-8
    assert opened.residuals(pairs.instances, exact[::-1] if pairs.shared else exact).max() < 10
    guess = batch.y.double().mul(1.1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: opened.loss(batch, values), guess, eps=1e-6, atol=1e-4, rtol=1e-3
    )


def test_a_set_whose_nodes_are_points_of_the_grid_has_the_same_residuals_there(darcy):
    on_grid, on_mesh = FieldPairs(darcy, "train"), MeshPairs(darcy, "train")
    first, second = open_equations(darcy), open_equations(darcy, "mesh")
    rows = on_grid.instances[:1]
    y, at_nodes = on_grid.arrays(0)[1], on_mesh.arrays(0)[1]
    noise = np.random.default_rng(0).standard_normal(y.shape)
    found = [
        first.residuals(rows, (y + noise)[None]),
        second.residuals(rows, (at_nodes + noise.reshape(at_nodes.shape))[None]),
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-10)


def test_an_operator_on_meshes_learns_residuals_and_is_measured_by_them(mesh, tmp_path):
    small = {"cgs": {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5}}
    training = {"model": "cgs", "settings": small, "epochs": 1, "residual": 0.1}
    config = small_config(
        "thermal" if mesh.parent.name.startswith("thermal0") else "thermal_polygons",
        splits=SPLITS,
        training=training,
    )
    model, metrics = tmp_path / "model.pt", tmp_path / "metrics.json"
    history = tmp_path / "history.json"
    train.run(config, data=mesh, model=model, history=history, equations=open_equations)
    evaluate.run(model, data=mesh, metrics=metrics, equations=open_equations)
    errors = json.loads(metrics.read_text())["errors"]["valid"]
    pairs, operator = MeshPairs(mesh, "valid"), load_model(model)
    with torch.no_grad():
        found = [operator(pairs[item].x, pairs[item].points).numpy() for item in range(len(pairs))]
    expected = open_equations(mesh, "mesh").residuals(pairs.instances, found).mean()
    assert errors["residual"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("family", "training", "told"),
    [
        ("heat", {}, ""),
        ("reaction_diffusion", {}, ""),
        ("thermal", {}, "unknowns T_dofs are not values at the points"),
        ("thermal", {"model": "cgs", "where": "grid"}, "unknowns T_dofs"),
        ("thermal", {"model": "cgs"}, ""),
        ("darcy", {}, ""),
    ],
)
def test_residuals_that_are_not_known_are_refused_before_any_work(family, training, told):
    config, training = small_config(family), TrainingConfig(residual=1.0, **training)
    if not told:
        check_training(training, load_family(config))
        return
    with pytest.raises(ConfigError, match=rf"training\.residual: .*{told}.*; take 0"):
        check_training(training, load_family(config))


def test_residuals_on_a_further_grid_are_refused():
    with pytest.raises(ValueError, match="residual: equations are those on the grid"):
        TrainingConfig(residual=1.0, grids=[33])


def test_nothing_of_a_training_without_residuals_assembles():
    """An edit of the assembly trains no model again that has not learned by it."""
    assert not any(name.startswith("kryloset.fem") for name in closure("kryloset.run.train"))


def test_a_family_of_ones_own_has_its_equations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (ROOT / "src/kryloset/problems/poisson.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    path = make_darcy(tmp_path, family="mine.py:Poisson", parameters={})
    pairs = FieldPairs(path, "train")
    assert open_equations(path).residuals(pairs.instances, pairs.stack(range(3))[1]).max() < 2e-8
    shutil.rmtree(tmp_path / "mine.py", ignore_errors=True)
    (tmp_path / "mine.py").write_text(f"{source}\n# edited")
    with pytest.raises(DataError, match="is not the text the dataset was made with"):
        open_equations(path)
