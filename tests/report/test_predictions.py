# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Predictions are drawn beside the truth on one scale, with their errors around zero."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from kryloset.dataset.predictions import Predictions, read_predictions, write_predictions
from kryloset.errors import DataError
from kryloset.report.predictions import describe_predictions, draw_predictions


def predictions(dimension, channels=("u",), hole=False):
    """Return those of functions on 6 points along each axis, with errors of 1, 2 and 3."""
    grid = (6,) * dimension
    truth = np.random.default_rng(0).random((3, len(channels), *grid))
    if hole:
        truth[:, :, 2:4, 2:4] = np.nan
    error = np.arange(1.0, 4.0).reshape(3, *[1] * (dimension + 1))
    lines = [np.linspace(0, 1 + i, 6) for i in range(dimension)]
    return Predictions(
        label="fno", dataset="0" * 64, split="test",
        instance=np.array([7, 3, 5]), error=np.array([0.1, 0.2, 0.3]),
        channels=channels, coordinates=dict(zip("xyz", lines, strict=False)),
        truth=truth, prediction=truth + error,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dimension", "channels", "hole"),
    [(1, ("u",), False), (2, ("u",), True), (2, ("u_x", "u_y"), False), (3, ("u",), False)],
)
def test_truth_prediction_and_error_are_the_rows(dimension, channels, hole):
    given = predictions(dimension, channels, hole)
    figure = draw_predictions(given)
    rows = 3 * len(channels)
    for place in range(rows):
        channel, kind = divmod(place, 3)
        expected = [given.truth, given.prediction, given.prediction - given.truth][kind][:, channel]
        if dimension == 3:
            expected = expected[..., 3]
        if dimension == 1:
            axes = figure.axes[3 * place : 3 * place + 3]
            shown = [axis.lines[0].get_ydata() for axis in axes]
        else:
            images = figure.axes[place].images
            shown = [image.get_array().filled(np.nan).T for image in images]
            assert len({image.get_clim() for image in images}) == 1
        np.testing.assert_array_equal(shown, expected)


def test_truth_and_prediction_share_a_scale_and_errors_are_around_zero():
    given = predictions(2, hole=True)
    truth, prediction, error, *_ = (
        axis.images[0].get_clim() for axis in draw_predictions(given).axes[:3]
    )
    assert truth == prediction == (np.nanmin(given.truth), np.nanmax(given.prediction))
    assert error == pytest.approx((-3, 3))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_titles_have_the_errors_and_labels_are_inside_the_figure(dimension):
    given = predictions(dimension)
    small = replace(given, prediction=given.truth + 1e-3 * (given.prediction - given.truth))
    figure = draw_predictions(small)
    if dimension == 1:
        titles = [axis.get_title("left") for axis in figure.axes[:3]]
    else:
        titles = [text.get_text() for text in figure.axes[0].texts]
    assert titles == ["best: 0.1", "median: 0.2", "worst: 0.3"]
    (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_a_perfect_prediction_can_be_drawn():
    given = predictions(2)
    draw_predictions(replace(given, prediction=given.truth)).canvas.draw()


def test_the_description_names_instances_and_errors():
    told = describe_predictions(predictions(1))
    assert "best instance 7 with a relative L2 error of 0.1" in told
    assert "worst instance 5 with a relative L2 error of 0.3" in told


@pytest.mark.parametrize("dimension", [1, 2])
def test_the_file_has_all_of_it_and_notices_changes(dimension, tmp_path):
    given, path = predictions(dimension, ("u_x", "u_y"), hole=dimension == 2), tmp_path / "p.h5"
    write_predictions(path, given)
    for name, value in vars(read_predictions(path)).items():
        if name == "coordinates":
            assert list(value) == list(given.coordinates)
            np.testing.assert_array_equal([*value.values()], [*given.coordinates.values()])
        else:
            np.testing.assert_array_equal(value, getattr(given, name))
    with h5py.File(path, "a") as file:
        file["prediction"][0, 0, 0] = 0
    with pytest.raises(DataError, match="prediction"):
        read_predictions(path)
