# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs on a further grid are the same functions at its points, and a model learns on them."""

import json

import h5py
import numpy as np
import pytest

pytest.importorskip("torch")

from reaction_data import family_of, make_data

from kryloset.errors import DataError
from kryloset.learn.models.base import Task, divides_alike
from kryloset.run import evaluate, train
from kryloset.torch import FieldPairs, load_model
from small_sets import make_small, small_config

#: Every second point of the grid of 9 x 11 points.
POINTS = (5, 6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("further") / "dataset.h5"
    mesh = {"points": 9, "grids": [list(POINTS)]}
    return make_data(path, family=family_of("Uniform"), count=8, mesh=mesh).path


def test_pairs_on_a_further_grid_have_the_values_of_the_file_there(path):
    own, further = FieldPairs(path, "train"), FieldPairs(path, "train", points=POINTS)
    assert further.grid == POINTS and further.inputs == own.inputs == ("k", "nu")
    assert further.logarithmic == own.logarithmic and len(further) == len(own)
    for mine, theirs in zip(further.coordinates, own.coordinates, strict=True):
        np.testing.assert_allclose(mine, theirs[::2])
    for item, instance in enumerate(own.instances):
        (x, y), (whole_x, whole_y) = further.arrays(item), own.arrays(item)
        np.testing.assert_allclose(x, whole_x[:, ::2, ::2], rtol=1e-12)
        np.testing.assert_allclose(y, whole_y[:, ::2, ::2], rtol=1e-12)
        with h5py.File(path) as file:
            np.testing.assert_array_equal(y[0], file["grid_5x6/u"][instance, 0])


def test_a_grid_that_is_not_there_is_named_with_those_that_are(path):
    with pytest.raises(DataError, match=r"no further grid of 33 points: it has 5x6; `kryloset ext"):
        FieldPairs(path, "train", points=33)


def test_profiles_are_not_on_further_grids(tmp_path):
    made = make_data(tmp_path / "d.h5", count=8, mesh={"points": 9, "grids": [list(POINTS)]})
    assert FieldPairs(made.path, "train", points=POINTS).inputs == ("k", "nu")


def test_a_model_learns_on_a_further_grid(path, tmp_path):
    training = {"grids": [list(POINTS)], "epochs": 1, "model": "deeponet"}
    mesh = {"points": 9, "grids": [list(POINTS)]}
    uniform = {"family": family_of("Uniform"), "count": 8, "mesh": mesh}
    other = make_data(tmp_path / "d.h5", **uniform, training=training)
    model, history, metrics = (tmp_path / name for name in ("m.pt", "h.json", "e.json"))
    train.run(other.config, data=path, model=model, history=history)
    assert [len(axis) for axis in load_model(model).about["coordinates"]] == list(POINTS)
    evaluate.run(model, data=path, metrics=metrics, grids=["5x6"])
    found = json.loads(metrics.read_text())
    assert found["grid"] == "5x6" and not found["grids"]
    # The one epoch was measured on the same points.
    (valid,) = json.loads(history.read_text())["valid"]
    assert found["errors"]["valid"]["relative_l2"] == pytest.approx(valid, rel=1e-6)


def test_a_grid_whose_points_lie_otherwise_is_left_out(tmp_path, caplog):
    """A network that has learned on Chebyshev points would take equidistant ones for such."""
    mesh = {"points": 9, "spacing": "chebyshev", "grids": [5]}
    small = {"epochs": 1, "settings": {"fno": {"modes": 2, "width": 2, "layers": 1}}}
    splits = {"train": 0.5, "valid": 0.25, "test": 0.25}
    changes = {"parameters": {"modes": 4}, "mesh": mesh, "splits": splits, "training": small}
    made = make_small(tmp_path / "d.h5", "darcy", **changes)
    model, history, metrics = (tmp_path / name for name in ("m.pt", "h.json", "e.json"))
    train.run(small_config("darcy", **changes), data=made, model=model, history=history)
    evaluate.run(model, data=made, metrics=metrics)
    found = json.loads(metrics.read_text())
    assert found["grid"] == "9" and not found["grids"]
    assert "points of the grid 5 lie otherwise along an axis than where" in caplog.text
    with pytest.raises(DataError, match=r"grid 5 lie otherwise .*: measure it on another grid"):
        evaluate.run(model, data=made, metrics=metrics, grids=["5"])


def test_points_are_alike_on_finer_and_coarser_grids_of_the_same_kind():
    lines = {
        "equidistant": lambda count: np.linspace(0, 1, count),
        "chebyshev": lambda count: (1 - np.cos(np.linspace(0, np.pi, count))) / 2,
    }
    for kind, line in lines.items():
        for known, count in ((33, 65), (65, 33), (17, 24), (9, 9)):
            task = Task(("k",), ("u",), (line(known),), (False,), 1)
            for other, points in lines.items():
                # The side may have another length.
                assert divides_alike(task, [2 + 3 * points(count)]) == (kind == other)
    waves = Task(("k",), ("u",), (np.linspace(0, 1, 32, endpoint=False),), (True,), 1)
    assert divides_alike(waves, [np.linspace(0, 1, 48, endpoint=False)])
