# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Networks on points are trained, loaded and measured at the nodes of meshes."""

from mpi4py import MPI  # isort: skip  # noqa: F401  (DOLFINx needs it to be first)

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from documentation import read_blocks
from kryloset.config import TrainingConfig
from kryloset.errors import DataError
from kryloset.learn.measuring import measure_splits
from kryloset.learn.mesh_measuring import NumberedPairs, OnGridOfMeshes
from kryloset.learn.models.fno import FNO
from kryloset.learn.models.graph_solver import GraphSolver
from kryloset.learn.pairs import find_place
from kryloset.run import evaluate, train
from kryloset.torch import MeshPairs, Scaling, load_model
from small_sets import make_small, small_config

SPLITS = {"train": 0.5, "valid": 0.25, "test": 0.25}
SETTINGS = {
    "cgs": {"width": 4, "layers": 1, "heads": 2, "contraction": 0.5},
    "gino": {"latent": 4, "modes": 2, "width": 4, "layers": 1},
}


@pytest.fixture(scope="module")
def polygons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("polygons")
    return make_small(folder / "dataset.h5", "thermal_polygons", splits=SPLITS)


def configure(name, **training):
    training = {"model": name, "settings": {name: SETTINGS[name]}, "epochs": 3} | training
    config = small_config("thermal_polygons", splits=SPLITS)
    return config.model_copy(update={"training": TrainingConfig.model_validate(training)})


@pytest.mark.parametrize("name", SETTINGS)
def test_a_network_on_points_learns_on_the_mesh_of_each_instance(name, polygons, tmp_path):
    config = configure(name, loss="h1")
    model, history, metrics = (tmp_path / n for n in ("model.pt", "history.json", "metrics.json"))
    train.run(config, data=polygons, model=model, history=history)
    evaluate.run(model, data=polygons, metrics=metrics)
    operator, pairs = load_model(model), MeshPairs(polygons, "valid")
    assert operator.about["where"] == "mesh"
    batch = pairs[0]
    with torch.no_grad():
        found = operator(batch.x, batch.points).numpy()
    weights, truth = pairs.mesh(0).weights, pairs.arrays(0)[1]
    error = np.sqrt(weights @ (found - truth) ** 2 / (weights @ truth**2))
    assert min(json.loads(history.read_text())["valid"]) == pytest.approx(error[0], rel=1e-5)
    measured = json.loads(metrics.read_text())
    assert list(measured["grids"]) == ["5"]
    # The quadrature on the coarse grid is another one.
    assert measured["errors"]["valid"]["relative_l2"] == pytest.approx(error[0], rel=0.3)
    assert measured["errors"]["valid"]["boundary"] > 0


@pytest.mark.parametrize("points", [None, 5])
def test_the_solution_at_the_nodes_has_no_error_on_any_grid(points, polygons):
    """A network that knew the solution would be measured without error."""
    meshes, pairs = MeshPairs(polygons, "test"), NumberedPairs(polygons, "test", points=points)
    solution = Exact(meshes, meshes.instances.tolist())
    (found,) = measure_splits(
        OnGridOfMeshes(solution, meshes, pairs.coordinates), {"test": pairs}
    ).values()
    assert found.errors["relative_l2"].max() < 1e-6


class Exact:
    """What stands for an operator, and returns the solutions of instances in order."""

    def __init__(self, meshes, instances):
        """Read the solutions."""
        self.about, self.scaling = {"inputs": meshes.inputs}, Scaling.fit(meshes)
        self.solutions = [meshes.of_instance(instance)[1].y for instance in instances]

    def __call__(self, x, points):
        """Return the solution of the next instance."""
        return self.solutions.pop(0)


def test_the_program_of_the_page_loads_an_operator(polygons, tmp_path, monkeypatch):
    results = tmp_path / "results/polygons"
    model = results / "models/gino/0/model.pt"
    config = configure("gino", epochs=1)
    train.run(config, data=polygons, model=model, history=tmp_path / "history.json")
    (results / "dataset.h5").symlink_to(polygons)
    monkeypatch.chdir(tmp_path)
    # The small set has a single test instance.
    (program,) = read_blocks("docs/how-to/meshes.md")
    found = {}
    exec(program.replace('"test"', '"train"'), found)
    assert found["u"].shape == found["batch"].y.shape
    assert found["batch"].relative_l2(found["u"]).shape == (2, 1)


def test_the_same_network_learns_on_the_grid_on_request(polygons, tmp_path):
    config, model = configure("cgs", where="grid", epochs=1), tmp_path / "model.pt"
    train.run(config, data=polygons, model=model, history=tmp_path / "history.json")
    operator = load_model(model)
    assert operator.about["where"] == "grid" and operator.about["inputs"][-1] == "inside"


def test_a_network_learns_on_the_mesh_where_its_nodes_are_not_points_of_the_grid(
    polygons, tmp_path
):
    auto, grid, mesh = (TrainingConfig(where=where) for where in ("auto", "grid", "mesh"))
    assert find_place(polygons, GraphSolver, auto) == "mesh"
    assert find_place(polygons, FNO, auto) == find_place(polygons, FNO, grid) == "grid"
    for name in ("darcy", "maxwell"):
        path = make_small(tmp_path / f"{name}.h5", name)
        assert find_place(path, GraphSolver, auto) == "grid"
        assert find_place(path, GraphSolver, mesh) == "mesh"
    with pytest.raises(DataError, match="no values at nodes: train on the grid"):
        MeshPairs(path, "train")
