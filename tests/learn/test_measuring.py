# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A model is measured on grids, splits and datasets, and predictions are kept for the report."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from reaction_data import family_of, make_data
from typer.testing import CliRunner

from documentation import ROOT, read_blocks
from kryloset.cli import app
from kryloset.dataset.predictions import read_predictions
from kryloset.errors import DataError
from kryloset.learn.measuring import measure
from kryloset.run import baselines, evaluate, train
from kryloset.run.equations import open_equations
from kryloset.torch import FieldPairs, load_model

SPLITS = {"train": 0.4, "valid": 0.1, "calibration": 0.25, "test": 0.25}
UNIFORM = {
    "family": family_of("Uniform"),
    "mesh": {"points": 9, "grids": [[5, 6]]},
    "splits": SPLITS,
}


def learn(data, model):
    """Train for one epoch."""
    training = data.config.training.model_copy(update={"epochs": 1})
    config = data.config.model_copy(update={"training": training})
    train.run(config, data=data.path, model=model, history=model.with_name("history.json"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset with a further grid and a split for calibration, and the file of a model on it."""
    folder = tmp_path_factory.mktemp("evaluation")
    data = make_data(folder / "dataset.h5", **UNIFORM)
    model = folder / "model.pt"
    learn(data, model)
    return data, model


def evaluated(made, folder, **options):
    """Return what the evaluation writes."""
    data, model = made
    output = folder / "metrics.json"
    evaluate.run(model, metrics=output, **{"data": data.path} | options)
    return json.loads(output.read_text())


def predict(model, pairs):
    x, y = pairs.stack(range(len(pairs)))
    with torch.no_grad():
        return load_model(model)(torch.from_numpy(x).float()).numpy(), y


def test_each_grid_is_measured_with_its_own_points(made, tmp_path):
    data, model = made
    found = evaluated(made, tmp_path)
    assert found["grid"] == "9x11" and list(found["grids"]) == ["5x6"]
    for points, errors in ((None, found["errors"]), ((5, 6), found["grids"]["5x6"]["errors"])):
        pairs = FieldPairs(data.path, "test", points=points)
        expected = measure(*predict(model, pairs), pairs.closed_coordinates)
        for name, values in expected.items():
            assert errors["test"][name] == pytest.approx(values.mean(), rel=1e-4, abs=1e-7)
    alone = evaluated(made, tmp_path, grids=["5x6"], splits=["test"])
    assert alone["grid"] == "5x6" and alone["grids"] == {}
    assert alone["errors"] == {"test": found["grids"]["5x6"]["errors"]["test"]}


def test_the_calibration_is_by_its_own_split(made, tmp_path):
    data, model = made
    found = evaluated(made, tmp_path)["calibration"]
    pairs = {split: FieldPairs(data.path, split) for split in ("calibration", "test")}
    assert len(pairs["calibration"]) == 10
    deviation = float(load_model(model).scaling.output_std)
    for kind, score in (
        ("relative_l2", lambda p, y, of: measure(p, y, of.closed_coordinates)["relative_l2"][:, 0]),
        ("tube", lambda p, y, _: np.abs(p - y).max(axis=(1, 2, 3)) / deviation),
    ):
        scores = {split: score(*predict(model, of), of) for split, of in pairs.items()}
        bound = found[kind]["0.9"]
        assert bound["radius"] == pytest.approx(scores["calibration"].max(), rel=1e-4)
        within = np.mean(scores["test"] <= bound["radius"])
        assert bound["coverage"]["test"] == pytest.approx(within)
        assert set(bound["coverage"]) == {"train", "valid", "test"}
        assert found[kind]["0.95"]["radius"] is None


def test_bounds_of_one_dataset_are_compared_with_the_errors_on_another(made, tmp_path):
    data, _ = made
    other = make_data(tmp_path / "other.h5", **UNIFORM | {"seed": 1, "count": 20})
    own = evaluated(made, tmp_path)["calibration"]["relative_l2"]["0.9"]
    found = evaluated(made, tmp_path, data=other.path, calibration=data.path)["calibration"]
    bound = found["relative_l2"]["0.9"]
    assert bound["radius"] == own["radius"]
    assert set(bound["coverage"]) == {"train", "valid", "calibration", "test"}


def test_what_calibrates_on_other_grids_is_refused_before_anything_is_measured(
    made, tmp_path, monkeypatch
):
    coarse = make_data(tmp_path / "coarse.h5", **UNIFORM | {"mesh": {"points": 5}})
    monkeypatch.setattr(evaluate, "measure_splits", None)
    with pytest.raises(DataError, match=r"coarse\.h5 has no grid of 9x11 points: it has 5x7; "):
        evaluated(made, tmp_path, calibration=coarse.path)


def test_a_family_without_known_equations_has_no_residuals(made, tmp_path):
    with pytest.raises(DataError, match="equations are not known: leave out --residual"):
        evaluated(made, tmp_path, equations=open_equations)


def test_the_best_the_median_and_the_worst_prediction_are_kept(made, tmp_path):
    data, model = made
    evaluated(made, tmp_path, predictions=tmp_path / "p.h5")
    found, pairs = read_predictions(tmp_path / "p.h5"), FieldPairs(data.path, "test")
    prediction, y = predict(model, pairs)
    errors = measure(prediction, y, pairs.closed_coordinates)["relative_l2"].mean(axis=1)
    order = np.argsort(errors)[[0, (len(errors) - 1) // 2, -1]]
    np.testing.assert_array_equal(found.instance, pairs.instances[order])
    np.testing.assert_allclose(found.error, errors[order], rtol=1e-4)
    np.testing.assert_array_equal(found.truth, y[order])
    np.testing.assert_allclose(found.prediction, prediction[order], rtol=1e-4, atol=1e-6)
    assert (found.label, found.split, found.channels) == ("fno", "test", ("u",))
    assert list(found.coordinates) == ["x", "y"] and found.dataset == pairs.digest


def test_another_dataset_is_measured_beside_baselines_of_the_training(made, tmp_path):
    data, _ = made
    other = make_data(tmp_path / "other.h5", **UNIFORM | {"seed": 1, "count": 20})
    found = evaluated(made, tmp_path, data=other.path)
    assert found["trained_on"] == FieldPairs(data.path, "train").digest
    assert found["dataset"] == FieldPairs(other.path, "train").digest != found["trained_on"]
    baselines.run(data.path, output=tmp_path / "b.json", on=other.path)
    beside = json.loads((tmp_path / "b.json").read_text())
    for baseline in beside.values():
        assert baseline["dataset"] == found["dataset"]
        assert baseline["trained_on"] == found["trained_on"]
        # Its train split is no other than the test to these.
        assert baseline["errors"]["train"]["relative_l2"] > 0.01


def test_a_test_that_was_trained_on_is_refused(made, tmp_path):
    _, model = made
    same = make_data(tmp_path / "same.h5", **UNIFORM | {"splits": {"train": 0.1, "test": 0.9}})
    with pytest.raises(DataError, match=r"`test` is no test of this model"):
        evaluate.run(model, data=same.path, metrics=tmp_path / "metrics.json")
    assert not (tmp_path / "metrics.json").exists()
    evaluate.run(model, data=same.path, metrics=tmp_path / "metrics.json", splits=["train"])


def test_a_dataset_with_more_inputs_fits_and_one_with_fewer_is_refused(
    made, data, tmp_path, caplog
):
    """`data` is of another family, which has the parameter f, too."""
    uniform, model = made
    output = tmp_path / "metrics.json"
    evaluate.run(model, data=uniform.path, metrics=output)
    assert "family" not in caplog.text
    other = make_data(tmp_path / "other.h5", seed=1, count=10)
    evaluate.run(model, data=other.path, metrics=output)
    told = r"model\.pt learnt on instances of the family .*:Uniform, and .*other\.h5 .* of .*:Reac"
    assert re.search(told, caplog.text)
    assert json.loads(output.read_text())["errors"]["test"]["relative_l2"] > 0
    with pytest.raises(DataError, match="it has k, f, nu, u, and not k, nu, u; choose another"):
        baselines.run(uniform.path, output=output, on=other.path)
    model = tmp_path / "model.pt"
    learn(data, model)
    with pytest.raises(DataError, match="the model needs f, and it has k, nu"):
        evaluate.run(model, data=uniform.path, metrics=output, splits=["test"])


def test_the_commands_of_the_page_run(made, tmp_path, monkeypatch):
    data, model = made
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/darcy/models/fno/0"
    folder.mkdir(parents=True)
    (folder / "model.pt").symlink_to(model)
    (tmp_path / "results/darcy/dataset.h5").symlink_to(data.path)
    make_data(tmp_path / "other.h5", **UNIFORM | {"seed": 1, "count": 10})
    (block,) = read_blocks("docs/how-to/measuring.md", "sh")
    for line in block.splitlines():
        call = line.removeprefix("kryloset ").split()
        assert CliRunner().invoke(app, call, catch_exceptions=False).exit_code == 0
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \|", (ROOT / "docs/how-to/measuring.md").read_text(), re.M
    )
    keys = {key.strip("`") for row in rows for key in row.split(", ")}
    assert keys == json.loads((tmp_path / "other.json").read_text()).keys()


def test_the_commands_choose_splits_and_grids(made, tmp_path):
    data, model = made
    output = tmp_path / "metrics.json"
    call = ["evaluate", str(model), "--data", str(data.path), "--output", str(output)]
    call += ["--split", "test", "--split", "valid", "--grid", "5x6"]
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    assert done.exit_code == 0
    assert list(json.loads(output.read_text())["errors"]) == ["test", "valid"]
    call = ["baselines", str(data.path), "--output", str(output), "--grid", "9x11"]
    assert CliRunner().invoke(app, call, catch_exceptions=False).exit_code == 0
    assert list(json.loads(output.read_text())) == ["linear", "nearest", "mean"]
