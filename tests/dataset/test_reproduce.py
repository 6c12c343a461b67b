# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An instance is made again from the file alone, and what differs is named."""

import shutil
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from resealing import seal_again

from kryloset.config import DatasetConfig
from kryloset.errors import DataError
from kryloset.run import reproduce, solve, sort
from merging import merge_verified

#: Steady on a lattice, with degrees of freedom of its own, in time, nonlinear, and on own meshes.
FAMILIES = {
    "darcy": {"modes": 4},
    "navier_stokes": {"modes": 4, "reynolds": 50.0, "steps": 8, "final_time": 0.1},
    "heat": {"steps": 3, "modes": 4},
    "reaction_diffusion": {"modes": 4},
    "thermal": {"outline": "drawn"},
}


def make(folder: Path, family: str, **parameters) -> Path:
    """Make a dataset of two instances."""
    config = DatasetConfig.model_validate(
        {
            "family": family, "count": 2, "chunks": 1,
            "mesh": {"points": 9, "degree": 2 if family == "navier_stokes" else 1},
            "parameters": parameters, "splits": {"train": 1.0},
        }
    )  # fmt: skip
    order, chunk = folder / "order.h5", folder / "1-of-1.h5"
    sort.run(config, "small", output=order)
    solve.run(config, "small", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    return merge_verified(config, "small", order=order, chunks=[chunk], output=folder / "d.h5")


@pytest.fixture(scope="module")
def darcy(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("darcy"), "darcy", **FAMILIES["darcy"])


def outcome(path: Path, number: int = 1) -> dict[str, bool]:
    return {check.name: check.passed for check in reproduce.run(path, number)}


EVERYTHING = dict.fromkeys(
    ("description", "stored rows", "parameters", "residual", "solution"), True
)


def test_an_instance_is_the_same_when_made_again(darcy):
    assert outcome(darcy, 0) == outcome(darcy, 1) == EVERYTHING
    told = reproduce.describe(darcy, 1, reproduce.run(darcy, 1))
    assert "k: bit for bit" in told
    assert "DIFFERS" not in told


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "darcy"])
def test_every_kind_of_family_is_made_again(family, tmp_path):
    assert outcome(make(tmp_path, family, **FAMILIES[family])) == EVERYTHING


def spoil(path: Path, to: Path, array: str, factor: float) -> Path:
    """Return a copy whose instance 1 is changed and sealed again, as a forger would."""
    shutil.copy(path, to)
    with h5py.File(to, "r+") as file:
        file[array][1] *= factor
    seal_again(to)
    return to


def test_a_forged_solution_is_named(darcy, tmp_path):
    forged = spoil(darcy, tmp_path / "d.h5", "t0_fields/u", 1.001)
    found = outcome(forged)
    assert not (found.pop("residual") or found.pop("solution"))
    assert all(found.values())
    assert outcome(forged, 0) == EVERYTHING


def test_parameters_of_another_machine_may_round_otherwise(darcy, tmp_path):
    """Those that are further apart are another instance."""
    assert outcome(spoil(darcy, tmp_path / "a.h5", "t0_fields/k", 1 + 1e-12)) == EVERYTHING
    found = outcome(spoil(darcy, tmp_path / "b.h5", "t0_fields/k", 1 + 1e-6))
    assert [name for name, passed in found.items() if not passed] == ["parameters"]


def test_a_changed_row_is_named_although_it_can_be_read(darcy, tmp_path):
    shutil.copy(darcy, tmp_path / "d.h5")
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["t0_fields/u"][1] = np.nextafter(file["t0_fields/u"][1], np.inf)
    found = outcome(tmp_path / "d.h5")
    assert [name for name, passed in found.items() if not passed] == ["stored rows"]


def test_an_instance_that_is_not_there_is_refused(darcy):
    with pytest.raises(DataError, match="has the instances 0 to 1, and no 2"):
        reproduce.run(darcy, 2)


def test_a_family_of_ones_own_is_never_run_from_the_file(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("mine.py").write_text("from kryloset.problems.darcy import Darcy as Mine\n")
    path = make(Path.cwd(), "mine.py:Mine", modes=4)
    assert outcome(path) == EVERYTHING
    Path("mine.py").unlink()
    assert outcome(path) == {"description": False}
    Path("mine.py").write_text("raise SystemExit('run, although it is another text')\n")
    assert outcome(path) == {"description": False}
