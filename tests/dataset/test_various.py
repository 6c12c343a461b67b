# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""All stages keep trajectories, vectors, own axes, meshes and further grids unchanged."""

import time
from shutil import copytree

import h5py
import numpy as np
import pytest
import xarray as xr
from pointwise_runs import changed
from resealing import seal_again
from test_check import failures
from various_runs import StagedRun, various

from documentation import find_block
from kryloset.dataset import description, encoding
from kryloset.dataset.encoding import Storage
from kryloset.dataset.integrity import read_seals
from kryloset.dataset.journal import Journal
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError, FamilyError
from kryloset.run import check, report
from kryloset.sampling import generator

AXES = ("x", "y", "z")
KINDS = [("Various", 1), ("Meshed", 2), ("Moving", 3)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def made(request, tmp_path_factory):
    """A run and its dataset."""
    run = various(tmp_path_factory.mktemp("run"), *request.param)
    return run, run.merge()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each family on the plane, with its dataset."""
    families = ("Various", "Moving", "Meshed")
    found = {name: various(tmp_path_factory.mktemp(name), name) for name in families}
    for run in found.values():
        run.merge()
    return found


def copied_run(runs, name, folder):
    """Return a copy of one of `runs`, which a test may change, and the bytes of its dataset."""
    copytree(runs[name].folder, folder, dirs_exist_ok=True)
    whole = (folder / "dataset.h5").read_bytes()
    (folder / "dataset.h5").unlink()
    return StagedRun(folder, runs[name].config), whole


def copied(runs, name, folder):
    """Return a copy of the dataset of one of `runs`, which a test may change."""
    path = folder / "dataset.h5"
    path.write_bytes((runs[name].folder / "dataset.h5").read_bytes())
    return path


def assert_same(stored, expected):
    assert stored.keys() == expected.keys()
    for name, values in expected.items():
        assert stored[name].dtype.kind == np.asarray(values).dtype.kind, name
        np.testing.assert_array_equal(stored[name], values, err_msg=name)


def test_instances_are_read_as_they_were_drawn_and_solved(made):
    run, path = made
    discretisation = run.family.discretise(None)
    with Dataset(path) as data:
        times = data.times
        for index in range(run.config.count):
            drawn = run.family.draw(generator(run.config.seed, index))
            solution = discretisation.solve([drawn], None)[0]
            assert_same(data.instance(index), drawn)
            assert_same(data.solution(index), solution)
            for points in (3, 9):
                expected = discretisation.resample(points, drawn, solution)
                assert_same(data.resampled(points, index), expected)
        assert_same(data.meshes(), discretisation.meshes())
    np.testing.assert_array_equal(times, run.family.times)


def test_everything_passes_the_check(made):
    assert failures(made[1]) == {}


def test_vectors_and_times_follow_the_specification_of_the_well(made):
    """docs/data_format.md of The Well: t1_fields have a last axis of n_spatial_dims components."""
    run, path = made
    n, count, points = run.family.dimension, run.config.count, run.config.mesh.points
    with h5py.File(path) as file:
        times = [0.0] if run.family.times is None else [0.0, 0.5, 2.0]
        assert file.attrs["n_spatial_dims"] == n
        np.testing.assert_array_equal(file["dimensions/time"], times)
        assert list(file["dimensions"].attrs["spatial_dims"]) == list(AXES[:n])
        fields = {
            group: file[group] for group in ("t0_fields", "t1_fields", "t2_fields", "scalars")
        }
        names = {"t0_fields": {"k", "soil", "u"}, "t1_fields": {"wind", "drift", "flux"}}
        for group, node in fields.items():
            assert set(node) == set(node.attrs["field_names"]) == names.get(group, set())
            for name, array in node.items():
                solved = name in ("u", "flux")
                assert bool(array.attrs["sample_varying"])
                assert bool(array.attrs["time_varying"]) == solved
                assert array.attrs["dim_varying"].tolist() == [name != "drift"] * n
                space = () if name == "drift" else (points,) * n
                components = (n,) if group == "t1_fields" else ()
                assert array.shape == (
                    count,
                    *((len(times),) if solved else ()),
                    *space,
                    *components,
                )
        assert len(file["boundary_conditions"]) == 0


def test_xarray_opens_it_with_names_and_coordinates(made):
    run, path = made
    axes, ragged = AXES[: run.family.dimension], "Meshed" in run.config.family
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        assert tree["t1_fields/flux"].dims == ("sample", "time", *axes, "component")
        assert tree["t1_fields/drift"].dims == ("sample", "component")
        assert tree["parameters/corners"].dims == ("sample", "corner", "component")
        assert tree["parameters/weights"].dims == ("sample", "corner")
        dofs = ("u_dof",) if ragged else ("sample", "time", "u_dof")
        assert tree["unknowns/u_dofs"].dims == dofs
        for points in (3, 9):
            further = tuple(f"{axis}_{points}" for axis in axes)
            u = tree[f"grid_{points}/u"]
            assert u.dims == ("sample", "time", *further)
            assert tree[f"grid_{points}/wind"].dims == ("sample", *further, "component")
            assert u.attrs["units"] == "kg m-3"
            for axis, name in zip(axes, further, strict=True):
                values = tree["t0_fields/u"].coords[axis].values
                np.testing.assert_array_equal(
                    u.coords[name], np.linspace(values[0], values[-1], points)
                )
        assert ("mesh" in tree) == (not ragged)
        if not ragged:
            assert tree["mesh/u_cells"].dtype == np.int64


@pytest.mark.slow
def test_the_well_loads_it(made):
    """Trajectories as steps, and vectors as channels of their own."""
    data = pytest.importorskip("the_well.data")
    run, path = made
    well = data.WellDataset(
        path=str(path.parent), include_filters=["dataset.h5"], n_steps_input=0, n_steps_output=1
    )
    n, steps = run.family.dimension, 1 if run.family.times is None else 3
    assert len(well) == steps * run.config.count
    with Dataset(path) as dataset:
        for index in range(len(well)):
            sample, solution = well[index], dataset.solution(index // steps)
            stored = {name: solution[name] for name in ("u", "flux")}
            if steps > 1:
                stored = {name: values[index % steps] for name, values in stored.items()}
            fields = sample["output_fields"][0]
            np.testing.assert_array_equal(fields[..., 0], stored["u"])
            np.testing.assert_array_equal(fields[..., 1:], stored["flux"])
            assert fields.shape[-1] == 1 + n


def test_rows_of_ragged_arrays_stand_one_after_another(runs, tmp_path):
    """The contiguous ragged arrays of CF."""
    run = runs["Meshed"]
    solved = [
        run.family.discretise(None).multiply(run.family.draw(generator(run.config.seed, i)))
        for i in range(run.config.count)
    ]
    with h5py.File(copied(runs, "Meshed", tmp_path)) as file:
        for name in ("u_dofs", "u_points", "u_cells"):
            rows = [len(solution[name]) for solution in solved]
            assert len(set(rows)) > 1
            offsets = file[f"unknowns/{name}_offsets"]
            np.testing.assert_array_equal(offsets, np.cumsum([0, *rows]))
            whole = np.concatenate([solution[name] for solution in solved])
            np.testing.assert_array_equal(file[f"unknowns/{name}"], whole)
        assert file["unknowns/u_cells"].dtype == np.int64


def test_the_documented_recipe_for_ragged_arrays(runs, tmp_path):
    block = find_block("docs/reference/dataset.md", "begin, end = ")
    path = copied(runs, "Meshed", tmp_path)
    with h5py.File(path) as file, Dataset(path) as data:
        for index in range(len(data)):
            scope = {"file": file, "i": index}
            exec(block, scope)
            np.testing.assert_array_equal(scope["dofs"], data.solution(index)["u_dofs"])


def test_a_long_trajectory_is_stored_in_parts(runs, tmp_path, monkeypatch):
    """A chunk of 60 numbers holds two states of 25."""
    path = copied(runs, "Moving", tmp_path)
    monkeypatch.setattr(encoding, "_ENTRIES", 60)
    with h5py.File(path) as whole, h5py.File(runs["Moving"].merge("parts.h5")) as parts:
        assert whole["t0_fields/u"].chunks == (1, 3, 5, 5)
        assert parts["t0_fields/u"].chunks == (1, 2, 5, 5)
        assert parts["t1_fields/flux"].chunks == (1, 1, 5, 5, 2)
        assert read_seals(whole) == read_seals(parts)


@pytest.mark.parametrize("family", ["Moving", "Meshed"])
def test_the_same_run_makes_the_same_bytes(family, runs, tmp_path):
    path = runs[family].folder / "dataset.h5"
    first, age = path.read_bytes(), time.time() - path.stat().st_mtime
    time.sleep(max(0.0, 1.1 - age))  # if HDF5 stored times, they would be in seconds
    assert various(tmp_path / "again", family).merge().read_bytes() == first


def test_chunks_and_their_order_make_no_difference_to_the_data(runs, tmp_path):
    one = various(tmp_path / "one", "Meshed", chunks=1, sort="given").merge()
    with Dataset(copied(runs, "Meshed", tmp_path)) as data, Dataset(one) as other:
        for index in range(len(data)):
            assert_same(other.solution(index), data.solution(index))


@pytest.mark.parametrize("family", ["Moving", "Meshed"])
@pytest.mark.parametrize("stop", [0, 2])
def test_an_interrupted_chunk_resumes_with_its_solved_instances(
    family, stop, runs, tmp_path, monkeypatch
):
    run, whole = copied_run(runs, family, tmp_path)
    chunk = run.chunks[1]
    with h5py.File(chunk) as file:
        instances = file["instance"][:]
    chunk.unlink()
    append, done = Journal.append, []

    def interrupted(journal, record, instances):
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(1)
        append(journal, record, instances)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "append", interrupted)
        run.solve_chunk(1, instances)
    assert not chunk.exists()
    run.solve_chunk(1, instances)
    assert run.merge().read_bytes() == whole


def _remove(path):
    def change(file):
        del file[path]

    return change


def _move_a_node(file):
    file["mesh/u_points"][0, 0] += 1e-3


def _round_a_node(file):
    """As another processor may, so that the mesh made again is the same."""
    file["mesh/u_points"][0, 0] += 1e-16


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (
            "Various",
            _remove("fields/grid_3"),
            "has no fields/grid_3/flux",
        ),
        ("Various", _remove("fields/grid_9/u"), "has no fields/grid_9/u"),
        ("Various", _remove("fields/u_dofs"), "has no fields/u_dofs"),
        ("Meshed", _remove("fields/u_cells_offsets"), "fields/u_cells cannot be read"),
        ("Various", _remove("mesh"), r"2-of-2.h5 failed(.|\n)*not those made again: u_points"),
        ("Various", _remove("mesh/u_cells"), "not those made again: u_cells"),
        ("Various", _move_a_node, "not those made again: u_points"),
        ("Various", _round_a_node, r"2-of-2.h5 was solved on a different mesh than .*1-of-2.h5"),
    ],
)
def test_an_incomplete_chunk_is_not_merged(runs, tmp_path, family, change, message):
    run, _ = copied_run(runs, family, tmp_path)
    with changed(run.chunks[1]) as file:
        change(file)
    with pytest.raises(DataError, match=message):
        run.merge()
    assert not list(tmp_path.glob("dataset.h5*"))


def _change(path, place):
    def change(file):
        values = file[path][place]
        file[path][place] = values + 1 if values.dtype.kind == "i" else values * 1.001

    return change


@pytest.mark.parametrize(
    ("family", "change", "name", "detail"),
    [
        ("Various", _change("unknowns/u_dofs", (2, 0, 3)), "residuals", "instance 2: "),
        ("Moving", _change("unknowns/u_dofs", (2, 1, 3)), "residuals", "instance 2: "),
        ("Moving", _change("t1_fields/flux", (3, 2, 1, 1, 0)), "residuals", "instance 3: "),
        ("Meshed", _change("unknowns/u_cells", 0), "residuals", "instance 0: "),
        ("Meshed", _change("unknowns/u_points", -1), "residuals", "instance 5: "),
        ("Various", _change("parameters/corners", (4, 1, 0)), "parameters", "instance 4: corners"),
        ("Various", _change("t1_fields/drift", (1, 0)), "parameters", "instance 1: drift"),
        ("Various", _change("mesh/u_points", (3, 1)), "mesh", "u_points"),
        ("Various", _change("mesh/u_cells", 4), "mesh", "u_cells"),
        ("Various", _change("grid_9/u", (2, 0, 3, 3)), "grids", "instance 2: u on the grid of 9"),
        ("Moving", _change("grid_3/flux", (5, 1, 2, 1, 1)), "grids", "instance 5: flux"),
        ("Various", _remove("grid_9/k"), "description", "grid_9/k is missing"),
        ("Various", _remove("mesh/u_cells"), "description", "mesh/u_cells is missing"),
        ("Moving", _change("t1_fields/flux", slice(3, 6)), "statistics", "mean of flux"),
    ],
)  # fmt: skip
def test_a_changed_value_is_found(runs, tmp_path, family, change, name, detail):
    """By its digest, and with recomputed digests by comparison with the expected value."""
    path = copied(runs, family, tmp_path)
    with h5py.File(path, "r+") as file:
        change(file)
    assert failures(path).keys() == {"integrity"}
    seal_again(path)
    assert detail in failures(path)[name]


def test_a_fixed_parameter_must_be_constant(runs, tmp_path):
    details = {c.name: c.detail for c in check.examine(copied(runs, "Various", tmp_path)).checks}
    assert "soil, declared fixed" in details["not constant"]
    path = copied(runs, "Various", tmp_path)
    with h5py.File(path, "r+") as file:
        file["t0_fields/soil"][3] *= 2
    seal_again(path)
    assert failures(path)["not constant"] == "parameters that are declared fixed but vary: soil"
    with pytest.raises(FamilyError, match="soil is declared fixed, and differs"):
        various(tmp_path / "unfixed", "Unfixed")


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("RaggedParameter", "'p' cannot be ragged: only unknowns of a steady family can"),
        ("RaggedInTime", "'u_dofs' cannot be ragged"),
        ("RaggedOnTheGrid", "'v' is ragged but has no axis of its own"),
        ("OneTime", "has 1 times: a trajectory needs the initial time and at least one more"),
        ("OwnGridOnly", r"mesh.grids \[3, 9\]: family .*OwnGridOnly cannot be evaluated"),
    ],
)
def test_values_that_cannot_be_stored_are_refused(family, message, tmp_path):
    with pytest.raises(DataError, match=message):
        various(tmp_path, family)


def test_an_array_that_does_not_fit_its_axes_is_named(runs, tmp_path):
    run, _ = copied_run(runs, "Various", tmp_path)
    for path in run.chunks:
        with changed(path) as file:
            u = file["fields/u"][:, :, :-1]
            del file["fields/u"]
            storage = Storage.of(u[0])
            storage.encode(u).write(storage.create(file, "fields/u", len(u)), 0)
    with pytest.raises(DataError, match=r"u of the solution has the shape \(4, 5\)"):
        run.merge()


def test_the_description_is_readable(runs, tmp_path):
    text = description.describe(copied(runs, "Moving", tmp_path))
    for expected in (
        "States at 3 times from 0 to 2",
        "On a further grid of 9 points a side: /grid_9",
        "On the mesh of all instances, /mesh: u_cells, u_points",
        "(sample 6, time 3, x 5, y 5, component 2) float64",
        "(sample 6, corner 4, component 2) float64",
        "(sample 6, time 3, u_dof 25) float64",
    ):
        assert expected in text


def test_a_report_with_a_name_that_cannot_be_written_is_refused(runs, tmp_path):
    path = copied(runs, "Meshed", tmp_path)
    found = []
    with h5py.File(path, "r+") as file:
        for name, parameter in file["parameters"].items():
            if "long_name" in parameter.attrs:
                parameter.attrs["long_name"] = b"not UTF-8: \xff"
                found.append(name)
    assert found
    with pytest.raises(DataError, match="or damaged: UnicodeEncodeError"):
        report.run(path, tmp_path / "page.html")
