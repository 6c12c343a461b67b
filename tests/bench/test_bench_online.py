# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench online`: what is trained on what, and what follows from the times."""

import json
from functools import partial
from pathlib import Path

import pytest
import yaml

from kryloset.bench import online
from kryloset.bench.workflow import Usage
from kryloset.config import load_dataset

#: Seconds of the processor that an instance takes here, an epoch, and the start of a command.
SOLVING, LEARNING, START = 2.0, 5.0, 7.0


@pytest.fixture
def make_rows(monkeypatch, tmp_path: Path):
    """Makes the rows of a run whose commands do nothing, and take as long as they are told to."""

    def run(solving=SOLVING, learning=LEARNING):
        monkeypatch.setattr(online, "run_command", partial(call, solving, learning))
        settings = {"instances": 100, "points": 65, "seeds": 3, "chosen": 20, "pool": 40}
        found = online.run(**settings, folder=str(tmp_path / "run"))
        return [row for of_case in found for row in of_case]

    def call(solving, learning, command, folder):
        _, _, _, _, _, _, stage, *_ = command
        seconds = START
        if stage in ("solve", "train", "train-online"):
            dataset = load_dataset(folder / "config.yaml", "darcy")
            assert (dataset.training.online is not None) == (stage == "train-online")
            if stage != "solve":
                dataset.training.only(seed=int(command[command.index("--seed") + 1]))
            seconds += solving * dataset.count * (stage != "train")
            seconds += learning * dataset.training.epochs * (stage != "solve")
        if stage == "evaluate":
            metrics = {"errors": {"test": {"relative_l2": 0.1}}}
            (folder / "metrics.json").write_text(json.dumps(metrics))
        return Usage(seconds, seconds, 1.0)

    return run


@pytest.fixture
def rows(make_rows):
    """The rows of a machine that does nothing else."""
    return make_rows()


def test_a_training_takes_as_long_as_solving_and_an_online_one_as_both(rows):
    offline, *streams = [row for row in rows if row["table"] == "online"]
    assert offline["solving"] == SOLVING * 100 == LEARNING * offline["epochs"]
    assert offline["wall"] == 2 * offline["solving"]
    epochs = offline["epochs"]
    # All are learnt from after a sixteenth of them is solved.
    assert [row["instances"] for row in streams] == [188] * 2 + [100] * 4
    assert [row["epochs"] for row in streams] == [epochs] * 4 + [1] * 2
    assert streams[0]["wall"] == pytest.approx(offline["wall"], rel=0.01)
    assert [row["solving"] for row in streams[2:]] == pytest.approx([offline["solving"]] * 4)
    assert streams[5]["wall"] == pytest.approx(offline["solving"])


@pytest.mark.parametrize("seconds", [0.0, -0.3])
def test_a_machine_that_does_other_work_gives_no_times_below_zero(make_rows, seconds):
    offline, *streams = [row for row in make_rows(seconds, seconds) if row["table"] == "online"]
    assert offline["solving"] == offline["learning"] == online.LEAST and offline["epochs"] == 1
    assert all(row["wall"] > 0 and row["instances"] >= 100 for row in streams)


def test_draws_are_compared_with_as_many_instances(rows, tmp_path):
    active = [row for row in rows if row["table"] == "active"]
    assert [(row["way"], row["instances"]) for row in active] == [
        ("uniformly", 40), ("by the spread", 40), ("by the features", 40),
    ]  # fmt: skip
    for by in ("spread", "features"):
        chosen = yaml.safe_load((tmp_path / f"run/by_the_{by}/config.yaml").read_text())
        assert chosen["datasets"]["darcy"]["instances"]["file"].endswith(f"first/{by}.h5")
    assert "by the spread" in online.conclude(rows) and not online.judge(rows)[0].met
