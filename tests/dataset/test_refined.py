# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Estimates of the discretisation error go into the file, and are checked from it."""

import shutil
from pathlib import Path

from mpi4py import MPI

import h5py
import pytest
import xarray
from resealing import seal_again

from kryloset.config import DatasetConfig
from kryloset.dataset.description import describe
from kryloset.dataset.diff import compare
from kryloset.dataset.integrity import read_seals
from kryloset.errors import DataError
from kryloset.run import check, merge, solve, sort
from kryloset.run.report import run as report
from merging import merge_verified

CONFIG = {
    "count": 6, "chunks": 2, "mesh": {"points": 9}, "parameters": {"modes": 4},
    "solver": {"method": "cg", "preconditioner": "icc"}, "splits": {"train": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Sorted and solved instances."""
    folder = tmp_path_factory.mktemp("refined")
    config = DatasetConfig.model_validate(CONFIG)
    sort.run(config, "small", output=folder / "order.h5")
    for chunk in ("1-of-2", "2-of-2"):
        solve.run(
            config, "small", order=folder / "order.h5", chunk=chunk,
            output=folder / f"{chunk}.h5", comm=MPI.COMM_SELF,
        )  # fmt: skip
    return folder


def merged(folder: Path, count: int) -> Path:
    """Verify and merge with estimates for some instances; nothing is solved."""
    (folder / str(count)).mkdir(exist_ok=True)
    config = DatasetConfig.model_validate(CONFIG | {"refinement": {"instances": count}})
    chunks = [folder / "1-of-2.h5", folder / "2-of-2.h5"]
    output = folder / str(count) / "d.h5"
    return merge_verified(config, "small", order=folder / "order.h5", chunks=chunks, output=output)


@pytest.fixture(scope="module")
def dataset(folder) -> Path:
    return merged(folder, 4)


def test_the_first_instances_have_distances_wherever_they_were_solved(dataset):
    with xarray.open_datatree(dataset, engine="h5netcdf") as tree:
        distances = tree["refinement/u"]
        assert distances["instance"].values.tolist() == [0, 1, 2, 3]
        assert ((distances > 1e-3) & (distances < 0.2)).all()
    report = check.run(dataset)
    assert report.checks[-1].name == "refinement"
    assert "4 instances solved on a refined mesh" in report.checks[-1].detail


def test_more_than_there_are_is_all_of_them(folder):
    with h5py.File(merged(folder, 10)) as file:
        assert len(file["refinement/u"]) == 6
    assert check.run(folder / "10/d.h5").passed


def test_without_them_the_data_are_the_same(folder, dataset):
    with h5py.File(merged(folder, 0)) as plain, h5py.File(dataset) as refined:
        one, other = read_seals(plain), read_seals(refined)
    assert "refinement" not in one
    assert {key for key in other if one.get(key) != other[key]} == {
        "provenance/config", "refinement/instance", "refinement/u", "structure",
    }  # fmt: skip


def test_a_forged_distance_is_found(dataset, tmp_path):
    shutil.copy(dataset, tmp_path / "d.h5")
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["refinement/u"][2] /= 2
    seal_again(tmp_path / "d.h5")
    with pytest.raises(DataError, match=r"refinement: .*instance 2.* recomputed"):
        check.run(tmp_path / "d.h5")
    (told,) = compare(dataset, tmp_path / "d.h5").data["Other arrays"]
    assert told.startswith("refinement/u: by ")


def test_people_are_told(dataset, tmp_path):
    assert "refined, u" in describe(dataset)
    report(dataset, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "4 instances were solved again with every edge of the mesh halved" in page
    assert "Distances of stored solutions to those on a refined mesh" in page


def test_chunks_that_were_verified_without_are_verified_again(folder, dataset):
    merged(folder, 0)
    config = DatasetConfig.model_validate(CONFIG | {"refinement": {"instances": 4}})
    others = {key: folder / f"{key}.json" for key in ("check", "timings", "choices")}
    with pytest.raises(DataError, match="verified with 0 instances on a refined mesh, not 4"):
        merge.run(
            config, "small", order=folder / "order.h5",
            chunks=[folder / "1-of-2.h5", folder / "2-of-2.h5"],
            verified=[folder / "0/verified" / f"{i}-of-2.json" for i in (1, 2)],
            output=folder / "none.h5", **others,
        )  # fmt: skip
