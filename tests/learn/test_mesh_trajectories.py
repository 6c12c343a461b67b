# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks on points go along trajectories at the nodes of meshes."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from cooling import cooling, make_cooling  # isort: skip  (DOLFINx needs MPI to be first)

import torch
from torch import nn

from documentation import read_blocks
from kryloset.config import TrainingConfig
from kryloset.dataset.predictions import read_predictions
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.measuring import measure_splits
from kryloset.learn.mesh_measuring import NumberedPairs, OnGridOfMeshes
from kryloset.learn.metrics import relative_l2
from kryloset.learn.models.fno import FNO
from kryloset.learn.models.graph_solver import GraphSolver
from kryloset.learn.operator import unroll
from kryloset.learn.pairs import find_place
from kryloset.run import baselines, evaluate, train
from kryloset.torch import MeshPairs, Operator, Scaling, load_model
from small_sets import make_small, small_config

SETTINGS = {
    "cgs": {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5},
    "gino": {"latent": 4, "modes": 2, "width": 4, "layers": 1},
    "transolver": {"width": 8, "layers": 1, "heads": 2, "slices": 4, "reference": 2},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_cooling(tmp_path_factory.mktemp("cooling") / "dataset.h5")


def configure(name, **training):
    training = {"model": name, "settings": {name: SETTINGS[name]}, "epochs": 2} | training
    return small_config("poisson", **cooling(count=8, training=training))


@pytest.mark.parametrize("keys", [{}, {"steps": 3}, {"window": 2, "stride": 2, "bundle": 1}])
def test_at_nodes_that_are_points_of_the_grid_pairs_are_those_of_the_grid(keys, tmp_path):
    path = make_small(tmp_path / "heat.h5", "heat", parameters={"steps": 5, "modes": 4})
    keys = {"window": 1} | keys
    at_nodes, on_grid = MeshPairs(path, "train", **keys), FieldPairs(path, "train", **keys)
    states = [name for name in at_nodes.inputs if name.startswith("u")]
    assert at_nodes.inputs == ("k", "f", "boundary", *states)
    assert on_grid.inputs == ("k", "f", *states) and at_nodes.outputs == on_grid.outputs
    assert len(at_nodes) == len(on_grid) and at_nodes.steps == on_grid.steps
    for item in (0, len(on_grid) - 1):
        (x, y), (u, v) = at_nodes.arrays(item), on_grid.arrays(item)
        flat = [np.moveaxis(values.reshape(*values.shape[:-2], -1), -1, 0) for values in (u, v)]
        np.testing.assert_array_equal(np.delete(x, 2, axis=1), flat[0])
        np.testing.assert_array_equal(y, flat[1])


def test_states_at_nodes_of_their_own_are_the_stored_ones(made):
    pairs = MeshPairs(made, "train", window=2, stride=2, steps=None)
    assert pairs.inputs[-2:] == ("u_0", "u_1") and pairs.steps == 2 and len(pairs) == 4
    x, y = pairs.arrays(1)
    with Dataset(made) as data:
        states = data.solution(int(pairs.instances[1]))["u_dofs"]
        np.testing.assert_allclose(pairs.times, data.times[::2])
    np.testing.assert_array_equal(x[:, -2:].T, states[[0, 2]])
    np.testing.assert_array_equal(y[..., 0].T, states[[4, 6]])
    with pytest.raises(DataError, match="there are no 8 that are 1 steps apart"):
        MeshPairs(made, "train", window=7)


class Persistence:
    """What stands for an operator, and predicts the last known state again."""

    def __init__(self, pairs):
        """Keep what is asked of an operator."""
        self.about, self.scaling = {"inputs": pairs.inputs}, Scaling.fit(pairs)

    def __call__(self, x, points):
        """Return the last state."""
        return x[:, -1:]

    def roll_out(self, x, steps, points):
        """Return the last known state each time."""
        return x[:, -1:].expand(-1, steps)[..., None]


def test_persistence_at_the_nodes_has_the_errors_of_persistence_on_the_grid(made, tmp_path):
    """Where a state is as it was, it does not matter that it was carried along at the nodes."""
    baselines.run(made, output=tmp_path / "baselines.json")
    expected = json.loads((tmp_path / "baselines.json").read_text())["persistence"]
    keys = {"window": 1, "steps": None}
    meshes = MeshPairs(made, "train", **keys)
    for points, on_grid in ((None, expected), (7, expected["grids"]["7"])):
        pairs = NumberedPairs(made, "test", points=points, **keys)
        predict = OnGridOfMeshes(Persistence(meshes), meshes, pairs.coordinates)
        found = measure_splits(predict, {"test": pairs})["test"]
        for name, mean in on_grid["errors"]["test"].items():
            assert found.means()[name] == pytest.approx(mean, rel=1e-5), name
        told, there = found.rollout.describe(), on_grid["rollout"]["test"]
        np.testing.assert_allclose(told["times"], there["times"])
        for name, errors in there["errors"].items():
            np.testing.assert_allclose(told["errors"][name], errors, rtol=1e-5)
        for kind in ("mean", "variance", "spectrum"):
            for of in ("predicted", "true"):
                parts = [x["fields"]["u"][kind][of] for x in (told, there)]
                np.testing.assert_allclose(*parts, rtol=1e-4, atol=1e-8)


class Near(nn.Module):
    """A map of each node and of its neighbours."""

    def __init__(self, channels):
        """Draw the weights."""
        super().__init__()
        self.first, self.last = nn.Linear(channels, 5), nn.Linear(5, 1)

    def forward(self, x, points):
        """Return outputs (P, 1)."""
        here, there = points.edges
        hidden = self.first(x).tanh()
        return self.last(hidden + torch.zeros_like(hidden).index_add(0, here, hidden[there]))


@pytest.mark.parametrize("norm", ["l2", "h1"])
def test_the_gradient_goes_through_all_steps_at_the_nodes(norm, made):
    """It is the difference quotient of the loss of three steps in a row."""
    pairs = MeshPairs(made, "train", window=1, steps=3)
    torch.manual_seed(0)
    operator = Operator(Scaling.fit(pairs), Near(len(pairs.inputs))).double()
    batch = pairs.join([pairs[0], pairs[5]])
    batch = replace(batch, x=batch.x.double(), y=batch.y.double())
    weight = operator.network.first.weight

    def loss():
        return batch.loss(norm, unroll(operator, 3)(*batch.arguments))

    loss().backward()
    values = []
    for change in (1e-6, -2e-6):
        with torch.no_grad():
            weight[0, -1] += change
            values.append(float(loss()))
    slope = float(weight.grad[0, -1])
    assert slope and (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_loss_and_errors_of_several_steps_are_those_of_each(made):
    pairs = MeshPairs(made, "train", window=1, steps=3)
    batch = pairs.join([pairs[0], pairs[4]])
    found = 0.9 * batch.y + 0.1
    each = [replace(batch, y=batch.y[:, step]) for step in range(3)]
    losses = [float(one.loss("h1", found[:, step])) for step, one in enumerate(each)]
    assert float(batch.loss("h1", found)) == pytest.approx(np.mean(losses), rel=1e-5)
    errors = np.stack([one.relative_l2(found[:, step]) for step, one in enumerate(each)], axis=1)
    np.testing.assert_allclose(batch.relative_l2(found), errors, rtol=1e-6)
    assert errors.shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("cgs", {}),
        ("gino", {"steps": 3}),
        ("transolver", {"window": 3, "bundle": 2}),
    ],
)
def test_from_trajectories_at_nodes_to_a_model_that_rolls_out(name, keys, made, tmp_path):
    config = configure(name, **keys)
    model, history = tmp_path / "model.pt", tmp_path / "history.json"
    train.run(config, data=made, model=model, history=history)
    operator = load_model(model)
    assert operator.about["where"] == "mesh" and operator.about["window"] == keys.get("window", 1)
    metrics, shown = tmp_path / "metrics.json", tmp_path / "predictions.h5"
    evaluate.run(model, data=made, metrics=metrics, predictions=shown)
    found = json.loads(metrics.read_text())
    rollout = found["rollout"]["test"]
    bundle = keys.get("bundle", 1)
    pairs = operator.trajectories(made, "test")
    assert len(rollout["errors"]["relative_l2"]) == pairs.steps * bundle
    last_states = FieldPairs(made, "test")
    _, truth = last_states.stack(range(len(pairs)))
    points = np.stack(np.meshgrid(*last_states.coordinates, indexing="ij"), axis=-1)
    rolled = []
    for item in range(len(pairs)):
        with torch.no_grad():
            states = operator.roll_out(pairs[item].x, pairs.steps, pairs[item].points).double()
        on_grid = pairs.mesh(item).evaluate(points.reshape(-1, 2))
        rolled.append(on_grid(states[:, -1, -1:].numpy()).reshape(truth[0].shape))
    last = relative_l2(np.stack(rolled), truth, last_states.closed_coordinates)
    assert rollout["errors"]["relative_l2"][-1] == pytest.approx(last.mean(), rel=1e-4)
    assert len(read_predictions(shown).error) == 3
    evaluate.run(model, data=made, metrics=metrics, steps=pairs.steps + 3)
    longer = json.loads(metrics.read_text())["rollout"]["test"]
    assert longer["errors"] == rollout["errors"]
    assert len(longer["times"]) == len(rollout["times"]) + 3 * bundle
    assert len(longer["fields"]["u"]["variance"]["predicted"]) == len(longer["times"])


def test_nodes_of_their_own_are_where_a_network_on_points_learns(made, tmp_path):
    heat = make_small(tmp_path / "heat.h5", "heat")
    for path, kind, keys, place in (
        (made, GraphSolver, {}, "mesh"),
        (made, GraphSolver, {"steps": 2}, "mesh"),
        (made, GraphSolver, {"where": "grid"}, "grid"),
        (made, FNO, {}, "grid"),
        (heat, GraphSolver, {}, "grid"),
        (heat, GraphSolver, {"where": "mesh"}, "mesh"),
    ):
        assert find_place(path, kind, TrainingConfig(**keys)) == place


def test_the_program_of_the_page_rolls_out_at_the_nodes(made, tmp_path, monkeypatch):
    results = tmp_path / "results/plate"
    model = results / "models/gino/0/model.pt"
    train.run(
        configure("gino", epochs=1), data=made, model=model, history=tmp_path / "history.json"
    )
    (results / "dataset.h5").symlink_to(made)
    monkeypatch.chdir(tmp_path)
    *_, program = read_blocks("docs/how-to/trajectories.md")
    found = {}
    exec(program, found)
    assert found["states"].shape == found["batch"].y.shape
