# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Chunks that are learnt from as they are solved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pointwise_runs import make_run

pytest.importorskip("torch")

import torch

from kryloset.dataset.splits import split_indices
from kryloset.errors import ConfigError, KrylosetError
from kryloset.learn.data import FieldPairs
from kryloset.run import train_online
from kryloset.run.stream import write_part
from kryloset.torch import load_model

TRAINING = {
    "epochs": 2,
    "batch_size": 2,
    "settings": {"fno": {"modes": 2, "width": 2, "layers": 1}},
    "online": {},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return make_run(folder, count=24, chunks=6, training=TRAINING)


class Ready:
    """Stands for processes that solve: what they would solve is there."""

    solved: Path
    copied: list[str]
    fails = ""

    def __init__(self, config, name, order, folder, processes):
        """Solve nothing."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.copied.clear()

    def __enter__(self):
        """Do nothing."""
        return self

    def __exit__(self, *error):
        """Do nothing."""

    def start(self, chunks):
        """Note the chunks."""
        self.copied.extend(chunk for chunk in chunks if chunk not in self.copied)

    def wait(self, chunk):
        """Copy the file of a chunk."""
        if chunk == self.fails:
            raise KrylosetError(f"chunk {chunk} was not solved")
        assert chunk in self.copied
        return Path(shutil.copy(self.solved / f"{chunk}.h5", self.folder))


@pytest.fixture
def learn(run, tmp_path, monkeypatch):
    """Return a function that trains on the chunks of the run."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(train_online, "Solving", Ready)
    monkeypatch.setattr(Ready, "solved", run.folder / "chunks", raising=False)
    monkeypatch.setattr(Ready, "copied", [], raising=False)

    def learn(folder="model", **online):
        training = run.config.training.model_dump() | {"online": online}
        config = run.config.model_copy(
            update={"training": type(run.config.training).model_validate(training)}
        )
        place = tmp_path / folder
        train_online.run(
            config, run.name, source=tmp_path / "none.yaml", order=run.folder / "order.h5",
            chunks=place / "online", model=place / "model.pt", history=place / "history.json",
        )  # fmt: skip
        return place

    yield learn
    torch.set_num_threads(threads)


def same(first, second):
    one, other = (load_model(place / "model.pt").state_dict() for place in (first, second))
    return all(torch.equal(one[key], other[key]) for key in one if key != "_metadata")


def test_parts_of_chunks_are_the_pairs_of_the_dataset(run, tmp_path):
    whole = FieldPairs(run.merge("whole.h5"), "train")
    chosen, part = split_indices(run.config)["train"], tmp_path / "part.h5"
    for chunk in run.chunks:
        count = write_part(part, [chunk], chosen, run.config, run.family)
        pairs = FieldPairs(part, "train")
        assert len(pairs) == count and pairs.task.describe() == whole.task.describe()
        for number in range(count):
            x, y = pairs.arrays(number)
            (there,) = [i for i in range(len(whole)) if np.array_equal(whole.arrays(i)[0], x)]
            np.testing.assert_array_equal(whole.arrays(there)[1], y)
    everything = write_part(part, run.chunks, chosen, run.config, run.family)
    assert everything == len(whole)
    assert write_part(part, run.chunks, np.array([99]), run.config, run.family) == 0


def test_a_model_is_trained_before_there_is_a_dataset(run, learn):
    place = learn()
    history = json.loads((place / "history.json").read_text())
    train, valid = (split_indices(run.config)[split] for split in ("train", "valid"))
    assert history["pairs"][-1] == len(train) and history["valid"][-1] is not None
    assert history["steps"][-1] == 2 * -(-len(train) // 2)
    seen = load_model(place / "model.pt").about["seen"]
    assert {name: sorted(numbers.tolist()) for name, numbers in seen["instances"].items()} == {
        "train": train.tolist(), "valid": valid.tolist(),
    }  # fmt: skip
    assert len([*(place / "online").iterdir()]) == 6
    assert {path.name for path in place.iterdir()} == {"model.pt", "history.json", "online"}
    assert same(place, learn("again"))


def test_without_storing_a_killed_training_solves_only_what_it_lacks(learn, monkeypatch, tmp_path):
    whole = learn("whole", store=False)
    assert not (whole / "online").exists()
    order = [*Ready.copied]
    monkeypatch.setattr(Ready, "fails", order[3])
    with pytest.raises(KrylosetError, match="was not solved"):
        learn("killed", store=False)
    monkeypatch.setattr(Ready, "fails", "")
    # It may also be killed after a chunk is learnt from and before that is removed.
    (tmp_path / "killed/online" / f"{order[2]}.h5").touch()
    resumed = learn("killed", store=False)
    assert Ready.copied == order[3:]
    assert same(whole, resumed) and not (resumed / "online").exists()


def test_a_training_that_is_not_online_is_refused(run, learn, tmp_path):
    files = {key: tmp_path / key for key in ("source", "chunks", "model", "history")}
    config = run.config.model_copy(
        update={"training": run.config.training.model_copy(update={"online": None})}
    )
    with pytest.raises(ConfigError, match="online is null"):
        train_online.run(config, run.name, order=run.folder / "order.h5", **files)


def test_a_single_chunk_is_refused(tmp_path):
    run = make_run(tmp_path, chunks=1, training=TRAINING)
    files = {key: tmp_path / key for key in ("source", "chunks", "model", "history")}
    with pytest.raises(ConfigError, match=r"in one chunk.*set `chunks`"):
        train_online.run(run.config, run.name, order=run.folder / "order.h5", **files)
