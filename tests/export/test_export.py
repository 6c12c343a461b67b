# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is exported: the part that was asked for, whole, or nothing."""

import json
import sys
import tracemalloc
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from kryloset.config import DatasetConfig, MeshConfig
from kryloset.dataset.grids import choose_grids, name_grids
from kryloset.dataset.integrity import identity
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.writer import write_dataset
from kryloset.errors import KrylosetError
from kryloset.export.deepxde import DeepXDE
from kryloset.export.formats import FORMATS, load_format
from kryloset.extras import MissingLibraryError, advised
from kryloset.problems import load_family
from kryloset.run import export


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "csv"}, "--to csv: there is no such format; take one of well"),
        ({"splits": ["valid"]}, "--split valid: .* has the splits train, test"),
        ({"grids": ["6"]}, "no grid of 6 points: it has 9, 5; name another by --grid"),
        ({"grids": ["9", "5"]}, "room for one grid"),
        ({"instances": "2:9"}, "has the instances 0 to 3"),
        ({"instances": "4"}, "has the instances 0 to 3"),
        ({"instances": "a"}, "write a range such as 0:100"),
        ({"precision": "float16"}, "take one of float32, float64"),
    ],
)
def test_what_is_not_there_is_refused(options, words, small, tmp_path):
    with pytest.raises(KrylosetError, match=words):
        export.run(small("darcy"), **{"to": "pdebench", "output": tmp_path / "out"} | options)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(small, exported, tmp_path):
    first = exported("darcy", "pdebench")
    with pytest.raises(KrylosetError, match="exists already"):
        export.run(small("darcy"), to="pdebench", output=first)


def test_a_part_is_what_was_asked_for(small, exported):
    folder = exported(
        "darcy", "pdebench", splits=["train"], instances="1:", grids=["5"], precision="float64"
    )
    with h5py.File(small("darcy")) as source:
        train = [i for i in source["splits/train"][:] if i >= 1]
        expected, digest = source["grid_5/u"][:][train], identity(source)
    assert [p.name for p in sorted(folder.iterdir())] == ["darcy_train.hdf5", "provenance.json"]
    with h5py.File(folder / "darcy_train.hdf5") as file:
        np.testing.assert_array_equal(file["tensor"], expected)
    assert json.loads((folder / "provenance.json").read_text()) == {
        "exported_from": "darcy.h5",
        "exported_digest": digest,
        "exported_by": "kryloset export darcy.h5 --to pdebench --precision float64 --split train "
        "--grid 5 --instances 1:",
        "exported_with": f"kryloset {export.__version__}",
    }


def test_an_equidistant_grid_of_as_many_points_has_a_name_of_its_own():
    mesh = MeshConfig(points=65, spacing="chebyshev", grids=(65, 33))
    dataset = SimpleNamespace(grid=(65, 65), config=SimpleNamespace(mesh=mesh))
    assert name_grids(dataset) == {"65": None, "grid_65": 65, "33": 33}
    # A grid to learn on is known by the name of its group, whatever the dataset's own grid is.
    assert choose_grids(dataset, ["grid_65", "grid_33"]) == {"grid_65": 65, "33": 33}


def test_a_licence_is_carried_along(small, tmp_path):
    source = tmp_path / "darcy.h5"
    source.write_bytes(small("darcy").read_bytes())
    with h5py.File(source, "r+") as file:
        file.attrs["license"] = "CC-BY-4.0"
    export.run(source, to="deepxde", output=tmp_path / "out")
    assert json.loads((tmp_path / "out/provenance.json").read_text())["license"] == "CC-BY-4.0"


def test_a_failed_export_leaves_nothing(exported, tmp_path, monkeypatch):
    def fail(self, selection, path):
        (path / "half").write_text("half")
        raise OSError(28, "No space left on device", str(path / "half"))

    monkeypatch.setattr(DeepXDE, "write", fail)
    with pytest.raises(KrylosetError, match="disk is full"):
        exported("darcy", "deepxde")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["well", "netcdf"])
def test_a_damaged_row_is_reported(to, small, tmp_path):
    source = tmp_path / "darcy.h5"
    content = bytearray(small("darcy").read_bytes())
    with h5py.File(small("darcy")) as file:
        content[file["t0_fields/u"].id.get_chunk_info(2).byte_offset + 8] ^= 1
    source.write_bytes(content)
    with pytest.raises(KrylosetError, match=r"darcy.h5 .*damaged"):
        export.run(source, to=to, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Forty instances of 65 x 65 numbers that solve nothing."""
    path = tmp_path_factory.mktemp("large") / "large.h5"
    mesh = {"points": 65}
    config = DatasetConfig(count=40, mesh=mesh, splits={"train": 0.5, "test": 0.5})
    numbers = np.random.default_rng(0).random((40, 2, 65, 65))
    instances = [{"k": 1 + k, "u": u} for k, u in numbers]
    zeros = {key: np.zeros(40) for key in SOLVER}
    family = load_family(config)
    write_dataset(path, "large", config, family, instances, zeros, {0: "converged"}, {}, "")
    return path


OWN = """
from kryloset.problems import SteadyFamily, Variable

class Own(SteadyFamily):
    summary = equation = "own"
    parameters = (Variable("k", "k"), Variable("nu", "nu", dimensions=()))
    fields = (Variable("u", "u"),)
    def draw(self, generator): ...
    def weak_form(self, space, parameters): ...
"""


def test_a_number_named_as_the_function_of_pdebench_is_not_lost(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    splits = {"train": 0.5, "test": 0.5}
    config = DatasetConfig(
        family=f"{tmp_path}/own.py:Own", count=2, mesh={"points": 3}, splits=splits
    )
    numbers = np.random.default_rng(0).random((2, 2, 3, 3))
    instances = [{"k": k, "nu": np.float64(row), "u": u} for row, (k, u) in enumerate(numbers)]
    zeros = {key: np.zeros(2) for key in SOLVER}
    path = tmp_path / "own.h5"
    write_dataset(
        path, "own", config, load_family(config), instances, zeros, {0: "converged"}, {}, ""
    )
    export.run(path, to="pdebench", output=tmp_path / "out", instances="1", precision="float64")
    (made,) = (tmp_path / "out").glob("*.hdf5")
    with h5py.File(made) as file:
        assert file["nu"][:].tolist() == [1.0]
        np.testing.assert_array_equal(file["k"][0], numbers[1, 0])


@pytest.mark.slow
@pytest.mark.parametrize("to", ["well", "pdebench", "deepxde", "netcdf", "zarr"])
def test_memory_does_not_grow_with_the_instances(to, large, tmp_path):
    if to == "zarr":
        pytest.importorskip("zarr")

    def peak(instances):
        tracemalloc.start()
        export.run(large, to=to, output=tmp_path / instances.replace(":", "-"), instances=instances)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak("0:2")  # imports and compiles
    assert peak("0:40") < peak("0:4") + 8 * 65**2 * 8  # eight of 2 x 36 more arrays


@pytest.mark.parametrize(
    ("to", "library", "extra"),
    [
        ("zarr", "zarr", "export"),
        ("huggingface", "pyarrow", "export"),
        ("vtk", "meshio", "export"),
        ("neuraloperator", "torch", "learn"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(to, library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"kryloset.export.{FORMATS[to].partition(':')[0]}", False)
    words = rf"`{library}`, which is not installed.*pip install 'kryloset\[{extra}\]'"
    with pytest.raises(MissingLibraryError, match=words), advised():
        load_format(to)
