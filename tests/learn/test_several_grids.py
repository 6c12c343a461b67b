# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""One network learns on several grids of a dataset, a batch on one and the next on the next."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from own_models import Pointwise
from reaction_data import make_data
from torch.utils.data import DataLoader

from kryloset.config import DatasetConfig, MeshConfig, TrainingConfig
from kryloset.errors import ConfigError, DataError
from kryloset.learn.batches import Batches, spread
from kryloset.learn.data import FieldPairs
from kryloset.learn.models.registry import MODELS, check_training
from kryloset.learn.operator import weights
from kryloset.learn.pairs import open_pairs
from kryloset.learn.several_grids import SeveralGrids
from kryloset.learn.training import Training
from kryloset.problems import load_family
from kryloset.run import baselines, evaluate, tabulate, train
from kryloset.torch import load_model
from small_sets import make_small, small_config

SPLITS = {"train": 0.5, "valid": 0.25, "test": 0.25}
#: Enough of each network to run.
SETTINGS = {
    "deeponet": {"sensors": 4, "width": 4, "terms": 4},
    "fno": {"modes": 2, "width": 2, "layers": 1},
    "lsm": {"width": 8, "patch": 4},
    "tfno": {"modes": 2, "width": 4, "layers": 1},
    "transolver": {"width": 8, "layers": 1, "heads": 2, "slices": 4, "reference": 2},
    "ufno": {"modes": 2, "width": 4},
    "unet": {"width": 4},
    "uno": {"modes": 2, "width": 4},
    "stagger": {"model": "fno", "settings": {"modes": 2, "width": 2, "layers": 1}},
    "gino": {"latent": 4, "modes": 2, "width": 4, "layers": 1},
    "cgs": {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5},
}


def changes(**training):
    usual = {"epochs": 2, "batch_size": 3, "where": "grid", "grids": [17, 9]}
    return {
        "count": 12,
        "splits": SPLITS,
        "parameters": {"modes": 4},
        "mesh": {"points": 17, "grids": [9, 5]},
        "training": usual | training,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("darcy") / "dataset.h5", "darcy", **changes())


def begin(made, folder, **settings):
    usual = {"model": "fno", "settings": {"fno": SETTINGS["fno"]}, "batch_size": 4}
    training = TrainingConfig(**usual | {"grids": [17, 9]} | settings)
    pairs = [open_pairs(made, split, "grid", grids=training.grids) for split in ("train", "valid")]
    folder.mkdir(exist_ok=True)
    return Training(*pairs, training, checkpoint=folder / "checkpoint", code="")


def test_a_batch_is_of_one_grid_and_the_next_of_the_next(made):
    """An epoch has each pair once on each grid, as it is stored there."""
    pairs = open_pairs(made, "train", "grid", grids=(17, 9, 5))
    batches = Batches(6, 4, torch.Generator().manual_seed(0), grids=3)
    loader = DataLoader(pairs, batch_sampler=batches, collate_fn=pairs.join)
    found = list(loader)
    assert len(found) == len(batches) == 6
    assert [batch.x.shape[-1] for batch in found] == [17, 9, 5] * 2
    for grid, points in enumerate((None, 9, 5)):
        x, y = FieldPairs(made, "train", points=points).stack(range(6))
        rows = torch.cat([batch.rows for batch in found[grid::3]])
        assert sorted(rows.tolist()) == sorted(pairs.instances.tolist())
        order = [pairs.instances.tolist().index(row) for row in rows.tolist()]
        torch.testing.assert_close(
            torch.cat([batch.x for batch in found[grid::3]]), torch.from_numpy(x[order]).float()
        )
        torch.testing.assert_close(
            torch.cat([batch.y for batch in found[grid::3]]), torch.from_numpy(y[order]).float()
        )
        assert [len(line) for line in found[grid].coordinates] == [len(x[0, 0])] * 2


def test_the_error_is_the_mean_over_the_grids(made, tmp_path):
    training, each = begin(made, tmp_path), []
    operator = training.optimisation.operator
    for points in (None, 9):
        pairs = FieldPairs(made, "valid", points=points)
        batch = pairs.join([pairs[item] for item in range(len(pairs))])
        with torch.no_grad():
            each.append(batch.relative_l2(operator(batch.x)).mean())
    assert each[0] != each[1]
    assert training.error(operator) == pytest.approx(np.mean(each), rel=1e-6)


def test_several_shares_of_a_batch_are_of_the_same_grid():
    shares = [
        list(Batches(6, 4, torch.Generator().manual_seed(3), grids=2, process=p, processes=2))
        for p in (0, 1)
    ]
    whole = list(Batches(6, 4, torch.Generator().manual_seed(3), grids=2))
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(set(parts[0] + parts[1]))
        assert len({item // 6 for item in batch}) == 1


@pytest.mark.parametrize("name", MODELS)
def test_each_model_learns_on_two_grids_and_is_measured_on_all(name, made, tmp_path):
    training = {"model": name, "settings": {name: SETTINGS[name]}, "epochs": 1}
    config = small_config("darcy", **changes(**training))
    models = tmp_path / "models"
    folder = models / name / "0"
    folder.mkdir(parents=True)
    model, history = folder / "model.pt", folder / "history.json"
    train.run(config, data=made, model=model, history=history)
    assert [len(axis) for axis in load_model(model).about["coordinates"]] == [17, 17]
    evaluate.run(model, data=made, metrics=folder / "metrics.json")
    found = json.loads((folder / "metrics.json").read_text())
    assert found["grid"] == "17" and list(found["grids"]) == ["9", "5"]
    # The one epoch was measured on both grids.
    (valid,) = json.loads(history.read_text())["valid"]
    each = [of["errors"]["valid"]["relative_l2"] for of in (found, found["grids"]["9"])]
    assert valid == pytest.approx(np.mean(each), rel=1e-4)
    if name == "fno":
        baselines.run(made, output=models / "baselines.json")
        tabulate.run(config, models=models, output=tmp_path / "models.json")
        text = (tmp_path / "models.md").read_text()
        assert "| predictor | 17 points | 9 points | 5 points |" in text
        told = [of["errors"]["test"]["relative_l2"] for of in (found, *found["grids"].values())]
        assert f"| fno | {' | '.join(f'{value:.4f}' for value in told)} |" in text


def test_a_training_on_two_grids_resumes_to_the_same_weights(made, tmp_path):
    usual = {"epochs": 3, "schedule": "constant", "pairs": 4}
    at_once = begin(made, tmp_path / "aside", **usual)
    at_once.run()
    begin(made, tmp_path, **usual | {"epochs": 2}).run()
    resumed = begin(made, tmp_path, **usual)
    assert resumed.record.epochs == 2
    resumed.run()
    first, second = (weights(t.optimisation.operator) for t in (at_once, resumed))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_grid_has_the_same_points_along_each_axis_however_it_is_written():
    mesh = MeshConfig(points=17, grids=((9, 9), 5, (9, 5)))
    assert [mesh.find_grid(of) for of in (9, (9, 9), (5, 5), (9, 5), 17, (17, 17))] == [
        (9, 9), (9, 9), 5, (9, 5), None, None,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"\[5, 9\] is not in mesh\.grids: it has \[\[9, 9\], 5"):
        mesh.find_grid((5, 9))
    # An equidistant grid with as many points is another one than that of Chebyshev points.
    assert MeshConfig(points=9, spacing="chebyshev", grids=(9,)).find_grid(9) == 9
    DatasetConfig(mesh={"points": 17, "grids": [5]}, training={"grids": [[5, 5], 17]})


def test_grids_whose_points_lie_otherwise_are_no_grids_of_one_network(tmp_path):
    mesh = {"points": 9, "spacing": "chebyshev", "grids": [5]}
    made = make_small(tmp_path / "d.h5", "darcy", **changes(grids=[]) | {"mesh": mesh})
    with pytest.raises(DataError, match="on 5 points and on 9: points lie otherwise along an axis"):
        open_pairs(made, "train", "grid", grids=(9, 5))


def test_grids_of_other_channels_are_no_grids_of_one_network(tmp_path):
    """A profile along one axis is not on a further grid."""
    made = make_data(tmp_path / "d.h5", count=8, mesh={"points": 9, "grids": [[5, 6]]})
    with pytest.raises(DataError, match=r"same inputs on all .* are k, nu, and k, f, nu; leave"):
        SeveralGrids([FieldPairs(made.path, "train", points=points) for points in (None, (5, 6))])


class Fixed(Pointwise):
    """A network that takes the grid of training alone."""

    any_grid = False


def test_grids_that_divide_an_axis_otherwise_are_refused_before_there_are_data():
    config = small_config("darcy", **changes())
    check_training(config.training, load_family(config))
    uneven = config.model_copy(
        update={"mesh": config.mesh.model_copy(update={"spacing": "chebyshev"})}
    )
    with pytest.raises(ConfigError, match=r"training\.grids: points of 9 and of 17 lie otherwise"):
        check_training(uneven.training, load_family(uneven))


def test_a_network_of_one_grid_is_refused_on_several_and_left_out_on_others(
    made, tmp_path, caplog, monkeypatch
):
    name = f"{__file__}:Fixed"
    config = small_config("darcy", **changes(model=name, grids=[]))
    family = load_family(config)
    check_training(config.training, family)
    several = config.training.model_copy(update={"grids": (17, 9)})
    with pytest.raises(ConfigError, match=r"training\.grids: model .* takes one grid alone"):
        check_training(several, family)
    model, metrics = tmp_path / "model.pt", tmp_path / "metrics.json"
    train.run(config, data=made, model=model, history=tmp_path / "history.json")
    evaluate.run(model, data=made, metrics=metrics, network=name)
    assert json.loads(metrics.read_text())["grids"] == {}
    assert "points of the grid 9 are not as many as those on which the model" in caplog.text


def test_what_is_spread_begins_and_ends_with_the_others():
    assert spread(10, 4) == [0, 3, 6, 9] and spread(3, 4) == [0, 1, 2] and spread(5, 1) == [0]
