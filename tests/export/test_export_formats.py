# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Zarr, netCDF, Hugging Face, VTK and PDEBench read their exports."""

import json

import h5py
import numpy as np
import pytest
import xarray

from kryloset.dataset.reader import Dataset
from kryloset.export.edge_mesh import EdgeMesh
from kryloset.run import export
from small_sets import make_small

FAMILIES = [
    "darcy",
    pytest.param("thermal_polygons", marks=pytest.mark.slow),
    pytest.param("navier_stokes", marks=pytest.mark.slow),
]


def require_same(tree, source, instances, dtype):
    """Compare an exported tree with the instances of the file it came from."""
    with xarray.open_datatree(source, engine="h5netcdf") as whole:
        part = whole.isel(sample=instances)
        groups = ["t0_fields", "t1_fields", "scalars", "mesh", "grid_5"]
        paths = [f"{g}/{n}" for g in groups if g in whole.children for n in whole[g].data_vars]
        for path in paths:
            expected = part[path].values
            found = tree[path]
            assert found.dims == part[path].dims
            assert found.dtype == dtype or found.dtype == expected.dtype != np.float64
            np.testing.assert_array_equal(found, expected.astype(found.dtype), err_msg=path)
            assert found.attrs.get("units") == part[path].attrs.get("units")
        np.testing.assert_array_equal(tree["t0_fields"]["sample"], instances)
        for axis in ("x", "y", "time"):
            np.testing.assert_array_equal(tree["t0_fields"][axis], whole["t0_fields"][axis])
        assert tree.attrs["title"] == whole.attrs["title"]
        assert len(tree.attrs["exported_digest"]) == 64
        provenance = tree["provenance"]
        config = provenance.attrs.get("config") or provenance["config"].item()
        assert config == whole["provenance/config"].item()


@pytest.mark.parametrize("name", FAMILIES)
def test_xarray_opens_a_zarr_store(name, small, exported):
    pytest.importorskip("zarr")
    folder = exported(name, "zarr", precision="float64", instances="1:3")
    with xarray.open_datatree(folder, engine="zarr") as tree:
        require_same(tree, small(name), [1, 2], np.float64)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("name", FAMILIES)
def test_xarray_opens_a_netcdf_file(name, engine, small, exported):
    if engine == "netcdf4":
        pytest.importorskip("netCDF4")
    path = exported(name, "netcdf", "out.nc", instances="1:3")
    with xarray.open_datatree(path, engine=engine) as tree:
        require_same(tree, small(name), [1, 2], np.float32)
        for split in ("train", "test"):
            assert set(tree[f"splits/{split}"].values) <= {1, 2}


def test_ragged_arrays_follow_their_instances(small, exported):
    path = exported("thermal_polygons", "netcdf", "out.nc", instances="2:4", precision="float64")
    with h5py.File(path) as file, Dataset(small("thermal_polygons")) as dataset:
        offsets = file["unknowns/T_dofs_offsets"][:]
        assert offsets[0] == 0 and len(offsets) == 3
        for row, instance in enumerate((2, 3)):
            found = file["unknowns/T_dofs"][offsets[row] : offsets[row + 1]]
            np.testing.assert_array_equal(found, dataset.solution(instance)["T_dofs"])


def test_one_grid_of_a_tree(small, exported):
    path = exported("darcy", "netcdf", "out.nc", grids=["5"])
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        assert tree["grid_5/u"].sizes == {"sample": 4, "time": 1, "x_5": 5, "y_5": 5}
        assert "t0_fields" not in tree


@pytest.mark.parametrize("name", ["darcy", "heat", "maxwell_3d", "thermal_polygons"])
def test_datasets_loads_it_with_its_splits(name, small, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = exported(name, "huggingface", precision="float64")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    with Dataset(small(name)) as dataset:
        assert {s: list(loaded[s]["instance"]) for s in loaded} == {
            split: part.tolist() for split, part in dataset.splits().items()
        }
        for row in loaded["train"].with_format("numpy", dtype=np.float64):
            instance = int(row["instance"])
            for key, values in (dataset.instance(instance) | dataset.solution(instance)).items():
                if key in (*dataset.parameters, *dataset.fields):
                    np.testing.assert_array_equal(row[key], values, err_msg=key)
                    assert np.shape(row[key]) == values.shape


@pytest.mark.parametrize(
    "name",
    ["darcy", "heat", "elasticity_3d", "incompressible_elasticity", "helmholtz_absorbing",
     "navier_stokes", "maxwell", "maxwell_3d", "thermal_polygons",
     "kuramoto_sivashinsky", "helmholtz"],
)  # fmt: skip
def test_vtk_has_the_cells_and_values_of_the_mesh(name, small, exported):
    meshio = pytest.importorskip("meshio")
    folder = exported(name, "vtk", instances="1", precision="float64")
    with Dataset(small(name)) as dataset:
        solution = dataset.solution(1)
        arrays = dataset.meshes() | solution
        # Fields of one element are in the file of the first.
        first = ""
        for field in dataset.fields:
            first = field if f"{field}_cells" in arrays else first
            mesh = meshio.read(sorted(folder.glob(f"{first}_000001*.vtu"))[-1])
            (block,) = mesh.cells
            assert len(block.data) == len(arrays[f"{first}_cells"])
            volume = sum(abs(volumes(mesh.points, block.data, len(dataset.coordinates))))
            if dataset.masked is None:
                assert volume == pytest.approx(box(dataset.coordinates))
            if f"{first}_tangents" in arrays:
                assert len(mesh.cell_data[field][0]) == len(block.data)
                continue
            values = arrays.get(f"{field}_dofs", solution[field])
            values = values if dataset.times is None else values[-1]
            found = mesh.point_data[field]
            if found.ndim == 2:
                found = found[:, : len(dataset.coordinates)]
            np.testing.assert_array_equal(found.ravel(), values.ravel())


@pytest.mark.parametrize("name", ["maxwell", "neumann_poisson"])
def test_vtk_unfolds_a_closed_mesh(name, tmp_path):
    """Its cells fill the box, and both ends of an axis have the same values."""
    meshio = pytest.importorskip("meshio")
    mesh = {"points": 8, "periodic": ["x", "y"]}
    closed = make_small(tmp_path / "closed.h5", name, mesh=mesh, parameters={"modes": 3})
    export.run(closed, to="vtk", output=tmp_path / "out", instances="1")
    (found,) = (meshio.read(file) for file in (tmp_path / "out").glob("*.vtu"))
    (block,) = found.cells
    assert len(block.data) == 128
    assert sum(abs(volumes(found.points, block.data, 2))) == pytest.approx(1)
    if name == "neumann_poisson":
        x, y, _ = found.points.T
        columns = [np.flatnonzero(np.isclose(x, end)) for end in (0, 1)]
        first, last = (column[np.argsort(y[column])] for column in columns)
        assert len(first) == len(last) == 9
        values = found.point_data["u"]
        np.testing.assert_array_equal(values[first], values[last])


def test_vtk_has_parameters_that_are_stored_at_the_nodes(tmp_path):
    meshio = pytest.importorskip("meshio")
    given = {"conductivity": "lognormal", "modes": 4}
    mesh = {"points": 17, "nodal_parameters": True}
    file = make_small(tmp_path / "slab.h5", "thermal", mesh=mesh, parameters=given)
    export.run(file, to="vtk", output=tmp_path / "out", instances="1", precision="float64")
    (found,) = (meshio.read(each) for each in (tmp_path / "out").glob("*.vtu"))
    with Dataset(file) as dataset:
        np.testing.assert_array_equal(found.point_data["c"], dataset.solution(1)["c_nodes"])


def volumes(points, cells, dimension):
    corners = points[cells[:, : dimension + 1], :dimension]
    edges = corners[:, 1:] - corners[:, :1]
    return np.linalg.det(edges) / {1: 1, 2: 2, 3: 6}[dimension]


def box(coordinates):
    return np.prod([line[-1] - line[0] for line in coordinates.values()])


@pytest.mark.parametrize("dimension", [2, 3])
def test_edge_elements_hold_constant_fields(dimension, small):
    """The integrals of a constant field along the edges are its products with the edges."""
    with Dataset(small("maxwell" if dimension == 2 else "maxwell_3d")) as dataset:
        arrays = dataset.meshes()
    middles, tangents, cells = (arrays[f"E_{name}"] for name in ("points", "tangents", "cells"))
    mesh = EdgeMesh.of(middles, cells, tangents)
    constant = np.arange(1.0, 1 + dimension)
    expected = np.broadcast_to(constant, (len(cells), dimension))
    np.testing.assert_allclose(mesh.evaluate(tangents @ constant), expected, rtol=1e-12)
    # The field (-y, x) has constant curl: its integral along a straight edge is that at the middle.
    turned = np.zeros_like(middles)
    turned[:, 0], turned[:, 1] = -middles[:, 1], middles[:, 0]
    found = mesh.evaluate((turned * tangents).sum(axis=1))
    centres = mesh.points[mesh.vertices].mean(axis=1)
    np.testing.assert_allclose(
        found[:, :2], np.stack([-centres[:, 1], centres[:, 0]], 1), atol=1e-12
    )


def test_pyvista_reads_as_many_cells(small, exported):
    pyvista = pytest.importorskip("pyvista")
    folder = exported("heat", "vtk", instances="1")
    states = pyvista.read(folder / "u_000001.pvd")
    with Dataset(small("heat")) as dataset:
        cells = len(dataset.meshes()["u_cells"])
        state = dataset.solution(1)["u"][-1]
    mesh = pyvista.read(folder / "u_000001_0003.vtu")
    assert mesh.n_cells == cells and states.n_blocks == 1
    np.testing.assert_array_equal(mesh.point_data["u"], state.ravel().astype("f4"))


def test_pdebench_has_its_darcy_layout(small, exported):
    """Nu (instance, x, y), tensor (instance, 1, x, y): what `FNODatasetSingle` reads."""
    folder = exported("darcy", "pdebench")
    with h5py.File(folder / "darcy_train.hdf5") as file, Dataset(small("darcy")) as dataset:
        instance = int(dataset.splits()["train"][0])
        assert {"nu", "tensor", "x-coordinate", "y-coordinate"} == set(file)
        assert file["tensor"].shape == (2, 1, 9, 9) and file["tensor"].dtype == np.float32
        given, solution = dataset.instance(instance), dataset.solution(instance)
        np.testing.assert_array_equal(file["nu"][0], given["k"].astype("f4"))
        np.testing.assert_array_equal(file["tensor"][0, 0], solution["u"].astype("f4"))
        assert "kryloset export darcy.h5 --to pdebench" in file.attrs["exported_by"]


def test_pdebench_names_the_components_of_several_fields(exported):
    folder = exported("navier_stokes", "pdebench")
    with h5py.File(folder / "navier_stokes_test.hdf5") as file:
        assert file["u_x"].shape == file["p"].shape == (2, 4, 17, 17)
        assert file["nu"].shape == (2, 17, 17) and file["lid"].shape == (2, 17)
        assert len(file["t-coordinate"]) == 4


def test_deepxde_archives_have_rows_and_points(small, exported):
    folder = exported("heat", "deepxde")
    with np.load(folder / "heat_train.npz") as train, Dataset(small("heat")) as dataset:
        instance = int(dataset.splits()["train"][1])
        solution = dataset.solution(instance)["u"].astype("f4")
        np.testing.assert_array_equal(train["y_train"][1], solution.ravel())
        assert train["X_train1"].shape == (solution.size, 3)
        np.testing.assert_allclose(np.unique(train["X_train1"][:, 0]), dataset.times, rtol=1e-6)
    about = json.loads((folder / "provenance.json").read_text())
    assert about["exported_from"] == "heat.h5"


def test_deepxde_has_only_points_in_the_domain(small, exported):
    folder = exported("thermal", "deepxde")
    train = np.load(folder / "thermal_train.npz")
    with Dataset(small("thermal")) as dataset:
        count = int(dataset.inside(0).sum())
    assert 0 < count < 81
    assert train["X_train1"].shape == (count, 2) and train["y_train"].shape == (2, count)
    assert np.isfinite(train["y_train"]).all()
