# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The Well's own loader reads the exports of all families, with its statistics."""

import h5py
import numpy as np
import pytest
import yaml

from small_sets import NAMES, make_small

pytest.importorskip("torch")
pytest.importorskip("the_well.data")

import torch
from the_well.data import WellDataset
from the_well.data.datasets import BoundaryCondition, DeltaWellDataset
from the_well.data.normalization import RMSNormalization, ZScoreNormalization

from kryloset.dataset.reader import Dataset
from kryloset.export.selection import GridView
from kryloset.run import export


def load(folder, split, steady, **options):
    """Open a split as a user of The Well does; the only free name in its list is `dummy`."""
    return WellDataset(
        well_base_path=str(folder.parent), well_dataset_name=folder.name, well_split_name=split,
        n_steps_input=0 if steady else 1, n_steps_output=1, use_normalization=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_its_loader_reads_every_family(name, small, exported):
    folder = exported(name, "well", "dummy", precision="float64")
    with Dataset(small(name)) as source:
        view, steady = GridView(source, None), source.times is None
        for split, instances in source.splits().items():
            well = load(folder, split, steady)
            assert len(well) == len(instances) * (1 if steady else len(source.times) - 1)
            sample, instance = well[0], int(instances[0])
            given = [n for n in view.parameters if not view.is_number(n)]
            inside = view.inside(instance)
            # The Well has scalars before vectors.
            fields = view.channels(sorted(view.fields, key=view.rank), instance)
            found = sample["output_fields"][0].movedim(-1, 0).numpy()
            np.testing.assert_array_equal(found, [f if steady else f[1] for f in fields])
            expected = view.channels([n for n in given if not view.rank(n)], instance)
            expected += [] if inside is None else [inside]
            expected += view.channels([n for n in given if view.rank(n)], instance)
            if expected:
                found = sample["constant_fields"].movedim(-1, 0).numpy()
                np.testing.assert_array_equal(found, expected)
            numbers = [view.values(n, instance) for n in view.parameters if view.is_number(n)]
            if numbers:
                np.testing.assert_array_equal(sample["constant_scalars"], numbers)


@pytest.mark.parametrize("kind", [ZScoreNormalization, RMSNormalization])
@pytest.mark.parametrize("name", ["darcy", "navier_stokes", "thermal_polygons"])
def test_its_statistics_normalise_the_training_split(name, kind, exported):
    folder = exported(name, "well", "dummy", precision="float64")
    stats = yaml.safe_load((folder / "stats.yaml").read_text())
    with h5py.File(next((folder / "data/train").iterdir())) as file:
        steady = len(file["dimensions/time"]) == 1
    well = load(
        folder, "train", steady, normalization_type=kind, full_trajectory_mode=not steady,
        **({} if steady else {"max_rollout_steps": 100}),
    )  # fmt: skip
    assert well.norm is not None
    parts = [torch.cat([s[k] for k in ("input_fields", "output_fields") if k in s]) for s in well]
    values = torch.stack(parts).flatten(0, -2).numpy()
    inside = ~np.isnan(values).any(axis=1)
    if kind is ZScoreNormalization:
        np.testing.assert_allclose(values[inside].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose((values[inside] ** 2).mean(axis=0), 1, rtol=1e-5)
    assert set(stats) == {f"{k}{d}" for k in ("mean", "std", "rms") for d in ("", "_delta")}


def test_its_statistics_normalise_steps(exported):
    folder = exported("navier_stokes", "well")
    well = DeltaWellDataset(
        path=str(folder), well_split_name="train", use_normalization=True,
        normalization_type=ZScoreNormalization,
    )  # fmt: skip
    steps = torch.stack([sample["output_fields"] for sample in well]).flatten(0, -2).numpy()
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-4)


def test_its_loader_knows_periodic_axes(tmp_path):
    mesh = {"points": 8, "periodic": ["x"]}
    file = make_small(tmp_path / "closed.h5", "darcy", mesh=mesh, parameters={"modes": 3})
    export.run(file, to="well", output=tmp_path / "dummy")
    sides = load(tmp_path / "dummy", "train", True)[0]["boundary_conditions"]
    along_x, along_y = BoundaryCondition.PERIODIC.value, BoundaryCondition.WALL.value
    assert sides.tolist() == [[along_x] * 2, [along_y] * 2]
