# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pairs at the nodes of meshes have the parameters that forms see and the stored solution."""

import pickle
import shutil

from mpi4py import MPI  # noqa: F401  (before DOLFINx)

import h5py
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.interpolation import GridInterpolation
from kryloset.learn.mesh_data import MeshPairs
from kryloset.learn.point_batch import PointBatch
from kryloset.problems import load_family
from small_sets import make_small


@pytest.fixture(scope="module")
def polygons(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("polygons") / "dataset.h5", "thermal_polygons")


def area(corners):
    x, y = corners.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_each_instance_has_its_mesh_its_solution_and_its_parameters_at_the_nodes(polygons):
    pairs = MeshPairs(polygons, "train")
    assert pairs.inputs == ("left", "right", "flux", "c", "boundary")
    assert pairs.outputs == ("T",) and not pairs.shared
    assert pairs.logarithmic == (False, False, False, True, False)
    with Dataset(polygons) as data:
        family = load_family(data.config)
        for item, instance in enumerate(pairs.instances.tolist()):
            x, y = pairs.arrays(item)
            solution, given = data.solution(instance), data.instance(instance)
            np.testing.assert_array_equal(y[:, 0], solution["T_dofs"])
            for column, name in enumerate(("left", "right", "flux")):
                assert set(x[:, column]) == {float(given[name])}
            expected = family.between_points(given["c"], solution["T_points"])
            np.testing.assert_allclose(x[:, 3], expected, rtol=1e-12)
            mesh = pairs.mesh(item)
            assert mesh.weights.sum() == pytest.approx(area(given["corners"]), rel=1e-9)
            nodes = mesh.points[x[:, 4] != 0]
            assert distances(nodes, given["corners"]).max() < 1e-9
            assert distances(mesh.points[x[:, 4] == 0], given["corners"]).min() > 1e-3


def test_what_is_stored_in_float32_is_read_in_float64(tmp_path):
    path = make_small(tmp_path / "dataset.h5", "darcy", storage={"precision": "float32"})
    pairs = MeshPairs(path, "train")
    with Dataset(path) as data:
        assert data.array("u").dtype == np.float32
    assert [values.dtype for values in pairs.arrays(0)] == [np.float64, np.float64]


def distances(points, corners):
    """Return the distance of each point to the nearest edge of a polygon."""
    begin, along = corners, np.roll(corners, -1, axis=0) - corners
    share = ((points[:, None] - begin) * along).sum(-1) / (along**2).sum(-1)
    nearest = begin + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1)


def test_items_are_in_the_box_and_batches_hold_one_instance_after_another(polygons):
    pairs = pickle.loads(pickle.dumps(MeshPairs(polygons, "train")))
    parts = [pairs[item] for item in range(len(pairs))]
    (batch,) = torch.utils.data.DataLoader(pairs, len(pairs), collate_fn=PointBatch.join)
    points = batch.points
    assert points.count == len(pairs) and points.positions.min() >= 0
    assert points.positions.max() <= 1
    for number, (item, part) in enumerate(zip(range(len(pairs)), parts, strict=True)):
        own = points.instance == number
        x, y = pairs.arrays(item)
        np.testing.assert_array_equal(batch.x[own], x.astype("f4"))
        np.testing.assert_array_equal(batch.y[own], y.astype("f4"))
        begin = int(own.nonzero()[0])
        here = own[points.edges[0]]
        assert torch.equal(points.edges[:, here] - begin, part.points.edges)
        assert own[points.edges[1]].equal(here)
    with pytest.raises(IndexError, match="the split has 2 items"):
        pairs[len(pairs)]


@pytest.fixture(scope="module")
def slab(tmp_path_factory):
    path = tmp_path_factory.mktemp("slab") / "dataset.h5"
    mesh = {"points": 17, "nodal_parameters": True}
    given = {"conductivity": "lognormal", "modes": 4}
    return make_small(path, "thermal", mesh=mesh, parameters=given)


def test_a_shared_mesh_with_parameters_at_its_nodes_and_tags(slab, tmp_path):
    path = shutil.copy(slab, tmp_path)
    with h5py.File(path, "r+") as file:
        file["mesh/facets_slot"], file["mesh/cells_core"] = np.array([[3, 1]]), np.array([5])
    pairs = MeshPairs(path, "test")
    assert pairs.shared and pairs.inputs[-3:] == ("boundary", "in_core", "on_slot")
    x, y = pairs.arrays(1)
    with Dataset(slab) as data:
        solution, meshes = data.solution(int(pairs.instances[1])), data.meshes()
    np.testing.assert_array_equal(y[:, 0], solution["T_dofs"])
    np.testing.assert_array_equal(x[:, pairs.inputs.index("c")], solution["c_nodes"])
    cells = meshes["T_cells"]
    assert set(np.flatnonzero(x[:, -2])) == set(cells[5])
    assert set(np.flatnonzero(x[:, -1])) == set(np.delete(cells[3], 1))


@pytest.mark.parametrize("placement", ["points", "cells"])
def test_nodes_that_are_the_points_of_the_grid_have_its_values(placement, tmp_path):
    settings = {"permeability": "two_valued", "placement": placement, "modes": 2}
    path = make_small(
        tmp_path / "darcy.h5", "darcy", parameters=settings, mesh={"points": 9, "degree": 2}
    )
    at_nodes, on_grid = MeshPairs(path, "train"), FieldPairs(path, "train")
    assert at_nodes.inputs == (*on_grid.inputs, "boundary")
    assert at_nodes.outputs == on_grid.outputs
    for found, expected in zip(at_nodes.arrays(0), on_grid.arrays(0), strict=True):
        columns = expected.reshape(len(expected), -1).T
        np.testing.assert_array_equal(found[:, : columns.shape[1]], columns)
    assert at_nodes.mesh(0).weights.sum() == pytest.approx(1, rel=1e-12)


def test_vectors_and_the_last_state_of_a_trajectory(tmp_path):
    for name, field in (("elasticity", "u"), ("heat", "u")):
        path = make_small(tmp_path / f"{name}.h5", name)
        pairs = MeshPairs(path, "test")
        _, y = pairs.arrays(0)
        with Dataset(path) as data:
            values, times = data.solution(int(pairs.instances[0]))[field], data.times
        last = values if times is None else values[-1]
        np.testing.assert_array_equal(y, last.reshape(len(y), -1))


def test_interpolation_between_the_points_of_a_grid_is_that_of_the_families(tmp_path):
    path = make_small(
        tmp_path / "dataset.h5",
        "neumann_poisson",
        mesh={"points": 9, "periodic": ["x"]},
        parameters={"modes": 3},
    )
    with Dataset(path) as data:
        family, axes, lengths = load_family(data.config), data.closed_coordinates, data.grid
    random = np.random.default_rng(0)
    values, points = (
        random.random((2, *lengths)),
        np.vstack((random.random((20, 2)), [[1, 1], [0, 1]])),
    )
    found = GridInterpolation(tuple(axes.values()), points, lengths)(values)
    for own, field in zip(found, values, strict=True):
        np.testing.assert_allclose(own, family.between_points(field, points), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maxwell", "`E` is in edge elements, which have no values at nodes: train on the grid"),
        ("navier_stokes", "`p` has nodes of its own"),
    ],
)
def test_fields_without_values_at_the_nodes_of_the_first_are_refused(name, message, tmp_path):
    path = make_small(tmp_path / "dataset.h5", name)
    with pytest.raises(DataError, match=message):
        MeshPairs(path, "train")


def test_a_dataset_without_a_mesh_is_refused(data):
    with pytest.raises(DataError, match="no mesh of `u`, so there are no nodes"):
        MeshPairs(data.path, "train")
