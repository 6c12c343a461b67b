# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The programs with torch, of docs/how-to/training.md and the tutorial, run as they are printed."""

import pytest

from documentation import read_blocks

pytest.importorskip("torch")

from kryloset.learn.operator import describe, save_model, weights
from kryloset.learn.training import Training
from kryloset.torch import FieldPairs


def test_programs_of_the_page_run(data, tmp_path, monkeypatch):
    results = tmp_path / "results/darcy"
    results.mkdir(parents=True)
    (results / "dataset.h5").symlink_to(data.path)
    pairs = [FieldPairs(data.path, split) for split in ("train", "valid")]
    training = Training(*pairs, data.config.training, checkpoint=tmp_path / "checkpoint", code="")
    about = describe(pairs[0], data.config.training)
    save_model(results / "model.pt", about, weights(training.operator))
    monkeypatch.chdir(tmp_path)
    load, own = read_blocks("docs/how-to/training.md")
    found = {}
    exec(load, found)
    assert found["u"].shape == found["pair"]["y"].shape
    _, tutorial = read_blocks("docs/tutorial/operator.md")
    exec(tutorial, found)
    assert found["error"].isfinite()
    exec(own, found)
    assert found["loss"].isfinite()
