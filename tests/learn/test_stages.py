# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""From a dataset's file to models, their errors and the table of them."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from own_models import Pointwise
from reaction_data import family_of, make_data

import kryloset
from kryloset.config import dump_dataset
from kryloset.dataset.splits import split_indices
from kryloset.errors import ConfigError, DataError
from kryloset.run import baselines, evaluate, tabulate, train
from kryloset.torch import FieldPairs, load_model

#: What the evaluation writes.
MEASURED = {"metrics": "metrics.json", "predictions": "predictions.h5"}
#: What it measures along trajectories, of one step.
ROLLOUT = {"times": [0.1], "errors": {"relative_l2": [0.2]}}
#: The errors that it measures.
ERRORS = {"relative_l2", "relative_h1", "vrmse", "maximum", "boundary", "low", "middle", "high"}


@pytest.fixture(scope="module")
def config(data):
    """The dataset with two models, one of which lies in a file, and two seeds."""
    own = f"{Path(__file__).with_name('own_models.py')}:Pointwise"
    training = data.config.training.model_copy(
        update={"model": ("fno", own), "seeds": (0, 3), "epochs": 2}
    )
    return data.config.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def models(data, config, tmp_path_factory):
    """The folder of all that is trained and measured."""
    folder = tmp_path_factory.mktemp("run") / "models"
    for network in ("fno", "Pointwise"):
        for seed in (0, 3):
            files, which = folder / network / str(seed), {"network": network}
            model, history = files / "model.pt", files / "history.json"
            train.run(config, data=data.path, model=model, history=history, seed=seed, **which)
            written = {name: files / file for name, file in MEASURED.items()}
            own = config.training.labels[network] if network == "Pointwise" else None
            evaluate.run(model, data=data.path, network=own, **written)
    baselines.run(data.path, output=folder / "baselines.json")
    return folder


@pytest.fixture(scope="module")
def folder(models):
    return models / "fno/0"


def read(path):
    return json.loads(path.read_text())


def test_training_leaves_only_its_outputs(folder):
    names = {"model.pt", "history.json", *MEASURED.values()}
    assert {p.name for p in folder.iterdir()} == names


def test_a_finished_model_goes_on_for_more_epochs(data, tmp_path, caplog):
    caplog.set_level("INFO")
    written = {"model": tmp_path / "model.pt", "history": tmp_path / "history.json"}
    small = {"settings": {"fno": {"modes": 2, "width": 2, "layers": 1}}, "schedule": "constant"}
    found = []
    for epochs in (1, 3):
        settings = data.config.training.model_dump() | small | {"epochs": epochs}
        training = type(data.config.training).model_validate(settings)
        config = data.config.model_copy(update={"training": training})
        train.run(config, data=data.path, **written)
        found.append(read(tmp_path / "history.json")["valid"])
    first, longer = found
    assert len(longer) == 3 and longer[:1] == first
    assert "resuming after epoch 1 of 3" in caplog.text
    assert "more epochs would go on from here" in caplog.text


def test_history_has_one_entry_per_epoch(config, folder):
    history = read(folder / "history.json")
    assert set(history) == {"train", "valid", "seconds"}
    assert {len(values) for values in history.values()} == {config.training.epochs}


def test_each_error_of_each_predictor_is_measured_on_each_split(config, models):
    found = read(models / "baselines.json")
    assert list(found) == ["linear", "nearest", "mean"]
    measured = [read(path) for path in models.glob("*/*/metrics.json")]
    assert len(measured) == 4
    for predictor in (*measured, *found.values()):
        assert predictor["instances"] == {s: len(i) for s, i in split_indices(config).items()}
        assert predictor["calibration"] is None and predictor["grids"] == {}
        for split, errors in predictor["errors"].items():
            assert set(errors) == ERRORS
            # All functions are 0 on the boundary but for those of the operators.
            assert all(value >= 0 for value in errors.values())
            quantiles = predictor["quantiles"][split]
            for name, error in errors.items():
                assert [*quantiles[name].values()] == sorted(quantiles[name].values())
                assert quantiles[name]["min"] <= error <= quantiles[name]["max"]
    # The mean is one of the linear predictors among which the valid split chooses.
    linear, mean = (found[name]["errors"]["valid"]["relative_l2"] for name in ("linear", "mean"))
    assert linear < mean
    # Measured in single precision, it has seen each instance.
    assert found["nearest"]["errors"]["train"]["relative_l2"] < 1e-6


def test_the_table_has_mean_and_spread_of_all_models(config, models):
    output = models.parent / "models.json"
    tabulate.run(config, models=models, output=output)
    table = read(output)
    assert list(table["models"]) == ["fno", "Pointwise"]
    errors = [
        read(models / f"fno/{seed}/metrics.json")["errors"]["test"]["relative_l2"]
        for seed in (0, 3)
    ]
    assert [e["test"]["relative_l2"] for e in table["models"]["fno"]["errors"]] == errors
    assert errors[0] != errors[1]
    mean, deviation = np.mean(errors), np.std(errors, ddof=1)
    first, *lines = output.with_suffix(".md").read_text().splitlines()
    assert first.startswith("Errors on the split test (8 instances), mean ± standard deviation")
    assert f"| fno | {mean:.4f} ± {deviation:.4f} |" in "\n".join(lines)


def test_a_split_of_one_instance_is_told_as_one(config, models, tmp_path):
    copied = shutil.copytree(models, tmp_path / "models")
    path = copied / "baselines.json"
    single = {k: of | {"instances": {"train": 40, "test": 1}} for k, of in read(path).items()}
    path.write_text(json.dumps(single))
    tabulate.run(config, models=copied, output=tmp_path / "models.json")
    titles = re.findall(r"\(.* instances?\)", (tmp_path / "models.md").read_text())
    assert titles == ["(1 instance)", "(40 instances)"]


@pytest.mark.parametrize(
    "file, edit, message",
    [
        ("fno/3/metrics.json", None, r"fno/3/metrics\.json cannot be read: .*; make it again"),
        (
            "fno/3/metrics.json",
            lambda of: [],
            r"fno/3/metrics\.json has no dataset, grid, .*; make",
        ),
        (
            "fno/3/metrics.json",
            lambda of: of | {"dataset": "0"},
            r"models/fno and .*baselines\.json were measured on several datasets: measure them",
        ),
        (
            "fno/3/metrics.json",
            lambda of: of | {"rollout": {"test": ROLLOUT}},
            r"models/fno and .*baselines\.json go along trajectories in other steps: measure the",
        ),
        (
            "fno/3/metrics.json",
            lambda of: {key: of[key] for key in of if key != "rollout"},
            r"fno/3/metrics\.json has no rollout; make it again",
        ),
        (
            "fno/0/history.json",
            lambda of: {"train": []},
            r"history\.json has no valid, seconds; make",
        ),
        (
            "baselines.json",
            lambda of: {"linear": {}},
            r"baselines\.json has no nearest, mean; make",
        ),
        (
            "baselines.json",
            lambda of: of | {"mean": {}},
            r"baselines\.json, mean, has no dataset, ",
        ),
    ],
)
def test_a_table_of_other_files_is_refused(config, models, tmp_path, file, edit, message):
    path = models / file
    whole = path.read_text()
    path.write_text(whole[:9] if edit is None else json.dumps(edit(json.loads(whole))))
    try:
        with pytest.raises(DataError, match=message):
            tabulate.run(config, models=models, output=tmp_path / "models.json")
    finally:
        path.write_text(whole)
    assert not any(tmp_path.iterdir())


def test_a_choice_between_models_and_seeds_is_asked_for(data, config, tmp_path):
    files = {"model": tmp_path / "model.pt", "history": tmp_path / "history.json"}
    for choice, message in (
        ({}, "training.model is not one alone: choose one of fno, Pointwise"),
        ({"network": "unet"}, "training.model has no 'unet'"),
        ({"network": "fno"}, "training.seeds is not one alone: choose one of 0, 3"),
        ({"network": "fno", "seed": 1}, "training.seeds has no 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            train.run(config, data=data.path, **files, **choice)


def test_a_network_of_ones_own_is_loaded_by_its_class_alone(models):
    path = models / "Pointwise/0/model.pt"
    with pytest.raises(DataError, match=r"load_model\(.*model\.pt', Pointwise\)"):
        load_model(path)
    operator = load_model(path, Pointwise)
    assert operator.about["settings"] == {"width": 4}
    assert operator(torch.ones(2, 3, 5, 7)).shape == (2, 1, 5, 7)

    class Edited(Pointwise):
        def __init__(self, settings, task):
            super().__init__(settings, task)
            self.more = torch.nn.Linear(2, 2)

    with pytest.raises(DataError, match=r"other weights than the network .*, which was edited"):
        load_model(path, Edited)
    with pytest.raises(DataError, match="has the network fno of the package: give no other"):
        load_model(models / "fno/0/model.pt", Pointwise)


def test_metrics_agree_with_the_history_and_the_model(data, folder):
    metrics, history = read(folder / "metrics.json"), read(folder / "history.json")
    best = min(history["valid"])
    assert metrics["errors"]["valid"]["relative_l2"] == pytest.approx(best, rel=1e-5)
    assert metrics["seconds"] == pytest.approx(sum(history["seconds"]))
    operator, pairs = load_model(folder / "model.pt"), FieldPairs(data.path, "test")
    assert operator.about["best_epoch"] == history["valid"].index(best) + 1
    x, y = pairs.stack(range(len(pairs)))
    with torch.no_grad():
        deviation = operator(torch.from_numpy(x).float()).numpy() - y
    rule = np.outer(*(np.gradient(axis) for axis in pairs.coordinates))
    rule[[0, -1]] /= 2
    rule[:, [0, -1]] /= 2
    ratios = np.sqrt((rule * deviation**2).sum((1, 2, 3)) / (rule * y**2).sum((1, 2, 3)))
    assert metrics["errors"]["test"]["relative_l2"] == pytest.approx(ratios.mean(), rel=1e-5)


def test_a_model_says_what_it_was_made_with(config, folder):
    about = load_model(folder / "model.pt").about
    assert torch.__version__.startswith(about["versions"]["torch"])
    assert about["versions"]["kryloset"] == kryloset.__version__
    assert about["training"]["seeds"] == (0,) and about["model"] == "fno"
    assert about["settings"] == config.training.settings["fno"]


def test_someone_elses_code_loads_an_operator_without_fenicsx_and_the_workflow(data, models):
    program = (
        "import sys, torch\n"
        "for name in ('dolfinx', 'petsc4py', 'mpi4py', 'ufl', 'basix', 'cffi', 'snakemake',"
        " 'typer', 'xarray', 'h5netcdf', 'rich', 'jinja2', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from kryloset.torch import FieldPairs, load_model\n"
        f"operator = load_model({str(models / 'fno/0/model.pt')!r})\n"
        f"pair = FieldPairs({str(data.path)!r}, 'test')[0]\n"
        "assert operator(pair['x'][None])[0].shape == pair['y'].shape\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_written_is_refused_before_any_work(data, tmp_path):
    for name in (".", "folder"):
        (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(DataError, match="there is a folder of that name"):
            train.run(
                data.config,
                data=tmp_path / "never opened",
                model=tmp_path / "model.pt",
                history=tmp_path / name,
            )
        with pytest.raises(DataError, match="there is a folder of that name"):
            evaluate.run(tmp_path / "no model", data=data.path, metrics=tmp_path / name)
        with pytest.raises(DataError, match="there is a folder of that name"):
            baselines.run(tmp_path / "never opened", output=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_dataset_of_another_family_is_refused(data, tmp_path):
    files = {"model": tmp_path / "model.pt", "history": tmp_path / "history.json"}
    other = data.config.model_copy(update={"family": family_of("Uniform")})
    with pytest.raises(DataError, match=r"has instances of the family .*:Reaction, and the config"):
        train.run(other, data=data.path, **files)


def test_dataset_without_a_valid_split_is_refused(tmp_path):
    other = make_data(tmp_path / "other.h5", splits={"train": 0.5, "test": 0.5})
    with pytest.raises(DataError, match="no split `valid`: it has train, test; add it"):
        train.run(
            other.config,
            data=other.path,
            model=tmp_path / "model.pt",
            history=tmp_path / "history.json",
        )


@pytest.mark.slow
def test_training_killed_with_kill_9_ends_with_the_same_model(data, tmp_path):
    config = data.config.model_copy(
        update={"training": data.config.training.model_copy(update={"epochs": 40})}
    )
    (tmp_path / "config.yaml").write_text(dump_dataset("reaction", config))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    checkpoint = killed / "model.pt.checkpoint"
    train.run(config, data=data.path, model=whole / "model.pt", history=whole / "history.json")
    command = [sys.executable, "-m", "kryloset", "train", "config.yaml", "reaction"]
    command += ["--data", data.path, "--model", "killed/model.pt"]
    command += ["--history", "killed/history.json"]
    process = subprocess.Popen(command, cwd=tmp_path)
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = torch.load(checkpoint, weights_only=True)["record"]["valid"]
    assert 0 < len(done) < 40
    assert not (killed / "model.pt").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    first, second = read(whole / "history.json"), read(killed / "history.json")
    assert second["valid"] == first["valid"]
    assert second["valid"][: len(done)] == done
    first, second = (load_model(f / "model.pt").state_dict() for f in (whole, killed))
    first.pop("_metadata")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_missing_library_is_a_readable_error(tmp_path):
    (tmp_path / "config.yaml").write_text("datasets: {darcy: {}}")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from kryloset.__main__ import main\n"
        "sys.argv = ['kryloset', 'train', 'config.yaml', 'darcy', '--data', 'd.h5', "
        "'--model', 'm.pt', '--history', 'h.json']\n"
        "main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "this needs `torch`, which is not installed" in done.stderr
    assert "pip install 'kryloset[learn]'" in done.stderr
    assert "Traceback" not in done.stderr
