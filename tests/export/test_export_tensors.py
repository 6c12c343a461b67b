# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""neuraloperator and DeepXDE read their exports."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError


def test_load_darcy_flow_small_reads_it(small, tmp_path, monkeypatch):
    darcy = pytest.importorskip("neuralop.data.datasets.darcy")
    from kryloset.run import export
    from small_sets import make_small

    mesh = {"points": 16, "grids": [32]}
    source = make_small(tmp_path / "darcy.h5", "darcy", mesh=mesh, parameters={"modes": 8})
    export.run(source, to="neuraloperator", output=tmp_path / "pt")
    # It asks Zenodo for the list of files, even where all are there.
    monkeypatch.setattr(darcy, "download_from_zenodo_record", lambda **_: None)
    train, tests, processor = darcy.load_darcy_flow_small(
        n_train=2, n_tests=[2, 2], batch_size=2, test_batch_sizes=[2, 2], data_root=tmp_path / "pt"
    )
    batch = next(iter(train))
    assert batch["x"].shape == batch["y"].shape == (2, 1, 16, 16)
    assert batch["x"].dtype == batch["y"].dtype == torch.float32
    assert next(iter(tests[32]))["y"].shape == (2, 1, 32, 32)
    assert processor.out_normalizer is not None
    with Dataset(source) as dataset:
        first = int(dataset.splits()["train"][0])
        for name, key in (("k", "x"), ("u", "y")):
            expected = dataset.rows(name, first, first + 1)[0].astype("f4")
            np.testing.assert_array_equal(batch[key][0, 0], expected)


def test_several_channels_and_the_last_state(small, exported):
    folder = exported("navier_stokes", "neuraloperator", splits=["test"], precision="float64")
    assert sorted(p.name for p in folder.iterdir()) == [
        "navier_stokes_test_17.pt", "navier_stokes_test_5.pt", "provenance.json",
    ]  # fmt: skip
    data = torch.load(folder / "navier_stokes_test_17.pt")
    with Dataset(small("navier_stokes")) as dataset:
        instance = int(dataset.splits()["test"][0])
        solution, given = dataset.solution(instance), dataset.instance(instance)
    expected = [*np.moveaxis(solution["u"][-1], -1, 0), solution["p"][-1]]
    np.testing.assert_array_equal(data["y"][0], expected)
    np.testing.assert_array_equal(data["x"][0, 0], given["psi"])
    np.testing.assert_array_equal(data["x"][0, 1], np.tile(given["lid"][:, None], 17))


def test_the_mask_is_the_last_input(small, exported):
    data = torch.load(
        exported("thermal_polygons", "neuraloperator") / "thermal_polygons_train_17.pt"
    )
    mask = data["x"][:, -1] != 0
    assert data["y"].isfinite().all() and (data["y"][:, 0][~mask] == 0).all()
    assert (data["x"][:, 0][~mask] == 0).all() and 0 < mask.float().mean() < 1


def test_deepxde_reads_it(small, exported, monkeypatch):
    monkeypatch.setenv("DDE_BACKEND", "pytorch")
    dde = pytest.importorskip("deepxde")
    folder = exported("darcy", "deepxde")
    train, test = (np.load(folder / f"darcy_{split}.npz") for split in ("train", "test"))
    data = dde.data.TripleCartesianProd(
        (train["X_train0"], train["X_train1"]), train["y_train"],
        (test["X_test0"], test["X_test1"]), test["y_test"],
    )  # fmt: skip
    (branch, trunk), y = data.train_next_batch()
    assert branch.shape == (2, 81) and trunk.shape == (81, 2) and y.shape == (2, 81)
    net = dde.nn.DeepONetCartesianProd([81, 8], [2, 8], "relu", "Glorot normal")
    with torch.no_grad():
        assert net((torch.from_numpy(branch), torch.from_numpy(trunk))).shape == y.shape


def test_own_domains_do_not_fit_into_products(exported):
    with pytest.raises(DataError, match="domain of its own"):
        exported("thermal_polygons", "deepxde")
