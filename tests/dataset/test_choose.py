# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances that are chosen by the disagreement of models, or by features, become a dataset."""

import re

import h5py
import numpy as np
import pytest
from pointwise_runs import make_run
from scipy.interpolate import RegularGridInterpolator

pytest.importorskip("torch")

import torch

from kryloset.config import TrainingConfig
from kryloset.errors import ConfigError, DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.models.registry import model_class
from kryloset.learn.operator import (
    Operator,
    build_network,
    describe,
    load_model,
    read_model,
    save_model,
    weights,
)
from kryloset.learn.scaling import Scaling
from kryloset.problems import load_family
from kryloset.problems.populations import Population
from kryloset.run import choose
from kryloset.run.draw import Drawn
from small_sets import make_small, small_config

SMALL = {"fno": {"modes": 2, "width": 2, "layers": 1}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def models(run):
    """Two models that were not trained."""
    pairs, kind = FieldPairs(run.merge(), "train"), model_class("fno")
    about = describe(pairs, TrainingConfig(settings=SMALL), kind)
    found = [run.folder / f"{seed}.pt" for seed in (0, 1)]
    for seed, path in enumerate(found):
        torch.manual_seed(seed)
        operator = Operator(Scaling.fit(pairs), build_network(about, kind))
        save_model(path, about, weights(operator))
    return found


@pytest.mark.parametrize("by", ["spread", "features"])
def test_chosen_instances_are_those_that_are_drawn(run, models, tmp_path, by, caplog):
    caplog.set_level("INFO")
    output, again = tmp_path / "chosen.h5", tmp_path / "again.h5"
    asked = {"models": models if by == "spread" else models[:1], "first": 3, "pool": 80, "count": 5}
    choose.run(run.config, **asked, output=output, by=by)
    told = (
        rf"5 of 80 instances chosen, with a mean {'spread' if by == 'spread' else 'variance'} of "
    )
    more, usual = re.search(rf"{told}(\S+) instead of (\S+)", caplog.text).groups()
    assert float(more) > float(usual)
    drawn = Drawn([Population(run.family)], run.config.seed).instances(range(83))
    with h5py.File(output) as file:
        assert set(file) == set(drawn[0])
        rows = [{name: file[name][row] for name in file} for row in range(8)]

    def find(row):
        return [i for i, one in enumerate(drawn) if np.array_equal(one["k"], row["k"])]

    numbers = [number for row in rows for number in find(row)]
    assert numbers[:3] == [0, 1, 2] and len(numbers) == 8
    assert all(3 <= number < 83 for number in numbers[3:])
    for row, number in zip(rows, numbers, strict=True):
        assert all(np.array_equal(row[name], drawn[number][name]) for name in row)
    choose.run(run.config, **asked, output=again, by=by)
    assert again.read_bytes() == output.read_bytes()


def test_one_model_the_same_twice_and_too_many_instances_are_refused(run, models, tmp_path):
    files = {"output": tmp_path / "chosen.h5", "first": 0, "pool": 10}
    with pytest.raises(ConfigError, match="one model has no spread"):
        choose.run(run.config, models=models[:1], count=1, **files)
    with pytest.raises(ConfigError, match="one model: 2 are given"):
        choose.run(run.config, models=models, count=1, by="features", **files)
    with pytest.raises(ConfigError, match="from 1 to 10"):
        choose.run(run.config, models=models, count=11, **files)
    with pytest.raises(DataError, match="instance 0: the spread of the models is 0"):
        choose.run(run.config, models=models[:1] * 2, count=1, **files)


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_drawn(
    run, models, tmp_path, monkeypatch
):
    monkeypatch.setattr(choose, "Drawn", None)
    with pytest.raises(DataError, match="there is a folder of that name"):
        choose.run(run.config, models=models, first=0, pool=10, count=1, output=tmp_path)


def test_models_see_parameters_on_the_grid_that_they_learnt_on(run, models):
    finer = run.config.model_copy(
        update={"mesh": run.config.mesh.model_copy(update={"points": 2 * run.config.mesh.points})}
    )
    family, operator = load_family(finer), load_model(models[0])
    instances = Drawn([Population(family)], finer.seed).instances(range(2))
    ((x, _),) = choose._inputs([operator], instances, finer, family)
    coarse = [np.array(axis) for axis in operator.about["coordinates"]]
    points = np.stack(np.meshgrid(*coarse, indexing="ij"), axis=-1)
    assert x.shape[2:] == points.shape[:-1] != instances[0]["k"].shape
    k = x[:, operator.about["inputs"].index("k")]
    for found, instance in zip(k, instances, strict=True):
        axes = tuple(family.coordinates.values())
        expected = RegularGridInterpolator(axes, instance["k"])(points)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def make_marching(folder, path, seeds=(0, 1), **march):
    """Make operators along the trajectories of a dataset that were not trained."""
    pairs, kind = FieldPairs(path, "train", **march), model_class("fno")
    about = describe(pairs, TrainingConfig(settings=SMALL), kind)
    found = [folder / f"{march}{seed}.pt" for seed in seeds]
    for seed, file in enumerate(found):
        torch.manual_seed(seed)
        operator = Operator(Scaling.fit(pairs), build_network(about, kind))
        save_model(file, about, weights(operator))
    return found


def test_models_along_trajectories_see_initial_states_and_disagree_at_any_time(
    tmp_path, monkeypatch
):
    path = make_small(tmp_path / "heat.h5", "heat")
    config, models = small_config("heat"), make_marching(tmp_path, path, window=1)
    operators, family = [load_model(model) for model in models], load_family(config)
    pairs = operators[0].trajectories(path, "train")
    drawn = Drawn([Population(family)], config.seed)
    for seen in choose._inputs(
        operators, drawn.instances(pairs.instances.tolist()), config, family
    ):
        np.testing.assert_array_equal(seen.x, pairs.stack(range(len(pairs)))[0].astype(np.float32))
        assert seen.steps == pairs.steps == 3
    spreads = []
    monkeypatch.setattr(
        choose, "choose_by_spread", lambda *known: spreads.append(known[0]) or np.array([1, 4])
    )
    for by, files in (("spread", models), ("features", models[:1])):
        asked = {"models": files, "first": 1, "pool": 6, "count": 2, "by": by}
        choose.run(config, **asked, output=tmp_path / "chosen.h5")
        with h5py.File(tmp_path / "chosen.h5") as file:
            assert len(file["u0"]) == 3
    # Instances 1 to 6 were candidates.
    both = choose._inputs(operators, drawn.instances(range(1, 7)), config, family)
    with torch.no_grad():
        rollouts = [o.roll_out(x, 3).double() for o, (x, _) in zip(operators, both, strict=True)]
    apart = (rollouts[0] - rollouts[1]).flatten(1).norm(dim=1)
    size = (rollouts[0] + rollouts[1]).flatten(1).norm(dim=1)
    np.testing.assert_allclose(spreads[0], apart / size, rtol=1e-4)
    two = make_marching(tmp_path, path, window=2)
    with pytest.raises(DataError, match=r"needs 2 states, which no .*\(training.window: 1\)"):
        choose.run(config, models=two, first=1, pool=6, count=2, output=tmp_path / "chosen.h5")


def test_a_field_without_a_known_initial_state_is_named(tmp_path):
    path = make_small(tmp_path / "flow.h5", "navier_stokes")
    models = make_marching(tmp_path, path, window=1)
    with pytest.raises(DataError, match=r"needs the initial state of p, .* are parameters$"):
        choose.run(
            small_config("navier_stokes"),
            models=models,
            first=0,
            pool=3,
            count=1,
            output=tmp_path / "chosen.h5",
        )


def test_models_of_another_family_are_told(run, models, tmp_path, caplog):
    about, state = read_model(models[0])
    other = tmp_path / "other.pt"
    save_model(other, about | {"seen": {"family": "heat"}}, state)
    asked = {"first": 0, "pool": 4, "count": 1, "output": tmp_path / "chosen.h5"}
    choose.run(run.config, models=[other, models[1]], **asked)
    told = "other.pt learnt on instances of the family heat, and the configuration has those of"
    assert told in caplog.text
