# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A training begins with the weights and the scaling of a finished one."""

import json

import pytest

pytest.importorskip("torch")

import torch
from reaction_data import family_of, make_data

from kryloset.config import TrainingConfig
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.operator import load_model, save_model, weights
from kryloset.learn.seen import require_unseen
from kryloset.learn.starting import Start, require_network
from kryloset.learn.training import Training
from kryloset.run import evaluate, train

SMALL = {"fno": {"modes": 4, "width": 4, "layers": 1}}


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The file of a finished training."""
    path = tmp_path_factory.mktemp("finished") / "model.pt"
    run(data, path, epochs=2)
    return path


def run(data, path, **training):
    """Train on a dataset."""
    settings = TrainingConfig.model_validate({"settings": SMALL, "epochs": 1} | training)
    config = data.config.model_copy(update={"training": settings})
    train.run(config, data=data.path, model=path, history=path.with_name("history.json"))


def begin(data, tmp_path, start, **training):
    """Begin a training with another one."""
    keys = {"settings": SMALL, "epochs": 2, "start": str(start)} | training
    settings = TrainingConfig.model_validate(keys)
    pairs = [FieldPairs(data.path, split) for split in ("train", "valid")]
    checkpoint = tmp_path / "checkpoint"
    return Training(*pairs, settings, checkpoint=checkpoint, code="", start=Start.read(start))


@pytest.fixture(scope="module")
def finer(tmp_path_factory):
    """Other instances on a finer grid."""
    path = tmp_path_factory.mktemp("finer") / "dataset.h5"
    return make_data(path, mesh={"points": 12}, seed=1, count=20)


@pytest.mark.parametrize("average", [None, 0.9])
def test_the_first_weights_and_the_scaling_are_those_of_the_start(
    finished, finer, tmp_path, average
):
    training = begin(finer, tmp_path, finished, seeds=[5], average=average)
    known = weights(load_model(finished))
    for operator in (training.optimisation.operator, training.optimisation.measured):
        assert all(torch.equal(known[key], value) for key, value in weights(operator).items())


def test_a_training_from_a_start_is_resumed_and_repeated(finished, finer, tmp_path):
    whole = begin(finer, tmp_path, finished, schedule="constant")
    whole.run()
    whole.checkpoint.unlink()
    begin(finer, tmp_path, finished, schedule="constant", epochs=1).run()
    resumed = begin(finer, tmp_path, finished, schedule="constant")
    assert resumed.record.epochs == 1
    assert resumed.run().valid == whole.record.valid
    other = tmp_path / "other.pt"
    start = Start.read(finished)
    save_model(other, start.about, {**start.weights, "scaling.output_std": torch.ones(1, 1, 1)})
    assert begin(finer, tmp_path, other, schedule="constant").record.epochs == 0


def test_what_is_learned_from_a_start_is_learned_sooner(data, finished, finer, tmp_path, caplog):
    caplog.set_level("INFO")
    fine, rough = tmp_path / "fine", tmp_path / "rough"
    for folder in (fine, rough):
        folder.mkdir()
    run(data, tmp_path / "long.pt", epochs=8, learning_rate=2e-2)
    few = {"epochs": 1, "learning_rate": 1e-3}
    run(finer, fine / "model.pt", start=str(tmp_path / "long.pt"), **few)
    run(finer, rough / "model.pt", **few)
    found = [json.loads((f / "history.json").read_text())["valid"][0] for f in (fine, rough)]
    assert found[0] < 0.8 * found[1]
    assert "long.pt: relative L2 error" in caplog.text


def test_a_model_has_seen_what_its_start_has_seen(data, finished, finer, tmp_path):
    model = tmp_path / "model.pt"
    run(finer, model, start=str(finished))
    other = make_data(tmp_path / "other.h5", splits={"train": 0.1, "test": 0.9})
    require_unseen(load_model(model).about["seen"], FieldPairs(data.path, "test"))
    with pytest.raises(DataError, match=r"`test` is no test of this model, which may have"):
        require_unseen(load_model(model).about["seen"], FieldPairs(other.path, "test"))
    with pytest.raises(DataError, match="is no test of this model"):
        evaluate.run(model, data=other.path, metrics=tmp_path / "m.json", splits=["test"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"settings": {"fno": SMALL["fno"] | {"width": 5}}}, "has width: 4, and not 5: write it"),
        ({"model": "unet", "settings": {}}, "is a model fno, and not unet"),
    ],
)
def test_another_network_is_refused(data, finished, tmp_path, change, told):
    with pytest.raises(DataError, match=rf"training\.start: .*model\.pt {told}"):
        begin(data, tmp_path, finished, **change)
    settings = TrainingConfig.model_validate({"settings": SMALL, "start": str(finished)} | change)
    with pytest.raises(DataError, match=told):
        require_network(settings)


def test_other_channels_are_refused(finished, tmp_path):
    other = make_data(tmp_path / "d.h5", family=family_of("Uniform"), count=10)
    with pytest.raises(
        DataError, match="does not fit the dataset: its inputs are k, f, nu, and not k, nu"
    ):
        begin(other, tmp_path, finished)


def test_a_start_is_one_of_one_model():
    with pytest.raises(ValueError, match="start: its weights are those of one kind of model"):
        TrainingConfig(model=["fno", "unet"], start="model.pt")


def test_a_start_that_is_missing_or_does_not_say_what_it_has_seen_is_refused(finished, tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.pt"):
        Start.read(tmp_path / "none.pt")
    about, state = torch.load(finished, weights_only=True).values()
    del about["seen"]
    save_model(tmp_path / "model.pt", about, state)
    with pytest.raises(DataError, match="does not say what it has seen"):
        Start.read(tmp_path / "model.pt")
