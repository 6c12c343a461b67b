# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Operators that go along trajectories: what they learn from, and what is measured of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from spreading import make_trajectories
from torch import nn

from documentation import read_blocks
from kryloset.config import TrainingConfig
from kryloset.dataset.predictions import read_predictions
from kryloset.errors import ConfigError, DataError
from kryloset.learn.march import March
from kryloset.learn.measuring import measure_splits
from kryloset.learn.models.base import Task
from kryloset.learn.models.stagger import NeuralStagger
from kryloset.learn.operator import save_model, unroll, weights
from kryloset.learn.pairs import count_pairs
from kryloset.learn.states import States
from kryloset.learn.training import Training
from kryloset.run import baselines, evaluate, train
from kryloset.torch import FieldPairs, Operator, Scaling, load_model
from small_sets import make_small

TIMES = np.linspace(0, 0.06, 7)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_trajectories(tmp_path_factory.mktemp("spreading") / "dataset.h5")


def whole(data, split="test", **settings):
    return FieldPairs(data.path, split, **{"window": 1, "steps": None} | settings)


def test_an_initial_state_among_the_parameters_is_no_input_beside_states(made):
    assert whole(made).inputs == ("f", "u")
    assert FieldPairs(made.path, "test").inputs == ("u0", "f")


def test_an_initial_state_is_that_of_all_instances(made, tmp_path):
    """One of them may begin at rest, or with the values of another parameter."""
    for row, values, told in ((0, 0.0, ("f", "u")), (3, None, ("u0", "f", "u"))):
        path = Path(shutil.copy(made.path, tmp_path))
        with h5py.File(path, "r+") as file:
            if values is not None:
                file["t0_fields/u"][row, 0] = file["t0_fields/u0"][row] = values
            else:
                file["t0_fields/u0"][row] = file["t0_fields/f"][row]
        assert FieldPairs(path, "train", window=1).inputs == told
    with h5py.File(path, "r+") as file:
        file["t0_fields/u"][:, 0] = file["t0_fields/u0"][:] = 0
    assert FieldPairs(path, "train", window=1).inputs == ("u0", "f", "u")


def test_a_rollout_drops_the_earliest_state_and_keeps_the_rest():
    """Fibonacci's numbers: the next state is the sum of two, beside a parameter and a mask."""
    states = States(first=1, window=2, fields=1)
    x = torch.tensor([7.0, 1.0, 1.0, 9.0]).reshape(1, 4, 1)
    seen = []

    def add(inputs):
        seen.append(inputs[0, [0, 3], 0].tolist())
        return inputs[:, 1:2] + inputs[:, 2:3]

    found = states.roll_out(add, x, 5)
    assert found.shape == (1, 5, 1, 1) and found.flatten().tolist() == [2, 3, 5, 8, 13]
    assert seen == [[7.0, 9.0]] * 5
    both = States(first=1, window=2, fields=1, bundle=2)
    pairs = both.roll_out(lambda i: torch.cat((add(i), add(i) + i[:, 2:3]), dim=1), x, 2)
    assert pairs.flatten().tolist() == [2, 3, 5, 8]
    seen.clear()
    known = states.inputs(x, found)
    assert known[0, :, 1:3, 0].tolist() == [[1, 1], [1, 2], [2, 3], [3, 5], [5, 8]]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, March(1, 1)),
        ({"window": 2}, March(2, 1)),
        ({"window": 0}, March(0, 1)),
        ({"stride": 3, "steps": 2}, March(1, 3)),
        ({"bundle": 2}, March(2, 1, 2)),
    ],
)
def test_an_operator_sees_one_state_unless_told_otherwise(keys, expected):
    assert March.choose(TIMES, **keys) == expected
    assert March.choose(None) == March.choose(np.array([0.0, 0.5, 2.0])) == March(0, 1)
    assert March.choose(np.linspace(0, 1, 402)).stride == 21  # 20 steps are at most 401


@pytest.mark.parametrize(
    ("times", "keys", "told"),
    [
        (TIMES, {"window": 7}, "window 7, stride 1, bundle 1 and steps 1 need 7 time .* has 6"),
        (TIMES, {"stride": 3, "steps": 3}, "need 9 time steps, and a trajectory has 6"),
        (None, {"window": 1}, "the family has none of one length"),
        (None, {"steps": 2}, "the family has none of one length"),
        (TIMES, {"window": 1, "bundle": 2}, "2 states are predicted from .* is 1: raise it"),
    ],
)
def test_trajectories_that_are_too_short_are_refused(times, keys, told):
    with pytest.raises(ConfigError, match=told):
        March.choose(times, **keys)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"window": 0, "steps": 2}, "steps: with `window: 0`"),
        ({"window": 0, "stride": 2}, "stride: with `window: 0`"),
    ],
)
def test_keys_that_exclude_each_other_are_refused(keys, told):
    with pytest.raises(ValueError, match=told):
        TrainingConfig(**keys)


def test_a_linear_map_of_states_is_exact_along_linear_trajectories(made, tmp_path):
    """Heat on a line is a linear map from state to state, which a few states determine."""
    baselines.run(made.path, output=tmp_path / "baselines.json")
    found = json.loads((tmp_path / "baselines.json").read_text())
    assert list(found) == ["linear", "nearest", "mean", "persistence"]
    one_step = found["linear"]["errors"]["test"]["relative_l2"]
    rollout = found["linear"]["rollout"]["test"]
    assert one_step < 1e-5 and max(rollout["errors"]["relative_l2"]) < 1e-4
    np.testing.assert_allclose(rollout["times"], TIMES[1:])
    told = rollout["fields"]["u"]
    for kind in ("mean", "variance", "spectrum"):
        np.testing.assert_allclose(told[kind]["predicted"], told[kind]["true"], atol=1e-5)


def test_persistence_predicts_the_first_state_at_all_times(made, tmp_path):
    output = tmp_path / "baselines.json"
    baselines.run(made.path, output=output, window=1, stride=2)
    found = json.loads(output.read_text())["persistence"]["rollout"]["test"]
    _, y = whole(made).stack(range(2))
    first = np.stack([made.solutions[row][0] for row in whole(made).instances])
    u = y[:, 1::2, 0]
    norms = [np.linalg.norm(values, axis=-1) for values in (first[:, None] - u, u)]
    expected = (norms[0] / norms[1]).mean(axis=0)
    np.testing.assert_allclose(found["errors"]["relative_l2"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["times"], TIMES[2::2])
    # The functions vanish at both ends, where the trapezoidal rule has half a weight.
    energy = np.square(u[:, 1:]).sum(axis=-1).mean() / 8
    assert sum(found["fields"]["u"]["spectrum"]["true"]) == pytest.approx(energy, rel=1e-5)


def test_a_prediction_without_bounds_has_no_number_and_the_others_have(made):
    """Multiplied by 1e30 in each step, it is no number in single precision from the second on."""
    pairs = whole(made)
    grow = measure_splits(lambda x: np.float32(1e30) * x[:, -1:], {"test": pairs})["test"]
    found = grow.rollout.describe()
    first, second, *_ = found["errors"]["relative_l2"]
    assert first > 1e29 and second is None
    assert None not in found["fields"]["u"]["variance"]["true"]
    json.dumps(found, allow_nan=False)


def test_a_network_that_is_zero_predicts_the_mean_change(made):
    pairs = FieldPairs(made.path, "train", window=1)
    x, y = (torch.from_numpy(values).float() for values in pairs.stack(range(len(pairs))))
    operator = Operator(Scaling.fit(pairs), lambda x: 0 * x[:, -1:])
    change = (operator(x) - x[:, -1:]).flatten()
    np.testing.assert_allclose(change, float((y - x[:, -1:]).mean()), rtol=1e-4)


def begin(data, tmp_path, march=None, steps=1, **settings):
    march = march or {"window": 1}
    training = TrainingConfig(**data.config.training.model_dump() | settings | {"steps": steps})
    pairs = [FieldPairs(data.path, s, **march, steps=steps) for s in ("train", "valid")]
    return Training(*pairs, training, checkpoint=tmp_path / "checkpoint", code="")


def test_the_gradient_goes_through_all_steps(made):
    """It is the difference quotient of the loss of three steps in a row."""
    pairs = FieldPairs(made.path, "train", window=1, steps=3)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(2, 3, 3, padding="same"), nn.GELU(), nn.Conv1d(3, 1, 1))
    operator = Operator(Scaling.fit(pairs), network).double()
    batch = pairs.join([pairs[0]])
    x, y = batch.x.double(), batch.y.double()
    weight = network[0].weight

    def loss():
        return replace(batch, x=x, y=y).loss("l2", unroll(operator, 3)(x))

    loss().backward()
    values = []
    for change in (1e-6, -2e-6):
        with torch.no_grad():
            weight[0, 1, 1] += change
            values.append(float(loss()))
    slope = float(weight.grad[0, 1, 1])
    assert slope and (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_the_loss_of_several_steps_is_the_mean_of_their_losses(made, tmp_path):
    training = begin(made, tmp_path, steps=2)
    batch = training.valid.join([training.valid[0], training.valid[1]])
    found = training.optimisation.loss(torch.zeros_like(batch.y) + 1, batch)
    each = [replace(batch, y=batch.y[:, s]) for s in (0, 1)]
    ones = torch.ones_like(batch.y[:, 0])
    assert found == pytest.approx(np.mean([float(b.loss("l2", ones)) for b in each]), rel=1e-6)


def test_an_epoch_draws_some_pairs_anew_and_the_same_after_a_kill(made, tmp_path):
    (tmp_path / "aside").mkdir()
    at_once = begin(made, tmp_path / "aside", pairs=7, batch_size=4, epochs=4, schedule="constant")
    drawn = [sorted(item for batch in at_once.loader.batch_sampler for item in batch) for _ in "ab"]
    assert [len(set(items)) for items in drawn] == [7, 7] and drawn[0] != drawn[1]
    assert len(at_once.loader) == 2
    at_once = begin(made, tmp_path / "aside", pairs=7, batch_size=4, epochs=4, schedule="constant")
    at_once.run()
    usual = {"pairs": 7, "batch_size": 4, "schedule": "constant"}
    begin(made, tmp_path, **usual, epochs=2).run()
    resumed = begin(made, tmp_path, **usual, epochs=4)
    assert resumed.record.epochs == 2
    resumed.run()
    first, second = weights(at_once.optimisation.operator), weights(resumed.optimisation.operator)
    assert all(torch.equal(first[key], second[key]) for key in first)
    begin(made, tmp_path, epochs=1, pairs=7).run()  # with a schedule that ends with the last step


def test_an_epoch_of_many_trajectories_has_some_of_their_pairs_unless_told_otherwise(
    made, monkeypatch
):
    pairs, steady = FieldPairs(made.path, "train", window=1), FieldPairs(made.path, "train")
    assert len(pairs) == 18 and count_pairs(TrainingConfig(), pairs) == 18
    monkeypatch.setattr("kryloset.learn.pairs.USUAL_PAIRS", 5)
    assert count_pairs(TrainingConfig(), pairs) == 5
    monkeypatch.setattr("kryloset.learn.pairs.USUAL_PAIRS", 2)
    assert count_pairs(TrainingConfig(), pairs) == count_pairs(TrainingConfig(), steady) == 3
    assert count_pairs(TrainingConfig(pairs=100), pairs) == 18
    assert count_pairs(TrainingConfig(pairs=2), steady) == 2


def test_training_of_several_steps_resumes_to_the_same_weights(made, tmp_path):
    (tmp_path / "aside").mkdir()
    at_once = begin(made, tmp_path / "aside", steps=2, epochs=4, schedule="constant")
    at_once.run()
    begin(made, tmp_path, steps=2, epochs=2, schedule="constant").run()
    resumed = begin(made, tmp_path, steps=2, epochs=4, schedule="constant")
    assert resumed.record.epochs == 2
    resumed.run()
    first, second = weights(at_once.optimisation.operator), weights(resumed.optimisation.operator)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "keys", [{}, {"window": 2, "steps": 2}, {"stride": 2}, {"window": 3, "bundle": 2}]
)
def test_from_trajectories_to_a_model_that_rolls_out(made, tmp_path, keys):
    training = made.config.training.model_copy(update=keys)
    config = made.config.model_copy(update={"training": training})
    model, history = tmp_path / "model.pt", tmp_path / "history.json"
    train.run(config, data=made.path, model=model, history=history)
    metrics, shown = tmp_path / "metrics.json", tmp_path / "predictions.h5"
    evaluate.run(model, data=made.path, metrics=metrics, predictions=shown)
    found = json.loads(metrics.read_text())
    operator = load_model(model)
    window, stride = operator.about["window"], keys.get("stride", 1)
    pairs = operator.trajectories(made.path, "test")
    x, y = pairs.stack(range(len(pairs)))
    with torch.no_grad():
        states = operator.roll_out(torch.from_numpy(x).float(), pairs.steps).numpy()
    rule = np.where(np.isin(np.arange(9), (0, 8)), 1 / 2, 1)
    squares = [rule @ np.square(u[:, -1, -1]).T for u in (states - y, y)]
    last = np.sqrt(squares[0] / squares[1])
    errors = found["rollout"]["test"]["errors"]["relative_l2"]
    assert len(errors) == pairs.steps * keys.get("bundle", 1)
    assert errors[-1] == pytest.approx(last.mean(), rel=1e-4)
    # The first of the steps from true states is the first of the rollout.
    assert found["rollout"]["test"]["times"][0] == pytest.approx(window * stride * TIMES[1])
    np.testing.assert_allclose(np.sort(last)[[0, 0, 1]], read_predictions(shown).error)


def test_a_model_finds_its_time_step_in_another_dataset(made, tmp_path):
    training = made.config.training.model_copy(update={"stride": 2})
    config = made.config.model_copy(update={"training": training})
    files = {"model": tmp_path / "model.pt", "history": tmp_path / "history.json"}
    train.run(config, data=made.path, **files)
    task = load_model(files["model"]).about
    assert (task["window"], task["time_step"]) == (1, pytest.approx(0.02))
    assert March.along(np.linspace(0, 1, 201), 1, 1, task["time_step"]) == March(1, 4)
    with pytest.raises(DataError, match=r"steps of 0\.02 in time, which is no whole number of its"):
        March.along(np.linspace(0, 1, 31), 1, 1, task["time_step"])
    with pytest.raises(DataError, match="takes equal steps in time, and its time steps differ"):
        March.along(np.array([0.0, 0.02, 0.1]), 1, 1, task["time_step"])
    with pytest.raises(DataError, match="it has no time steps"):
        March.along(None, 1, 1, task["time_step"])


def test_the_program_of_the_page_runs(made, tmp_path, monkeypatch):
    results = tmp_path / "results/heat"
    training = begin(made, tmp_path)
    (results / "models/fno/0").mkdir(parents=True)
    save_model(
        results / "models/fno/0/model.pt", training.about, weights(training.optimisation.operator)
    )
    (results / "dataset.h5").symlink_to(made.path)
    monkeypatch.chdir(tmp_path)
    program, _ = read_blocks("docs/how-to/trajectories.md")
    found = {}
    exec(program, found)
    assert found["states"].shape == found["y"].shape == (6, 1, 9)


@pytest.fixture
def staggered():
    """Return NeuralStagger with two coarse trajectories, and a network of its own for each."""
    lines = (np.arange(6.0),)
    inputs, outputs = ("f", "u_0", "u_1", "u_2", "u_3", "inside"), ("u_4", "u_5")
    task = Task(inputs, outputs, lines, (False,), 1, window=4, time_step=1.0, bundle=2)
    settings = {"time": 2, "space": 1, "settings": {"modes": 2, "width": 4, "layers": 1}}
    torch.manual_seed(0)
    return NeuralStagger(NeuralStagger.Settings(**settings), task)


def test_stagger_continues_each_coarse_trajectory_by_itself(staggered):
    """The network sees states 0 and 2 to predict state 4, and 1 and 3 to predict state 5."""
    x = torch.randn(3, 6, 6)
    with torch.no_grad():
        found = staggered(x)
        for state in (0, 1):
            alone = staggered.network(x[:, [0, 1 + state, 3 + state, 5]])
            torch.testing.assert_close(found[:, state : state + 1], alone)


def test_stagger_needs_states_that_it_can_divide():
    settings = NeuralStagger.Settings(time=2)
    NeuralStagger.check(settings, March(4, 1, 2))
    for march in (March(), March(2, 1, 1), March(3, 1, 2)):
        with pytest.raises(ConfigError, match="time 2 of the model stagger needs"):
            NeuralStagger.check(settings, march)


def test_points_outside_of_the_domain_change_nothing(made, tmp_path):
    """What lies there is NaN in each state, and no number of it enters a loss or an error."""
    inside = np.arange(9) < 6
    masked = make_trajectories(tmp_path / "masked.h5", masks=[inside] * 6)
    assert whole(masked).inputs == ("f", "u", "inside")
    training = begin(masked, tmp_path, steps=2, epochs=1)
    assert np.isfinite(training.run().valid).all()
    baselines.run(masked.path, output=tmp_path / "baselines.json")
    found = json.loads((tmp_path / "baselines.json").read_text())
    pairs = whole(made, "train")
    x, y = (values[..., inside] for values in pairs.stack(range(len(pairs))))
    told = found["persistence"]["rollout"]["train"]["fields"]["u"]
    true, predicted = (told["mean"][name] for name in ("true", "predicted"))
    np.testing.assert_allclose(true, y.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predicted, x[:, -1].mean(), rtol=1e-4)
    variance = y.var(axis=-1).mean(axis=(0, 2))
    np.testing.assert_allclose(told["variance"]["true"], variance, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "inputs"),
    [
        ("heat", ("k", "f", "u")),
        ("kuramoto_sivashinsky", ("u", "w")),
        ("navier_stokes", ("psi", "lid", "u_x", "u_y", "p")),
    ],
)
def test_trajectories_of_each_family_are_rolled_out_on_each_grid(family, inputs, tmp_path):
    path = make_small(
        tmp_path / "small.h5", family, splits={"train": 0.5, "valid": 0.25, "test": 0.25}
    )
    assert FieldPairs(path, "train", window=1).inputs == inputs
    baselines.run(path, output=tmp_path / "baselines.json")
    found = json.loads((tmp_path / "baselines.json").read_text())["persistence"]
    for on_grid in (found, *found["grids"].values()):
        told = on_grid["rollout"]["test"]
        fields = [*told["fields"]]
        assert len(told["times"]) == 3 and fields == [*inputs[-len(fields) :]]
        first, *_, last = told["fields"][inputs[-1]]["mean"]["predicted"]
        assert first == last
    if family == "heat":  # whose further grid is not left out for a profile along one axis
        assert list(found["grids"]) == ["5"]


def test_a_run_goes_on_beyond_the_known_states(made):
    """Halved in each step, a state has 4 to the power of 11 times less variance 11 steps later."""
    pairs, found = whole(made), []
    for steps in (None, 12):
        measured = measure_splits(lambda x: x[:, -1:] / 2, {"test": pairs}, steps=steps)
        found.append(measured["test"].rollout.describe())
    known, longer = found
    assert longer["errors"] == known["errors"] and len(known["errors"]["vrmse"]) == 6
    np.testing.assert_allclose(longer["times"], 0.01 * np.arange(1, 13))
    first, *_, last = longer["fields"]["u"]["variance"]["predicted"]
    assert last == pytest.approx(first / 4**11, rel=1e-5)
    for name, told in known["fields"]["u"].items():
        assert longer["fields"]["u"][name]["true"] == told["true"]
    with pytest.raises(DataError, match="--steps 5: the trajectories have 6"):
        measure_splits(lambda x: x[:, -1:], {"test": pairs}, steps=5)
    at_once = FieldPairs(made.path, "test", window=0)
    with pytest.raises(DataError, match="--steps 5: the model makes no steps, but predicts"):
        measure_splits(lambda x: x[:, -1:], {"test": at_once}, steps=5)


def test_pairs_have_at_least_as_many_known_states_as_they_predict(made):
    with pytest.raises(DataError, match="2 states are predicted from at least as many, and the"):
        FieldPairs(made.path, "test", window=1, bundle=2)
