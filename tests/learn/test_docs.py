# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The programs with torch of the pages on training and of the tutorial run as they are printed."""

from pathlib import Path

import pytest

from documentation import read_blocks

pytest.importorskip("torch")

from kryloset.config import TrainingConfig
from kryloset.learn.operator import save_model, weights
from kryloset.learn.training import Training
from kryloset.run import train
from kryloset.torch import FieldPairs


def test_programs_of_the_page_run(data, tmp_path, monkeypatch):
    results = tmp_path / "results/darcy"
    results.mkdir(parents=True)
    (results / "dataset.h5").symlink_to(data.path)
    pairs = [FieldPairs(data.path, split) for split in ("train", "valid")]
    training = Training(*pairs, data.config.training, checkpoint=tmp_path / "checkpoint", code="")
    model = results / "models/fno/0/model.pt"
    model.parent.mkdir(parents=True)
    save_model(model, training.about, weights(training.optimisation.operator))
    monkeypatch.chdir(tmp_path)
    load, own = read_blocks("docs/how-to/training.md")
    found = {}
    exec(load, found)
    assert found["u"].shape == found["pair"]["y"].shape
    _, three_lines, measure = read_blocks("docs/tutorial/operator.md")
    found = {}
    exec(three_lines, found)
    assert found["u"].shape == (1, 1, 64, 64)
    exec(measure, found)
    assert found["error"].isfinite()
    exec(own, found)
    assert found["loss"].isfinite()


def test_models_of_the_page_are_trained_and_loaded(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid, points, load, *_ = read_blocks("docs/how-to/models.md")
    Path("mine.py").write_text(grid + points)
    model = ("mine.py:Convolutions", "mine.py:Neighbours")
    training = TrainingConfig(model=model, epochs=1, settings={"Convolutions": {"width": 2}})
    config = data.config.model_copy(update={"training": training})
    for network in training.labels:
        folder = Path(f"results/darcy/models/{network}/0")
        train.run(
            config, data=data.path, model=folder / "model.pt",
            history=folder / "history.json", network=network,
        )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    exec(load, found)
    assert found["operator"].about["settings"] == {"width": 2}
