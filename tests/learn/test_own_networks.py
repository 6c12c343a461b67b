# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Mistakes in networks of one's own are told as such, and none is taken for a prediction."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from kryloset.config import TrainingConfig
from kryloset.errors import ConfigError
from kryloset.learn.models.registry import model_class
from kryloset.run import evaluate, train

WRONG = Path(__file__).with_name("wrong_models.py")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoSettings", "its Settings do not derive from kryloset.config.Section"),
        ("NoRate", "its learning_rate is 'fast': make it a number above 0"),
        ("NoArguments", r"is made by NoArguments\(settings, task\), which its __init__ does not"),
        ("NoForward", "has no method `forward`"),
    ],
)
def test_a_class_that_cannot_be_a_network_is_refused_before_there_are_data(name, message):
    with pytest.raises(ConfigError, match=rf"^model '.*wrong_models\.py:{name}'.* {message}"):
        model_class(f"{WRONG}:{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Column", r"forward returns \(2, 1, 9, 1\) for inputs \(2, 3, 9, 11\), and not \(2, 1, "),
        ("Squeezed", r"forward returns \(2, 9, 11\) for inputs"),
        ("Pair", "forward returns tuple for inputs"),
        ("Mean", r"forward returns \(1, 1\) for inputs \(198, 3\), and not \(198, 1\)"),
        ("Weightless", "no weights that learn"),
        ("Failing", r"forward, line \d+ of wrong_models\.py: RuntimeError: "),
        ("Late", r"forward, line \d+ of wrong_models\.py: ValueError: too many"),
    ],
)
def test_a_network_with_a_mistake_is_refused_and_learns_nothing(data, tmp_path, name, message):
    training = TrainingConfig(model=f"{WRONG}:{name}", epochs=1, batch_size=9, where="grid")
    config = data.config.model_copy(update={"training": training})
    model = tmp_path / "model.pt"
    with pytest.raises(ConfigError, match=rf"^model '.*wrong_models\.py:{name}'.*{message}"):
        train.run(config, data=data.path, model=model, history=tmp_path / "history.json")
    assert not model.exists()


def test_a_network_that_was_edited_since_is_told_with_its_line(data, tmp_path):
    training = TrainingConfig(model=f"{WRONG}:Pointwise", epochs=1, batch_size=9, where="grid")
    config = data.config.model_copy(update={"training": training})
    model = tmp_path / "model.pt"
    train.run(config, data=data.path, model=model, history=tmp_path / "history.json")
    with pytest.raises(ConfigError, match=r"Unmade', __init__, line \d+ of .*: KeyError: depth"):
        evaluate.run(
            model,
            data=data.path,
            metrics=tmp_path / "metrics.json",
            network=f"{WRONG}:Unmade",
        )
