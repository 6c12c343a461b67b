# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Grid points outside of the domain are masked automatically, through all stages."""

from pathlib import Path

from mpi4py import MPI  # noqa: F401  (before DOLFINx)

import h5py
import numpy as np
import pytest
import xarray as xr
from perforated import NOTHING, Perforated, in_hole
from pointwise_runs import make_run
from resealing import seal_again
from test_check import failures
from various_runs import StagedRun

from kryloset.config import DatasetConfig, MeshConfig, Section
from kryloset.dataset import description
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError, FamilyError
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.problems.checks.coverage import respects, select
from kryloset.problems.checks.stored import check_stored

FAMILIES = Path(__file__).parent / "perforated.py"
#: Each instance has its own domain.
DRAWN = {"family": "thermal", "points": 17, "parameters": {"outline": "drawn"}}


def make(folder, family=f"{FAMILIES}:Perforated", points=9, **settings):
    """Draw, sort and solve; also on grids of three and five points."""
    config = {
        "family": family,
        "count": 6,
        "mesh": {"points": points, "grids": [3, 5]},
        "solver": {"method": "direct"},
        "splits": {"train": 0.5, "test": 0.5},
        "chunks": 2,
    }
    return StagedRun(folder, DatasetConfig(**config | settings)).prepare()


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A dataset with one domain, one of vectors, and one with a domain for each instance."""
    runs = {
        "shared": make(tmp_path_factory.mktemp("shared")),
        "vectors": make(tmp_path_factory.mktemp("vectors"), f"{FAMILIES}:Vectors"),
        "own": make(tmp_path_factory.mktemp("own"), **DRAWN),
    }
    return {name: run.merge() for name, run in runs.items()}


def copied(path, folder):
    copy = folder / "dataset.h5"
    copy.write_bytes(path.read_bytes())
    return copy


def grid_and_mask(points):
    x, y = np.meshgrid(*2 * [np.linspace(0, 1, points)], indexing="ij")
    return x, y, ~in_hole(x, y)


@pytest.mark.parametrize("name", ["shared", "own", "vectors"])
def test_a_dataset_with_a_mask_passes_the_check(datasets, name):
    assert failures(datasets[name]) == {}


def test_a_field_is_right_inside_and_NaN_outside_on_every_grid(datasets):
    with Dataset(datasets["shared"]) as data, Dataset(datasets["vectors"]) as vectors:
        assert data.masked == vectors.masked == "shared"
        for index in range(len(data)):
            drawn, solution = data.instance(index), data.solution(index)
            mine, theirs = (d.solution(index) for d in (data, vectors))
            np.testing.assert_allclose(
                mine["u"], drawn["g"] + np.where(drawn["g"] == NOTHING, np.nan, 0), rtol=1e-12
            )
            np.testing.assert_allclose(theirs["w"], np.stack([mine["u"]] * 2, axis=-1), rtol=1e-10)
            for points in (None, 3, 5):
                x, _, mask = grid_and_mask(points or 9)
                np.testing.assert_array_equal(data.inside(index, points), mask)
                u = (data.resampled(points, index) if points else solution)["u"]
                assert respects(u, mask)
                # On the coarse grids every point is one of the fine grid.
                step = 8 // (len(x) - 1)
                np.testing.assert_allclose(u[mask], mine["u"][::step, ::step][mask], rtol=1e-12)


def test_a_grid_may_be_larger_than_the_mesh(tmp_path):
    path = make(tmp_path, f"{FAMILIES}:Clustered").merge()
    assert failures(path) == {}
    with Dataset(path) as data:
        x, y = np.meshgrid(data.file["x"][:], data.file["y"][:], indexing="ij")
        mask = ~in_hole(x, y) & (y >= 0) & (y <= 1)
        for index in range(len(data)):
            np.testing.assert_array_equal(data.inside(index), mask)
            u, g = data.solution(index)["u"], data.instance(index)["g"]
            np.testing.assert_allclose(u, np.where(mask, g, np.nan), rtol=1e-10)


def test_each_instance_may_have_its_own_domain(datasets):
    with Dataset(datasets["own"]) as data:
        masks = [data.inside(index) for index in range(len(data))]
        assert data.masked == "own"
        assert len({mask.tobytes() for mask in masks}) == len(data)
        for index, mask in enumerate(masks):
            assert 0.1 < mask.mean() < 0.7
            assert respects(data.solution(index)["T"], mask)
            np.testing.assert_array_equal(data.solution(index)["inside"], mask)
            for points in (3, 5):
                fine, coarse = (
                    mask[:: 16 // (points - 1), :: 16 // (points - 1)],
                    data.inside(index, points),
                )
                np.testing.assert_array_equal(coarse, fine)
                assert respects(data.resampled(points, index)["T"], coarse)


def test_the_mask_follows_the_conventions_of_the_well_and_cf(datasets):
    with h5py.File(datasets["shared"]) as file, h5py.File(datasets["own"]) as own:
        mask = file["t0_fields/inside"]
        assert (mask.shape, mask.dtype) == ((9, 9), np.int8)
        assert not mask.attrs["sample_varying"] and not mask.attrs["time_varying"]
        assert mask.attrs["flag_meanings"] == "outside inside"
        assert mask.attrs["flag_values"].tolist() == [0, 1]
        assert file["t0_fields"].attrs["field_names"].tolist() == ["g", "u", "inside"]
        assert np.isnan(file["t0_fields/u"].attrs["_FillValue"]).all()
        assert file["t0_fields/u"].attrs["ancillary_variables"] == "inside"
        assert file["grid_5/u"].attrs["ancillary_variables"] == "inside"
        assert file["grid_5/inside"].shape == (5, 5)
        assert "_FillValue" not in file["t0_fields/g"].attrs
        assert own["t0_fields/inside"].shape == (6, 17, 17)
        assert own["t0_fields/inside"].attrs["sample_varying"]
    with h5py.File(datasets["vectors"]) as file:
        assert file["t1_fields/w"].attrs["ancillary_variables"] == "/t0_fields/inside"
    described = {name: description.describe(path) for name, path in datasets.items()}
    assert "72 of these points lie in the domain (`inside`); fields are NaN" in described["shared"]
    assert "Between " in described["own"]


def test_a_mesh_that_covers_its_grid_has_no_mask(tmp_path):
    path = make(tmp_path, family="darcy", parameters={"modes": 3}).merge()
    with h5py.File(path) as file, Dataset(path) as data:
        assert data.masked is data.inside(0) is None
        names, attributes = [], set()
        file.visititems(lambda name, node: (names.append(name), attributes.update(node.attrs)))
        assert not [name for name in names if name.endswith("inside")]
        assert not attributes & {"_FillValue", "ancillary_variables"}


@pytest.mark.parametrize("name", ["shared", "own", "vectors"])
def test_statistics_are_those_of_the_inside_of_the_train_split(datasets, name):
    with Dataset(datasets[name]) as data:
        arrays = {key: [] for key in (*data.parameters, *data.fields)}
        for index in data.splits()["train"]:
            both = data.instance(index) | data.solution(index)
            for key, parts in arrays.items():
                values = both[key]
                on_grid = values.shape[:2] == data.grid
                parts.append(values[data.inside(index)].ravel() if on_grid else values.ravel())
        for key, parts in arrays.items():
            values, found = np.concatenate(parts), data.statistics(key)
            assert found["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert found["std"] == pytest.approx(values.std(), rel=1e-12)
            assert (found["min"], found["max"]) == (values.min(), values.max())
        if "g" in arrays:
            assert data.statistics("g")["max"] < NOTHING


def test_xarray_masks_automatically(datasets):
    with xr.open_datatree(datasets["shared"], engine="h5netcdf") as tree:
        u, inside = tree["t0_fields/u"], tree["t0_fields/inside"]
        assert inside.dims == ("x", "y")
        assert bool((u.isnull() == (inside == 0)).all())
        assert float(u.count()) == 6 * 72
        with Dataset(datasets["shared"]) as data:
            expected = np.mean([data.within("u", index) for index in range(6)])
        assert float(u.mean()) == pytest.approx(expected)
        assert tree["grid_3/inside"].dims == ("x_3", "y_3")


def test_xarray_saves_a_part_with_its_mask(datasets, tmp_path):
    with xr.open_datatree(datasets["own"], engine="h5netcdf") as tree:
        part = tree.isel(sample=[4, 1])
        part.to_netcdf(tmp_path / "part.nc", engine="h5netcdf")
        with xr.open_datatree(tmp_path / "part.nc", engine="h5netcdf") as again:
            xr.testing.assert_identical(again["t0_fields/T"], part["t0_fields/T"])
            xr.testing.assert_identical(again["t0_fields/inside"], part["t0_fields/inside"])
            assert np.isnan(again["t0_fields/T"].encoding["_FillValue"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shared", "own"])
def test_the_well_loads_it(datasets, name):
    """The mask is a constant field."""
    well_data = pytest.importorskip("the_well.data")
    well = well_data.WellDataset(
        path=str(datasets[name].parent),
        include_filters=["dataset.h5"],
        n_steps_input=0,
        n_steps_output=1,
    )
    with Dataset(datasets[name]) as data:
        names = well.metadata.constant_field_names[0]
        for index in range(len(data)):
            mask = well[index]["constant_fields"][..., names.index("inside")].numpy()
            np.testing.assert_array_equal(mask, data.inside(index))
            fields = well[index]["output_fields"][0, ..., 0].numpy()
            np.testing.assert_array_equal(np.isnan(fields), mask == 0)


def put(path, place, value):
    def change(file):
        file[path][place] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "check", "detail"),
    [
        ("shared", put("t0_fields/inside", (4, 4), 1), "mesh", "the mask of the grid"),
        ("shared", put("t0_fields/inside", (0, 4), 0), "mesh", "the mask of the grid"),
        ("shared", put("grid_5/inside", (2, 2), 1), "mesh", "the mask of the grid of 5 points"),
        ("own", put("t0_fields/inside", (3, 0, 0), 1), "grids", "instance 3: inside"),
        ("own", put("grid_5/inside", (3, 0, 0), 1), "grids", "instance 3: inside on the grid of 5"),
        ("shared", put("t0_fields/u", (2, 0, 4, 4), 0), "finite", "instance 2: u"),
        ("shared", put("t0_fields/u", (2, 0, 4, 4), np.inf), "finite", "instance 2: u"),
        ("shared", put("t0_fields/u", (2, 0, 0, 4), np.nan), "finite", "instance 2: u"),
        ("vectors", put("t1_fields/w", (2, 0, 4, 4, 1), 0), "finite", "instance 2: w"),
        ("own", put("t0_fields/T", (1, 0, 0, 0), 0), "finite", "instance 1: T"),
        ("shared", put("grid_5/u", (5, 0, 2, 2), 0), "grids", "instance 5: u on the grid of 5"),
        # The residual is computed from the degrees of freedom.
        ("shared", put("t0_fields/u", (2, 0, 0, 4), 7), "grids", "instance 2: u"),
    ],
)
def test_a_changed_mask_or_a_value_outside_is_found(
    datasets, tmp_path, name, change, check, detail
):
    path = copied(datasets[name], tmp_path)
    with h5py.File(path, "r+") as file:
        change(file)
    assert failures(path).keys() == {"integrity"}
    seal_again(path)
    assert detail in failures(path)[check]


def test_a_missing_mask_is_found(datasets, tmp_path):
    path = copied(datasets["shared"], tmp_path)
    with h5py.File(path, "r+") as file:
        del file["t0_fields/inside"]
    seal_again(path)
    assert "t0_fields/inside is missing" in failures(path)["description"]


@pytest.mark.parametrize("place", [(4, 4), (0, 4)], ids=["outside", "inside"])
def test_a_chunk_with_a_wrong_value_is_not_merged(tmp_path, place, monkeypatch):
    """Put a number outside the domain, or NaN inside."""
    solve = SteadyDiscretisation.solve

    def wrong(self, instances, solver):
        (solution,) = solve(self, instances, solver)
        solution["u"][place] = 0.0 if np.isnan(solution["u"][place]) else np.nan
        return [solution]

    monkeypatch.setattr(SteadyDiscretisation, "solve", wrong)
    run = make(tmp_path)
    message = r"values that are not finite, or not NaN outside the domain: instance 0: u"
    with pytest.raises(DataError, match=message):
        run.merge()


@pytest.mark.parametrize(
    ("settings", "name", "place"),
    [({}, "u", (2, 2)), ({}, "u", (0, 2)), (DRAWN, "T", (2, 2))],
    ids=["outside", "inside", "inside an own domain"],
)
def test_a_wrong_value_on_a_further_grid_is_not_merged(
    tmp_path, settings, name, place, monkeypatch
):
    """It is the same whenever it is evaluated."""
    resample = SteadyDiscretisation.resample

    def wrong(self, points, instance, solution):
        found = resample(self, points, instance, solution)
        if points == 5:
            found[name][place] = 0.0 if np.isnan(found[name][place]) else np.nan
        return found

    monkeypatch.setattr(SteadyDiscretisation, "resample", wrong)
    run = make(tmp_path, **settings)
    message = rf"not NaN outside the domain: instance \d: {name} on the grid of 5 points"
    with pytest.raises(DataError, match=message):
        run.merge()


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("Named", "must not be named 'inside', which is the mask of the domain"),
        (
            "Millimetres",
            r"the mesh, \[0, 1000\] x .* reaches beyond the grid, \[0, 1\]",
        ),
        ("Beside", r"no point of the grid, \[0.3, 0.7\] x .*, lies in the mesh"),
        (
            "Metres",
            r"1 of 9 points along x of the grid, \[0, 1000\] x .*, lies in the mesh, \[0, 1\]",
        ),
    ],
)
def test_invalid_domains_are_refused_before_solving(tmp_path, family, message):
    with pytest.raises(FamilyError, match=message):
        make(tmp_path, f"{FAMILIES}:{family}")


def test_a_grid_smaller_than_the_mesh_is_reported(tmp_path, caplog):
    path = make(tmp_path, f"{FAMILIES}:Window").merge()
    assert "Window: the mesh, [0, 1] x [0, 1], reaches beyond the grid, [0, 0.5]" in caplog.text
    with Dataset(path) as data:
        x, y = np.meshgrid(*2 * [np.linspace(0, 0.5, 9)], indexing="ij")
        np.testing.assert_array_equal(data.inside(0), ~in_hole(x, y))


def test_a_masked_trajectory_starts_from_the_values_on_the_grid(tmp_path):
    path, (_, _, mask) = make(tmp_path, f"{FAMILIES}:Cooling").merge(), grid_and_mask(9)
    assert failures(path) == {}
    with Dataset(path) as data:
        for index in range(len(data)):
            u, g = data.solution(index)["u"], data.instance(index)["g"]
            assert u.shape == (4, 9, 9)
            assert respects(u, mask)
            for state in u:
                np.testing.assert_allclose(state[mask], g[mask], rtol=1e-7)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((9, 8), np.int8), r"inside .*has the shape \(9, 8\)"),
        (np.full((9, 9), 2, np.int8), "1 in the domain and 0 outside, in int8"),
        (np.ones((9, 9), bool), "1 in the domain and 0 outside, in int8"),
        (np.zeros((9, 9), np.int8), "no point of the grid lies in the domain"),
    ],
    ids=["shape", "values", "type", "nothing"],
)
def test_masks_of_a_discretisation_of_ones_own_are_checked(tmp_path, monkeypatch, mask, message):
    monkeypatch.setattr(SteadyDiscretisation, "masks", lambda self: {None: mask})
    with pytest.raises(FamilyError, match=message):
        make(tmp_path)
    monkeypatch.undo()
    with pytest.raises(FamilyError, match=message):
        check_stored(
            Perforated(Section(), MeshConfig(points=9)),
            {"u": mask, "u_dofs": mask[0], "inside": mask},
        )


def test_select_and_respects_handle_times_and_components():
    inside = np.array([[True, False], [True, True]])
    values = np.arange(24.0).reshape(3, 2, 2, 2)
    np.testing.assert_array_equal(
        select(values, inside, rank=1), values.reshape(3, 4, 2)[:, [0, 2, 3]]
    )
    assert not respects(values, inside, rank=1)
    values[:, 0, 1] = np.nan
    assert respects(values, inside, rank=1)
    values[2, 1, 1, 0] = np.inf
    assert not respects(values, inside, rank=1)


def test_a_family_without_a_mesh_has_no_mask(tmp_path):
    with Dataset(make_run(tmp_path).merge()) as data:
        assert data.masked is None
