# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datasets in float32: half the bytes, and every check knows what rounding does."""

from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from resealing import seal_again

from kryloset.config import DatasetConfig
from kryloset.dataset.description import describe
from kryloset.dataset.diff import compare
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.problems import load_family
from kryloset.problems.checks.drawing import Drawing
from kryloset.run import check, extend, reproduce, solve, sort
from merging import merge_verified

#: Steady on a lattice, with degrees of freedom of its own, in time, nonlinear, and on own meshes.
FAMILIES = {
    "darcy": {"modes": 4},
    "navier_stokes": {"modes": 4, "reynolds": 50.0, "steps": 8, "final_time": 0.1},
    "heat": {"steps": 3, "modes": 4},
    "reaction_diffusion": {"modes": 4},
    "thermal": {"outline": "drawn"},
}
#: One steady and one in time are fast.
KINDS = [
    pytest.param(family, marks=() if family in ("darcy", "heat") else pytest.mark.slow)
    for family in FAMILIES
]


def make(folder: Path, family: str = "darcy", precision: str = "float32", **changes) -> Path:
    """Make a dataset of two instances."""
    folder.mkdir(exist_ok=True)
    config = DatasetConfig.model_validate(
        {
            "family": family, "count": 2, "chunks": 1, "parameters": FAMILIES[family],
            "mesh": {"points": 9, "degree": 2 if family == "navier_stokes" else 1, "grids": [5]},
            "splits": {"train": 1.0}, "storage": {"precision": precision},
        } | changes
    )  # fmt: skip
    order, chunk = folder / "order.h5", folder / "1-of-1.h5"
    sort.run(config, "small", output=order)
    solve.run(config, "small", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    path = merge_verified(config, "small", order=order, chunks=[chunk], output=folder / "d.h5")
    order.unlink()
    return path


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("single"))


@pytest.mark.parametrize("family", KINDS)
def test_every_kind_of_dataset_passes_its_checks_in_single_precision(tmp_path, family):
    path = make(tmp_path, family)
    with Dataset(path) as data:
        every = [data.array(n) for n in (*data.parameters, *data.fields, *data.unknowns)]
        ragged = {a.name for a in every if f"{a.name}_offsets" in data.file}
        floats = [a for a in every if a.dtype.kind == "f" and a.name not in ragged]
        assert {a.dtype.str for a in floats} == {"<f4"}
        solver, tolerance = data.solver(), data.config.solver.tolerance
    assert (solver["true_residual"] <= tolerance).all()
    assert (solver["stored_residual"] > tolerance).all() == (not ragged), "rounding shows"
    assert check.run(path).passed
    assert all(outcome.passed for outcome in reproduce.run(path, 1))


def test_it_holds_the_rounded_numbers_of_double_precision_in_half_the_bytes(tmp_path, single):
    double = make(tmp_path, precision="float64")
    with h5py.File(double) as wide, h5py.File(single) as narrow:
        k, u = (wide[f"t0_fields/{name}"] for name in "ku")
        np.testing.assert_array_equal(narrow["t0_fields/k"][:], k[:].astype(np.float32))
        np.testing.assert_allclose(narrow["t0_fields/u"][:], u[:], rtol=1e-5, atol=1e-8)
        sizes = [f["t0_fields/u"].id.get_storage_size() - 4 * len(u) for f in (narrow, wide)]
        assert 2 * sizes[0] == sizes[1]
        assert "stored_residual" not in wide["solver"]
        assert "storage" not in wide["provenance/config"].asstr()[()]
    assert compare(single, double).equal


def test_the_cost_of_rounding_is_told(single):
    with Dataset(single) as data:
        stored = data.solver()["stored_residual"].max()
    assert f"in float32     at most {stored:.3g}, as stored" in describe(single)


@pytest.mark.parametrize("size", [1e-5, 1e-3])
def test_an_error_larger_than_rounding_is_found(tmp_path, single, size):
    path = tmp_path / "wrong.h5"
    path.write_bytes(single.read_bytes())
    with h5py.File(path, "r+") as file:
        u = file["t0_fields/u"][1]
        file["t0_fields/u"][1] = u * (1 + size * np.random.default_rng(0).standard_normal(u.shape))
    seal_again(path)
    with pytest.raises(DataError, match=r"1 \(.*what rounding to float32 adds|rounding to float32"):
        check.run(path)
    outcomes = {outcome.name: outcome.passed for outcome in reproduce.run(path, 1)}
    assert not outcomes["residual"]


def test_another_parameter_than_the_rounded_one_is_found(tmp_path, single):
    path = tmp_path / "wrong.h5"
    path.write_bytes(single.read_bytes())
    with h5py.File(path, "r+") as file:
        k = file["t0_fields/k"]
        k[0, 3, 3] = np.nextafter(k[0, 3, 3], np.float32(np.inf))
    seal_again(path)
    with pytest.raises(DataError, match="parameters that are not those of the seed"):
        check.run(path)


@pytest.mark.slow
def test_it_grows_and_keeps_what_it_has_bit_for_bit(tmp_path, single):
    path = tmp_path / "grown.h5"
    path.write_bytes(single.read_bytes())
    extend.run(path, count=3, grids=(7,))
    with h5py.File(single) as before, h5py.File(path) as after:
        for name in ("t0_fields/k", "t0_fields/u", "grid_5/u", "solver/stored_residual"):
            np.testing.assert_array_equal(after[name][:2], before[name][:])
        assert after["grid_7/u"].dtype == np.float32
    assert check.run(path).passed


def test_a_parameter_that_float32_does_not_have_is_refused():
    class Huge(type(load_family(DatasetConfig(family="darcy")))):
        def draw(self, generator):
            return {name: values * 1e60 for name, values in super().draw(generator).items()}

    config = DatasetConfig(family="darcy")
    family = Huge(load_family(config).settings, config.mesh)
    assert Drawing(family)(0, 0)["k"].max() > 1e50
    with pytest.raises(DataError, match="float32 does not have: use other units, or set storage"):
        Drawing(family, precision="float32")(0, 0)
