# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The example of docs/how-to/family.md runs as printed, and solves the equation it states."""

from pathlib import Path
from typing import Any

from mpi4py import MPI

import h5py
import numpy as np
import pytest

from directly import solve_directly
from documentation import ROOT, read_blocks
from kryloset.config import DatasetConfig, load_dataset
from kryloset.problems import load_family
from kryloset.problems.catalogue import describe_family
from kryloset.run import solve, sort
from kryloset.sampling import generator

FILE = ROOT / "config/examples/heat.py"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of the example are relative to the repository."""
    monkeypatch.chdir(ROOT)


def test_page_prints_the_file_and_the_configuration() -> None:
    code, *_ = read_blocks("docs/how-to/family.md")
    (config,) = read_blocks("docs/how-to/family.md", "yaml")
    assert code == FILE.read_text()
    assert config in (ROOT / "config/examples/heat.yaml").read_text()


def test_example_is_drawn_and_solved(tmp_path: Path) -> None:
    config = load_dataset(Path("config/examples/heat.yaml"), "heat")
    order, chunk = tmp_path / "order.h5", tmp_path / "chunk.h5"
    sort.run(config, "heat", output=order, chunks=1)
    solve.run(
        config, "heat", order=order, chunk="1-of-1", output=chunk,
        comm=MPI.COMM_SELF,
    )  # fmt: skip
    family = load_family(config)
    discretisation = family.discretise(MPI.COMM_SELF)
    with h5py.File(chunk) as solved:
        assert solved["parameters/q"].shape == (32, 33, 33)
        assert solved["parameters/h"].shape == (32,)
        for row in range(4):
            instance = {n: solved[f"parameters/{n}"][row] for n in ("q", "h")}
            fields = {"u": solved["fields/u"][row]}
            assert discretisation.residual(instance, fields) <= config.solver.tolerance


def test_example_solves_its_equation() -> None:
    # q = (2 c pi^2 + h) sin(pi x) sin(pi y) has the solution sin(pi x) sin(pi y).
    errors = []
    for points in (17, 33):
        config = load_dataset(Path("config/examples/heat.yaml"), "heat")
        mesh = config.mesh.model_copy(update={"points": points})
        family = load_family(config.model_copy(update={"mesh": mesh}))
        x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
        exact = np.sin(np.pi * x) * np.sin(np.pi * y)
        instance = {"q": (2 * 0.5 * np.pi**2 + 7.0) * exact, "h": np.float64(7.0)}

        u = family.discretise(MPI.COMM_SELF).solve([instance], solve_directly)[0]["u"]
        errors.append(np.abs(u - exact).max())
    assert np.log2(errors[0] / errors[1]) > 1.9


def test_own_family_can_be_described() -> None:
    text = describe_family("config/examples/heat.py:Heat")
    assert "heat loss" in text and "conductivity" in text


def test_the_page_joins_the_edges_of_the_plate(tmp_path: Path) -> None:
    """A shifted source gives the shifted temperature."""
    (tmp_path / "plate.py").write_text("".join(read_blocks("docs/how-to/family.md")[:2]))
    given = DatasetConfig(
        family=f"{tmp_path}/plate.py:Plate", mesh={"points": 24, "periodic": ["x"]}
    )
    family = load_family(given)
    instance = family.draw(generator(0, 0))
    shifted = {"q": np.roll(instance["q"], 5, 0), "h": instance["h"]}
    one, other = family.discretise(MPI.COMM_SELF).solve([instance, shifted], solve_directly)
    np.testing.assert_allclose(other["u"], np.roll(one["u"], 5, 0), rtol=0, atol=1e-12)


def test_the_page_tags_a_plate_with_a_hole_of_gmsh(tmp_path: Path) -> None:
    """Its hole is masked, and its tags are those of the sides."""
    pytest.importorskip("gmsh")
    (tmp_path / "plate.py").write_text(read_blocks("docs/how-to/family.md")[2])
    given = DatasetConfig(family=f"{tmp_path}/plate.py:Perforated", mesh={"points": 17})
    family = load_family(given)
    discretisation: Any = family.discretise(MPI.COMM_SELF)
    meshes, inside = discretisation.meshes(), discretisation.masks()[None]
    x, y = np.meshgrid(*family.coordinates.values(), indexing="ij")
    far = np.hypot(x - 0.5, y - 0.5)
    assert inside[far > 0.2].all() and not inside[far < 0.19].any()
    instance = family.draw(generator(0, 0))
    (stored,) = discretisation.solve([instance], solve_directly)
    assert np.isnan(stored["u"][inside == 0]).all() and (stored["u"][inside == 1] > -1e-12).all()
    points, cells = meshes["u_points"], meshes["u_cells"]
    ends = np.array([np.delete(cells[cell], corner) for cell, corner in meshes["facets_hole"]])
    np.testing.assert_allclose(np.hypot(*(points[ends] - 0.5).T), 0.2)
    assert len(meshes["cells_plate"]) == len(cells)
    assert discretisation.residual(instance, stored) < 1e-12
    assert not stored["u_dofs"][np.isclose(points[:, 0], 0)].any()
