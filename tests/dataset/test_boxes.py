# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset on a box with other points along each axis, and a coefficient in its cells."""

import h5py
import numpy as np
import pytest
import xarray
from test_check import failures
from various_runs import StagedRun

from kryloset.config import DatasetConfig
from kryloset.dataset.description import describe
from kryloset.dataset.reader import Dataset
from kryloset.export.selection import GridView
from kryloset.problems import load_family
from kryloset.report.gallery import gallery
from kryloset.report.pictures import make_pictures, pictured, plane

MESH = {
    "points": [9, 5],
    "sides": [2.0, 1.0],
    "spacing": ["chebyshev", "equidistant"],
    "grids": [[5, 3], 4],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    config = DatasetConfig(
        parameters={"permeability": "two_valued", "placement": "cells", "modes": 3},
        count=6,
        chunks=2,
        mesh=MESH,
        splits={"train": 0.5, "test": 0.5},
    )
    run = StagedRun(tmp_path_factory.mktemp("box"), config).prepare()
    return run, run.merge()


def test_it_passes_every_check(made):
    assert failures(made[1]) == {}


def test_arrays_have_the_axes_of_their_points_and_cells(made):
    _, path = made
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        k, u = tree["parameters/k"], tree["t0_fields/u"]
        assert k.dims == ("sample", "x_cell", "y_cell") and k.shape == (6, 8, 4)
        assert u.dims == ("sample", "time", "x", "y") and u.shape == (6, 1, 9, 5)
        x, x_cell = u.coords["x"].values, k.coords["x_cell"].values
        np.testing.assert_allclose(x_cell, (x[:-1] + x[1:]) / 2)
        assert x[-1] == 2 and x[1] < 0.1
        for name in ("k", "u"):
            assert tree[f"grid_5x3/{name}"].dims[-2:] == ("x_5x3", "y_5x3")
            assert tree[f"grid_5x3/{name}"].shape[-2:] == (5, 3)
            assert tree[f"grid_4/{name}"].shape[-2:] == (4, 4)
    with h5py.File(path) as file:
        assert file["parameters/k"].attrs["placement"] == "cells"
        assert file.attrs["equation"].startswith("-div(k grad u) = f in (0, 2) x (0, 1)")
    assert "On a further grid of 5 x 3 points: /grid_5x3" in describe(path)


def test_the_configuration_in_it_makes_the_same_family(made):
    run, path = made
    with Dataset(path) as data:
        assert data.config.mesh == run.config.mesh
        again = load_family(data.config)
    assert all(np.array_equal(again.coordinates[a], run.family.coordinates[a]) for a in "xy")


def test_cells_are_drawn_as_cells(made):
    run, path = made
    family, rows = run.family, []
    with Dataset(path) as data:
        for variable in pictured(family):
            values = data.rows(variable.name, 0, 2)
            rows += make_pictures(family, variable, values)
    figure = gallery(rows, ["first", "second"], plane(family))
    meshes = figure.axes[0].collections
    assert [mesh.get_array().shape for mesh in meshes] == [(4, 8), (4, 8)]
    np.testing.assert_allclose(meshes[0].get_coordinates()[0, :, 0], family.coordinates["x"])


def test_exports_have_cells_at_points(made):
    _, path = made
    with Dataset(path) as data:
        own, further = GridView(data, None), GridView(data, (5, 3))
        k, stored = own.whole("k", 1), data.rows("k", 1, 2)[0]
        assert k.shape == own.shape == (9, 5) and further.whole("k", 1).shape == (5, 3)
        np.testing.assert_array_equal(k[1:, 1:], stored)
        np.testing.assert_array_equal(k[0, 1:], stored[0])
        assert own.left_out == ()
