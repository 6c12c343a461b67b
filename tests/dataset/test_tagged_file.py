# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset on a mesh of Gmsh with a hole: its tags, its mask and its parameters at nodes."""

import shutil
from pathlib import Path
from typing import Any

from mpi4py import MPI  # noqa: F401  (before DOLFINx)

import h5py
import numpy as np
import pytest
from resealing import seal_again
from test_check import failures
from various_runs import StagedRun

from documentation import find_block
from kryloset.config import DatasetConfig


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: Any) -> Path:
    """The family of the page on families, with a conductivity on the grid."""
    pytest.importorskip("gmsh")
    folder = tmp_path_factory.mktemp("tagged")
    text = find_block("docs/how-to/family.md", "class Perforated")
    text = text.replace('"W/(m K)", dimensions=()', '"W/(m K)"', 1)
    text = text.replace("uniform(1, 2)", "uniform(1, 2, 2 * (self.mesh.points,))", 1)
    (folder / "plate.py").write_text(text)
    config = DatasetConfig(
        family=f"{folder}/plate.py:Perforated", count=6, solver={"method": "direct"}, chunks=2,
        mesh={"points": 13, "grids": [5], "nodal_parameters": True},
        splits={"train": 0.5, "test": 0.5},
    )  # fmt: skip
    return StagedRun(folder, config).prepare().merge()


def test_tags_mask_and_parameters_at_nodes_are_stored_and_checked(dataset: Path) -> None:
    assert failures(dataset) == {}
    with h5py.File(dataset) as file:
        points, cells = file["mesh/u_points"][:], file["mesh/u_cells"][:]
        left = [np.delete(cells[cell], corner) for cell, corner in file["mesh/facets_left"]]
        np.testing.assert_allclose(points[left][..., 0], 0, atol=1e-12)
        np.testing.assert_array_equal(file["mesh/cells_plate"], np.arange(len(cells)))
        assert not file["t0_fields/inside"][6, 6] and file["t0_fields/inside"][0, 0]
        k, at_nodes = file["t0_fields/k"][:], file["unknowns/k_nodes"][:, 0]
        for x, y in ((0, 0), (0, 12), (12, 12)):
            node = np.hypot(*(points - np.array([x, y]) / 12).T).argmin()
            np.testing.assert_allclose(at_nodes[:, node], k[:, x, y])


def test_other_tags_and_parameters_at_nodes_are_found(dataset: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copy(dataset, tmp_path))
    with h5py.File(changed, "r+") as file:
        file["mesh/facets_left"][0, 0] += 1
        file["unknowns/k_nodes"][2, 0, 3] += 1
    seal_again(changed)
    found = failures(changed)
    assert found.keys() == {"mesh", "grids"}
    assert "facets_left" in found["mesh"] and "instance 2: k_nodes" in found["grids"]
