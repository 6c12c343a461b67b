# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench learn`: the set of the papers, what is made of trainings, and a small run."""

import json
from pathlib import Path

import pytest

from kryloset.bench import learn
from kryloset.bench.workflow import find_clone
from kryloset.config import DatasetConfig
from kryloset.dataset.splits import split_indices
from kryloset.errors import KrylosetError


def test_the_set_has_as_many_instances_and_points_as_those_of_the_papers():
    config = DatasetConfig.model_validate(learn.read_dataset(find_clone(), quick=False))
    found = {name: len(instances) for name, instances in split_indices(config).items()}
    assert found == {"train": 1000, "valid": 50, "test": 200}
    # Every fifth point.
    assert (config.mesh.points - 1, config.mesh.grids[0] - 1) == (420, 420 // 5)
    assert config.parameters["permeability"] == "two_valued"
    assert set(config.training.models) == set(learn.PUBLISHED)
    small = DatasetConfig.model_validate(learn.read_dataset(find_clone(), quick=True))
    assert small.count == 250 and not small.mesh.grids


def write(folder: Path, error: float, valid: list[float]) -> Path:
    """Write what the workflow writes of a training."""
    folder.mkdir()
    metrics = {"errors": {"test": {"relative_l2": error}}, "parameters": 1234}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    history = {"train": valid, "valid": valid, "seconds": [1800.0] * len(valid)}
    (folder / "history.json").write_text(json.dumps(history))
    return folder


def test_rows_are_means_over_seeds_and_are_judged_by_the_published_error(tmp_path: Path):
    folders = [
        write(tmp_path / "0", 0.009, [0.3, 0.2, 0.1]),
        write(tmp_path / "1", 0.011, [0.1] * 3),
    ]
    rows = learn.summarise("fno", folders, quick=False)
    (whole,), curve = ([r for r in rows if r["table"] == table] for table in ("error", "curve"))
    assert whole["error"] == pytest.approx(0.01) and whole["spread"] == pytest.approx(2**0.5 / 1000)
    assert whole["hours"] == 1.5 and whole["published"] == 0.0108
    assert [(row["epoch"], row["error"]) for row in curve] == [
        (1, pytest.approx(0.2)),
        (2, pytest.approx(0.15)),
        (3, pytest.approx(0.1)),
    ]
    assert learn.judge(rows)[0].met
    assert "| fno" in learn.describe(rows) and "What differs" in learn.conclude(rows)
    alone = learn.summarise("fno", [write(tmp_path / "2", 0.02, [0.2])], quick=False)
    assert alone[0]["spread"] is None and not learn.judge(alone)[0].met


def test_a_model_without_a_published_error_is_refused(tmp_path: Path):
    with pytest.raises(KrylosetError, match="--model 'unknown' is not known: use one of fno"):
        list(learn.run(model=["unknown"], seeds=1, epochs=1, folder=str(tmp_path)))


@pytest.mark.slow
def test_a_quick_run_reaches_its_errors(bench, tmp_path: Path):
    pytest.importorskip("torch")
    rows, folder = tmp_path / "rows.json", tmp_path / "run"
    for model, epochs in (("fno", "5"), ("deeponet", "20")):
        options = ("--quick", "--model", model, "--epochs", epochs, "--folder", str(folder))
        status, said, _ = bench("learn", *options, "--json", str(rows))
        assert status == 0 and "published" in said
        (goal,) = json.loads(rows.read_text())["goals"]
        assert goal["case"] == f"{model}, {epochs} epochs"
        assert goal["figure"] <= goal["limit"], goal
