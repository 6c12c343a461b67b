# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dataset is a file of The Well, a labelled tree of xarray, and plain arrays for h5py."""

import re
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from pointwise_runs import make_run

from documentation import find_block
from kryloset.config import TrainingConfig, dump_dataset, load_config
from kryloset.dataset import description
from kryloset.dataset.layout import CHECKSUM, FILTERS, choose_filters
from kryloset.dataset.reader import Dataset
from kryloset.dependence import keys_of
from kryloset.errors import DataError


def test_xarray_opens_it_with_names_and_coordinates(any_run):
    path, axes = any_run.whole, any_run.family.axes
    tree = xr.open_datatree(path, engine="h5netcdf")
    fields, coordinates = tree["t0_fields"], any_run.family.coordinates
    assert fields["k"].dims == ("sample", *axes)
    assert fields["u"].dims == ("sample", "time", *axes)
    assert tree["scalars/nu"].dims == tree["solver/iterations"].dims == ("sample",)
    for axis, values in coordinates.items():
        np.testing.assert_array_equal(fields["u"].coords[axis], values)
    np.testing.assert_array_equal(fields["u"].coords["sample"], np.arange(any_run.config.count))
    assert fields["u"].attrs["units"] == "m"
    assert fields["k"].attrs["transform"] == "log"
    train = fields["u"].isel(sample=tree["splits/train"].values)
    assert float(train.mean()) == pytest.approx(tree["statistics/u"].attrs["mean"], rel=1e-14)


def is_text(values) -> bool:
    return isinstance(values, np.ndarray) and all(isinstance(value, str) for value in values)


def varying(node: h5py.HLObject) -> tuple[bool, bool]:
    flags = node.attrs["sample_varying"], node.attrs["time_varying"]
    assert all(isinstance(flag, np.int8) for flag in flags)
    return tuple(map(bool, flags))


def test_it_follows_the_specification_of_the_well(any_run):
    """Check each sentence of docs/data_format.md of The Well."""
    count, axes = any_run.config.count, list(any_run.family.axes)
    with h5py.File(any_run.whole) as file:
        assert file.attrs["dataset_name"] == "division"
        assert file.attrs["grid_type"] == "cartesian"
        assert file.attrs["n_spatial_dims"] == len(axes)
        assert file.attrs["n_trajectories"] == count
        assert is_text(file.attrs["simulation_parameters"])
        for name in file.attrs["simulation_parameters"]:
            assert name in file.attrs
            assert name in file["scalars"]

        dimensions = file["dimensions"]
        assert is_text(dimensions.attrs["spatial_dims"])
        assert list(dimensions.attrs["spatial_dims"]) == axes
        assert dimensions["time"].shape == (1,)
        assert varying(dimensions["time"]) == (False, True)
        for axis in axes:
            assert dimensions[axis] == file[axis], "a hard link"
            assert varying(dimensions[axis]) == (False, False)
        sizes = {axis: len(dimensions[axis]) for axis in axes}

        for group in ("t0_fields", "t1_fields", "t2_fields", "scalars"):
            assert is_text(file[group].attrs["field_names"])
            assert sorted(file[group].attrs["field_names"]) == sorted(file[group])
        assert set(file["t0_fields"]) == {"k", "profile", "u"}
        for name, field in file["t0_fields"].items():
            assert varying(field) == (True, name == "u")
            along = field.attrs["dim_varying"]
            assert set(along) <= {0, 1}
            expected = [sizes[axis] for axis, varies in zip(axes, along, strict=True) if varies]
            assert field.shape == (count, *((1,) if name == "u" else ()), *expected)
        assert varying(file["scalars/nu"]) == (True, False)
        assert file["scalars/nu"].shape == (count,)

        assert len(file["boundary_conditions"]) == len(axes)
        for name, condition in file["boundary_conditions"].items():
            (axis,) = condition.attrs["associated_dims"]
            kind = condition.attrs["bc_type"]
            assert name.startswith(f"{axis}_{kind}")
            assert kind in ("wall", "open", "periodic")
            assert list(condition.attrs["associated_fields"]) == ["u"]
            assert varying(condition) == (False, False)
            mask = condition["mask"][:]
            assert set(mask) == {0, 1}
            assert np.flatnonzero(mask).tolist() == [0, sizes[axis] - 1]
            np.testing.assert_array_equal(condition["values"], 0.5 if axis == "x" else 0.0)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_saves_a_part_again(any_run, tmp_path, engine):
    if engine == "netcdf4":
        pytest.importorskip("netCDF4")
    with xr.open_datatree(any_run.whole, engine=engine) as tree:
        part = tree.isel(sample=slice(0, 4)).load()
    part.to_netcdf(tmp_path / "part.nc", engine=engine)
    with xr.open_datatree(tmp_path / "part.nc", engine=engine) as again:
        xr.testing.assert_identical(again.load(), part)
    mask = part["boundary_conditions/x_wall_u/mask"]
    assert mask.dtype == bool and mask.values.tolist() == [True, *[False] * 3, True]


def test_attributes_use_only_types_and_names_of_netcdf(any_run):
    """No truth values, no slashes in names: netCDF4 refuses to write them."""

    def is_bool(value: Any) -> bool:
        return np.dtype(getattr(value, "dtype", object)).kind == "b"

    with h5py.File(any_run.whole) as file:
        found: dict[str, h5py.HLObject] = {"/": file}
        file.visititems(lambda path, node: found.update({path: node}))
        for path, node in found.items():
            assert not is_bool(node), path
            for name in node.attrs:
                value = node.attrs[name]
                assert re.fullmatch(r"\w+", name), (path, name)
                assert not is_bool(value), (path, name)


@pytest.mark.slow
def test_the_well_loads_it(any_run):
    """As in docs/reference/dataset.md: no input step, one output step, parameters as constants."""
    data = pytest.importorskip("the_well.data")
    path = any_run.whole
    well = data.WellDataset(
        path=str(path.parent), include_filters=["dataset.h5"], n_steps_input=0, n_steps_output=1
    )
    assert len(well) == any_run.config.count
    assert well.metadata.field_names[0] == ["u"]
    assert well.metadata.constant_field_names[0] == ["k", "profile"]
    assert well.metadata.constant_scalar_names == ["nu"]
    with Dataset(path) as dataset:
        for index in range(len(well)):
            sample, stored = well[index], dataset.instance(index)
            solution = dataset.solution(index)
            np.testing.assert_array_equal(sample["output_fields"][0, ..., 0], solution["u"])
            np.testing.assert_array_equal(sample["constant_fields"][..., 0], stored["k"])
            np.testing.assert_array_equal(sample["constant_scalars"][0], stored["nu"])
            walls = [[0, 0], [1, 1], [1, 1]][: len(any_run.family.axes)]
            assert sample["boundary_conditions"].tolist() == walls


@pytest.fixture
def recipe(run, tmp_path, monkeypatch):
    """Run the only block of docs/reference/dataset.md with a certain text; return its names."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "darcy").symlink_to(run.whole.parent)
    monkeypatch.chdir(tmp_path)

    def execute(word: str) -> dict[str, Any]:
        scope: dict[str, Any] = {}
        exec(find_block("docs/reference/dataset.md", word), scope)
        return scope

    return execute


def test_the_documented_recipe_for_xarray(recipe):
    assert recipe("open_datatree")["train"]["u"].sizes == {"sample": 9, "time": 1, "x": 5, "y": 6}


def test_the_documented_recipe_for_h5py(recipe):
    scope = recipe("    k = file")
    assert scope["u"].shape == scope["k"].shape == (9, 5, 6)


@pytest.mark.slow
def test_the_documented_recipe_for_torch(recipe):
    pytest.importorskip("torch")
    pairs = recipe("TensorDataset")["pairs"]
    assert len(pairs) == 9
    assert [tuple(tensor.shape) for tensor in pairs[0]] == [(1, 5, 6), (1, 5, 6)]


@pytest.mark.slow
def test_the_documented_recipe_for_the_well(recipe):
    pytest.importorskip("the_well")
    train = recipe("WellDataset")["train"]
    assert len(train) == 9
    assert train[0]["output_fields"].shape == (1, 5, 6, 1)


def test_gzip_is_used_only_if_it_halves_an_array():
    generator = np.random.default_rng(0)
    assert choose_filters(generator.standard_normal((5, 6))) is CHECKSUM
    assert choose_filters(generator.choice([3.0, 12.0], (50, 60))) is FILTERS
    assert choose_filters(np.zeros((50, 60)), "never") is CHECKSUM
    assert choose_filters(generator.standard_normal((5, 6)), "always") is FILTERS
    assert choose_filters(np.zeros(())) is CHECKSUM  # shorter than the header of gzip


def test_every_array_is_checksummed(run):
    with h5py.File(run.whole) as file:
        arrays = []
        file.visititems(lambda _, node: arrays.append(node) if hasattr(node, "ndim") else None)
        arrays = [array for array in arrays if array.ndim]
        assert len(arrays) > 20
        for array in arrays:
            assert array.fletcher32, array.name
            assert array.shuffle == (array.compression == "gzip"), array.name
        assert (
            file["solver/iterations"].compression == "gzip"
            and file["t0_fields/u"].compression is None
        )
        assert file["t0_fields/u"].chunks == (1, 1, 5, 6)
        assert file["t0_fields/u"].dtype == np.float64


def test_the_file_says_how_to_make_it_again(run, tmp_path):
    path = run.whole
    with Dataset(path) as data:
        name, config = data.name, data.config
    assert (name, config) == (run.name, run.config)
    text = description.read_config_text(path)
    assert text == dump_dataset(run.name, run.config, keys_of("merge"))
    (tmp_path / "again.yaml").write_text(text)
    assert load_config(tmp_path / "again.yaml").datasets == {name: config}
    with h5py.File(path) as file:
        provenance = file["provenance"]
        assert provenance.attrs["seed"] == run.config.seed
        assert {"kryloset", "dolfinx", "petsc", "numpy", "h5py", "hdf5", "python"} <= set(
            provenance["versions"].attrs
        )
        assert set(provenance["code"].attrs) == {"sort", "solve", "merge"}
        # The digest of the code that solved the chunks, not that of the present code.
        assert provenance["code"].attrs["solve"] == "solved-0 solved-1 solved-2"
        source = provenance["family"].asstr()[()]
    assert "class Pointwise(Family)" in source


def test_training_settings_do_not_change_the_bytes(run):
    first = run.whole.read_bytes()
    training = TrainingConfig(epochs=run.config.training.epochs + 1)
    other = replace(run, config=run.config.model_copy(update={"training": training}))
    assert other.merge("other.h5").read_bytes() == first


def test_flag_meanings_name_every_reason(run):
    from kryloset.krylov import Reason

    with h5py.File(run.whole) as file:
        attributes = dict(file["solver/reason"].attrs)
    words = attributes["flag_meanings"].split()
    assert dict(zip(attributes["flag_values"], words, strict=True)) == {
        int(reason): reason.name.lower() for reason in Reason
    }


def test_the_largest_seed_is_kept(tmp_path):
    run = make_run(tmp_path, seed=2**64 - 1)
    with h5py.File(run.merge()) as file:
        assert int(file["provenance"].attrs["seed"]) == 2**64 - 1


def test_the_description_is_readable(run):
    path = run.whole
    lines = description.describe(path).splitlines()
    text = "\n".join(lines)
    assert "12 instances on a grid of 5 x 6 points" in lines
    assert "Splits: train 9, valid 1, test 2" in lines
    for expected in (
        "permeability [m2]  ",
        "(sample 12, time 1, x 5, y 6) float64",
        "at most 1.2e-11, tolerance 1e-08",
        "9 of 12 instances",
        f"kryloset restore {path} again",
    ):
        assert expected in text
    recipe = lines[lines.index("Open it:") + 1 :][:3]
    scope: dict[str, object] = {}
    exec("\n".join(line.strip() for line in recipe), scope)
    assert scope["tree"]["t0_fields/u"].sizes == {"sample": 12, "time": 1, "x": 5, "y": 6}


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none.h5"):
        description.describe(tmp_path / "none.h5")
    with pytest.raises(DataError, match="there is no file"):
        description.describe(tmp_path / ("n" * 300))
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match=r"text.h5 is not an HDF5 file"):
        description.describe(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="not a dataset of Kryloset"):
        Dataset(tmp_path / "other.h5")


@pytest.mark.parametrize("tell", [description.describe, description.read_config_text])
def test_a_changed_configuration_is_not_shown(run, tell):
    path = run.whole
    with h5py.File(path, "r+") as file:
        text = file["provenance/config"].asstr()[()]
        file["provenance/config"][()] = text.replace("seed: 7", "seed: 8")
    with pytest.raises(DataError, match=r"/provenance/config was changed"):
        tell(path)
