# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""States that are predicted at the nodes of meshes have the residuals of their time steps."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from cooling import SPLITS, cooling, make_cooling  # isort: skip  (DOLFINx needs MPI to be first)

import torch
from differences import check_gradient, disturbed

from kryloset.config import TrainingConfig
from kryloset.dataset.reader import Dataset
from kryloset.errors import ConfigError
from kryloset.learn.data import FieldPairs
from kryloset.learn.models.registry import check_training
from kryloset.problems import load_family
from kryloset.run import evaluate, train
from kryloset.run.equations import open_equations
from kryloset.torch import MeshPairs, load_model
from small_sets import make_small, small_config

MARCHES = ({"window": 1, "steps": 3}, {"window": 2, "bundle": 2}, {"window": 1, "stride": 2})
NETWORKS = {
    "cgs": {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5},
    "gino": {"latent": 4, "modes": 2, "width": 4, "layers": 1},
    "transolver": {"width": 8, "layers": 1, "heads": 2, "slices": 4, "reference": 2},
}
#: Sets whose nodes are the points of the grid: one field with a step of one state, and two fields.
ON_THE_GRID = ("heat", "kuramoto_sivashinsky")


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A set whose nodes are no points of the grid."""
    return make_cooling(tmp_path_factory.mktemp("cooling") / "dataset.h5")


@pytest.fixture(scope="module", params=ON_THE_GRID)
def on_grid(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "dataset.h5"
    return make_small(path, request.param, splits={"train": 0.5, "valid": 0.5})


def join(pairs, *items):
    return pairs.join([pairs[item] for item in items])


@pytest.mark.parametrize("march", MARCHES)
def test_a_batch_has_the_states_of_each_instance_one_after_another(march, plate):
    pairs = MeshPairs(plate, "train", **march)
    batch = join(pairs, 1, len(pairs) - 1)
    first = {1: [2, 3, 4], 2: [3, 4]}[march["window"]] if "stride" not in march else [3]
    assert batch.states.tolist()[0] == first
    parts = batch.separate(batch.y)
    with Dataset(plate) as data:
        for row, numbers, part in zip(batch.rows, batch.states, parts, strict=True):
            states = data.solution(int(row))["u_dofs"][numbers.numpy()]
            np.testing.assert_allclose(part[..., 0], states, rtol=1e-6)


@pytest.mark.parametrize("march", MARCHES)
def test_stored_states_solve_each_step_at_the_nodes_and_others_do_not(march, plate):
    pairs, equations = MeshPairs(plate, "train", **march), open_equations(plate, "mesh")
    for item in (0, len(pairs) - 1):
        batch, (_, y) = pairs[item], pairs.arrays(item)
        (states,) = batch.separate(torch.from_numpy(y))
        equation, numbers = equations[batch.rows[0]], batch.states[0].tolist()
        assert equation.residuals(states, numbers).max() < 2e-8
        assert equation.residuals(disturbed(states), numbers).min() > 1e-3


@pytest.mark.parametrize("march", MARCHES)
def test_a_set_whose_nodes_are_points_of_the_grid_has_the_same_residuals_there(march, on_grid):
    grid, mesh = FieldPairs(on_grid, "train", **march), MeshPairs(on_grid, "train", **march)
    y = disturbed(torch.from_numpy(grid.stack([0, 1])[1]))
    found = open_equations(on_grid).loss(grid.join([grid[0], grid[1]]), y)
    # (N, S, K, *grid) becomes (P, S, K), the nodes of one instance after those of another.
    at_nodes = y.flatten(-len(grid.grid)).movedim(-1, 1).flatten(0, 1)
    batch = join(mesh, 0, 1)
    assert at_nodes.shape == batch.y.shape
    expected = open_equations(on_grid, "mesh").loss(batch, at_nodes)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("march", MARCHES)
def test_the_gradient_of_the_loss_goes_through_all_steps_at_the_nodes(march, plate):
    pairs, equations = MeshPairs(plate, "train", **march), open_equations(plate, "mesh")
    batch = join(pairs, 0, len(pairs) - 1)
    assert check_gradient(lambda y: equations.loss(batch, y), disturbed(batch.y.double()))


def test_descent_on_the_residuals_alone_finds_the_trajectory(plate):
    """Of three steps, of which only the state before the first one is known."""
    pairs, equations = MeshPairs(plate, "train", window=1, steps=3), open_equations(plate, "mesh")
    batch, truth = pairs[0], torch.from_numpy(pairs.arrays(0)[1])
    equation, numbers = equations[batch.rows[0]], batch.states[0].tolist()
    known = batch.x[:, -1:, None].double()
    prediction = known.expand_as(truth).clone().requires_grad_()
    assert (prediction - truth).norm() > 0.1 * truth.norm()
    optimiser = torch.optim.LBFGS([prediction], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        (states,) = batch.separate(prediction)
        found = equation.residuals(states, numbers).square().sum()
        found.backward()
        return found

    optimiser.step(loss)
    assert (prediction - truth).norm() < 1e-2 * truth.norm()


@pytest.mark.parametrize(
    ("name", "march"),
    [("cgs", {}), ("gino", {"steps": 3}), ("transolver", {"window": 3, "bundle": 2})],
)
def test_a_fine_tuning_at_the_nodes_makes_residuals_smaller(name, march, plate, tmp_path):
    usual = {"model": name, "settings": {name: NETWORKS[name]}, "epochs": 1, "batch_size": 4}
    found = {}
    for label, more in {
        "without": {},
        "with": {"residual": 1.0, "start": str(tmp_path / "without.pt"), "learning_rate": 1e-2},
    }.items():
        config = small_config("poisson", **cooling(count=8, training=usual | march | more))
        check_training(config.training, load_family(config))
        model, metrics = tmp_path / f"{label}.pt", tmp_path / f"{label}.json"
        train.run(
            config,
            data=plate,
            model=model,
            history=tmp_path / "history.json",
            equations=open_equations,
        )
        evaluate.run(model, data=plate, metrics=metrics, steps=9, equations=open_equations)
        found[label] = json.loads(metrics.read_text())
    before, after = (found[label]["errors"]["train"]["residual"] for label in found)
    assert 0 < after < before
    single, along = _measure(load_model(model), plate)
    told = found["with"]
    assert told["errors"]["test"]["residual"] == pytest.approx(single, rel=1e-3)
    assert told["rollout"]["test"]["errors"]["residual"] == pytest.approx(along, rel=1e-3)


def _measure(operator, path):
    """Return the mean residual of single steps, and those along rollouts."""
    pairs, equations = operator.trajectories(path, "test"), open_equations(path, "mesh")
    single, along = [], []
    for item in range(len(pairs)):
        batch = pairs[item]
        equation, numbers = equations[batch.rows[0]], batch.states[0].tolist()
        with torch.no_grad():
            rolled = operator.roll_out(batch.x, pairs.steps, batch.points)
            known = pairs.states.inputs(batch.x, batch.y).unbind(dim=1)
            each = [operator(x, batch.points) for x in known]
        bundle = len(numbers) // pairs.steps
        along.append(equation.residuals(rolled.flatten(1).T[..., None], numbers).numpy())
        for step, states in enumerate(each):
            those = numbers[step * bundle : (step + 1) * bundle]
            single.append(equation.residual(states.T[..., None], those).item())
    return np.mean(single), np.mean(along, axis=0)


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"model": "gino"}, ""),
        ({"model": "cgs", "window": 0}, ""),
        (
            {"model": "gino", "where": "grid"},
            r"u_dofs are not .* at the nodes, with `where: mesh`; take 0$",
        ),
        ({"model": "fno"}, r"u_dofs are not .* at the nodes, with `where: mesh`; take 0$"),
    ],
)
def test_what_is_advised_where_there_is_no_residual_has_one(training, told):
    config = small_config("poisson", **cooling(splits=SPLITS))
    found, family = TrainingConfig(residual=0.1, **training), load_family(config)
    if not told:
        check_training(found, family)
        return
    with pytest.raises(ConfigError, match=rf"training\.residual: .*{told}"):
        check_training(found, family)
    check_training(TrainingConfig(residual=0.1, model="gino", where="mesh"), family)
