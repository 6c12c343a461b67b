# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parameters that lie in a file are those of the dataset, whatever the format of the file."""

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from kryloset.config import DatasetConfig, InstancesConfig, load_dataset
from kryloset.dataset.reader import Dataset
from kryloset.dataset.restore import restore
from kryloset.dataset.staged import StagedFile
from kryloset.errors import ConfigError, DataError, FamilyError
from kryloset.fem.coarse_grid import make_coarse
from kryloset.given.opening import open_parameters, resolve
from kryloset.problems import FAMILIES, load_family
from kryloset.problems.populations import Population, load_populations
from kryloset.publish.folder import describe_folder
from kryloset.run import check, draw, files, reproduce, solve, sort
from kryloset.run.draw import Drawn
from kryloset.sampling import generator
from merging import merge_verified
from running import ROOT

COUNT, POINTS = 6, 9
#: A permeability for each instance; the square has no symmetry that would hide a wrong axis.
K = 1 + np.random.default_rng(5).random((COUNT, POINTS, POINTS))
#: Darcy flow with a random source, which no file below has.
DARCY = {
    "count": COUNT,
    "chunks": 2,
    "mesh": {"points": POINTS},
    "parameters": {"modes": 4, "source_deviation": 1.0},
    "solver": {"method": "direct"},
    "splits": {"train": 0.5, "test": 0.5},
}


def made(**keys: object) -> DatasetConfig:
    return DatasetConfig(**DARCY | keys)


def drawn(config: DatasetConfig, *numbers: int) -> list[dict[str, np.ndarray]]:
    """Return some instances as any stage gets them."""
    config, family = resolve(config), load_family(config)
    return Drawn(
        [Population(family)], config.seed, given=open_parameters(config, family)
    ).instances(numbers)


def write_hdf5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values
    return path


def write_numbered(path: Path) -> Path:
    """Write a group for each instance, as in PDEBench's reaction and diffusion."""
    with h5py.File(path, "w") as file:
        for number, k in enumerate(K):
            file[f"{number:04}/data"] = np.stack([k, 0 * k], axis=0)
            file[f"{number:04}/grid/x"] = np.linspace(0, 1, POINTS)
    return path


def write_well(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["t0_fields/k"] = K.astype(np.float32)
        file["t0_fields/k"].attrs["units"] = "1"
        file["dimensions/x"] = file["dimensions/y"] = np.linspace(0, 1, POINTS, dtype=np.float32)
        file["scalars/Re"] = 100.0
    return path


def write_zarr(path: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="w")
    group.create_array("t0_fields/k", data=K, chunks=(1, POINTS, POINTS))
    return path


def saved(save: Callable[..., None]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        save(path, **{"coeff": K, "sol": K})
        return path

    return write


#: By the name of a file: what writes it, and the names of its arrays.
FORMATS: dict[str, tuple[Callable[[Path], Path], dict[str, str]]] = {
    "k.npy": (lambda path: (np.save(path, K), path)[1], {}),
    "fno.npz": (saved(np.savez), {"k": "coeff"}),
    "small.npz": (saved(np.savez_compressed), {"k": "coeff"}),
    "fno.h5": (lambda path: write_hdf5(path, coeff=K, sol=K), {"k": "coeff"}),
    "well.hdf5": (write_well, {}),
    "pdebench.hdf5": (lambda path: write_hdf5(path, nu=K, tensor=K[:, None]), {"k": "nu"}),
    "channel.h5": (lambda path: write_hdf5(path, x=np.stack([K, -K], 1)), {"k": "x[0]"}),
    "last.npy": (
        lambda path: (np.save(path, np.stack([-K, K], 3)), path)[1],
        {"k": "last[:, :, 1]"},
    ),
    "numbered.h5": (write_numbered, {"k": "data[0]"}),
    "fno.mat": (lambda path: (savemat(path, {"coeff": K, "a": "text"}), path)[1], {"k": "coeff"}),
    "seven.mat": (lambda path: write_hdf5(path, coeff=K.T), {"k": "coeff"}),
    "k.zarr": (write_zarr, {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_an_instance_is_its_row_in_the_file_and_the_rest_is_drawn(name: str, tmp_path: Path):
    write, names = FORMATS[name]
    instances = {"file": str(write(tmp_path / name)), "names": names}
    found = drawn(made(instances=instances), 4, 1)
    exact = K.astype(np.float32) if name == "well.hdf5" else K
    alone = load_family(made())
    for number, instance in zip((4, 1), found, strict=True):
        assert list(instance) == ["k", "f"]
        assert instance["k"].dtype == np.float64 and np.array_equal(instance["k"], exact[number])
        assert np.array_equal(instance["f"], alone.draw(generator(0, number))["f"])


def test_the_configuration_is_completed_and_stays_so(tmp_path: Path):
    path = write_well(tmp_path / "well.h5")
    config = made(instances=str(path))
    assert config == made(instances={"file": str(path)})
    found = resolve(config)
    assert found.instances.names == {"k": "t0_fields/k"}
    assert len(found.instances.sha256) == 64
    assert resolve(found) == found
    assert "instances" not in made().model_dump()
    write_hdf5(path, t0_fields__k=K + 1)
    with pytest.raises(ConfigError, match=r"sha256: .*well.h5 has the digest"):
        resolve(found)
    with pytest.raises(ConfigError, match="sha256"):
        sort.run(found, "set", output=tmp_path / "order.h5")
    with pytest.raises(ConfigError, match="`kryloset config` prints"):
        sort.run(config, "set", output=tmp_path / "order.h5")


@pytest.mark.parametrize("name", FAMILIES)
def test_what_any_family_draws_it_takes_from_a_file(name: str, tmp_path: Path):
    config = load_dataset(ROOT / f"config/families/{name}.yaml", name)
    config = config.model_copy(update={"count": 2})
    first = drawn(config, 0, 1)
    path = write_hdf5(tmp_path / "all.h5", **{k: np.stack([i[k] for i in first]) for k in first[0]})
    instances = InstancesConfig(file=str(path))
    again = drawn(config.model_copy(update={"instances": instances, "seed": 7}), 0, 1)
    for one, other in zip(first, again, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.filterwarnings("ignore:.*multi-threaded")
def test_processes_that_draw_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "BLOCK_BYTES", 1)
    config = resolve(made(instances=str(write_hdf5(tmp_path / "k.h5", k=np.tile(K, (2, 1, 1))))))
    config = config.model_copy(update={"count": 12})
    found = []
    for threads in (1, 3):
        sort.run(config, "set", output=tmp_path / f"{threads}.h5", threads=threads)
        with StagedFile(tmp_path / f"{threads}.h5") as file:
            found.append(file.array("drawn").tobytes())
    assert found[0] == found[1]


def bilinear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 2 + x[:, None] + 3 * y + x[:, None] * y


def test_linear_resampling_is_exact_for_bilinear_functions_and_at_shared_points(tmp_path: Path):
    coarse, fine = np.linspace(0, 1, 5), np.linspace(0, 1, POINTS)
    k = np.stack([bilinear(coarse, coarse) + number for number in range(COUNT)])
    write_hdf5(tmp_path / "k.h5", k=k)
    instances = {"file": str(tmp_path / "k.h5"), "resample": "linear"}
    (found,) = drawn(made(instances=instances), 2)
    np.testing.assert_allclose(found["k"], bilinear(fine, fine) + 2, rtol=1e-15)
    assert np.array_equal(found["k"][::2, ::2], k[2])
    (near,) = drawn(made(instances=instances | {"resample": "nearest"}), 2)
    assert set(near["k"].ravel()) == set(k[2].ravel())


def test_values_at_centres_of_cells_go_on_to_the_boundary(tmp_path: Path):
    centres = (np.arange(8) + 0.5) / 8
    k = np.stack([bilinear(centres, centres) + number for number in range(COUNT)])
    write_hdf5(tmp_path / "k.h5", k=k, **{"x-coordinate": centres, "y-coordinate": centres})
    instances = {"file": str(tmp_path / "k.h5"), "resample": "linear"}
    (found,) = drawn(made(instances=instances), 0)
    fine = np.linspace(0, 1, POINTS)
    np.testing.assert_allclose(found["k"][1:-1, 1:-1], bilinear(fine, fine)[1:-1, 1:-1], rtol=1e-15)
    assert found["k"][0, 0] == k[0, 0, 0]


def test_resampling_goes_around_a_periodic_axis(tmp_path: Path):
    wave = 2 + np.cos(2 * np.pi * np.arange(32) / 32)
    k = np.stack([wave[:, None] + np.linspace(0, 1, POINTS) + number for number in range(COUNT)])
    mesh = {"points": [16, POINTS], "periodic": ["x"]}
    instances = {"file": str(tmp_path / "k.h5"), "resample": "linear"}
    write_hdf5(tmp_path / "k.h5", k=k)
    (found,) = drawn(made(instances=instances, mesh=mesh), 1)
    np.testing.assert_array_equal(found["k"], k[1, ::2])
    # From half as many, the last point lies between the last and the first of the file.
    write_hdf5(tmp_path / "k.h5", k=k[:, ::4])
    (found,) = drawn(made(instances=instances, mesh=mesh), 1)
    np.testing.assert_allclose(found["k"][-1], (k[1, 28] + k[1, 0]) / 2, rtol=1e-15)


def test_cells_of_a_file_lie_beside_those_of_the_family(tmp_path: Path):
    there, finer = ((np.arange(cells) + 0.5) / cells for cells in (8, 24))
    k = np.stack([bilinear(finer, finer) + number for number in range(COUNT)])
    write_hdf5(tmp_path / "k.h5", k=k)
    config = made(
        instances={"file": str(tmp_path / "k.h5"), "resample": "linear"},
        parameters=DARCY["parameters"] | {"placement": "cells"},
    )
    (found,) = drawn(config, 1)
    np.testing.assert_allclose(found["k"], bilinear(there, there) + 1, rtol=1e-15)


def labelled(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["k"] = K
        for number, name in enumerate(("sample", "y", "x")):
            file["k"].dims[number].label = name


def with_units(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["k"] = K
        file["k"].attrs["units"] = "mD"


HALF = np.linspace(0, 0.5, POINTS)
REFUSALS: dict[str, tuple[Callable[[Path], object], dict[str, object], str]] = {
    "no rows": (lambda p: write_hdf5(p, k=K[:0]), {}, "no instances: its first axis has the len"),
    "rows": (lambda p: write_hdf5(p, k=K[:4]), {}, "4 instances .* count is 6: set count to 4"),
    "complex": (lambda p: write_hdf5(p, k=K + 1j), {}, "complex numbers: write their real"),
    "text": (lambda p: write_hdf5(p, k=np.full(6, b"a")), {}, "values of the type"),
    "last axis": (lambda p: write_hdf5(p, k=K.T), {}, "moveaxis"),
    "other order": (labelled, {}, "in the order y, x, and the parameter in x, y: transpose"),
    "channel": (lambda p: write_hdf5(p, k=K[:, None]), {}, r'names: \{k: "k\[0\]"\}'),
    "number": (lambda p: write_hdf5(p, k=K[:, 0, 0]), {}, r"the shape \(\) .* \(9, 9\)"),
    "grid": (lambda p: write_hdf5(p, k=K[:, :5, :5]), {}, "5 points, and the grid 9: .*resample"),
    "coordinates": (
        lambda p: write_hdf5(p, k=K, x=HALF, y=HALF), {}, "at other coordinates: change `mesh`",
    ),
    "too small": (
        lambda p: write_hdf5(p, k=K, x=HALF, y=HALF), {"resample": "linear"},
        r"cannot be resampled: its points along x are in \[0, 0.5\]",
    ),
    "units": (with_units, {}, "'mD', and the parameter '1'"),
    "name": (lambda p: write_hdf5(p, a=K, u=K), {}, r"names: \{k: ARRAY\}.*a \(6, 9, 9\), u"),
    "no array": (lambda p: write_hdf5(p, k=K), {"names": {"k": "a"}}, "no array 'a'; it has k"),
    "no parameter": (lambda p: write_hdf5(p, k=K), {"names": {"a": "k"}}, "has no parameter 'a'"),
    "no entry": (lambda p: write_hdf5(p, k=K), {"names": {"k": "k[9]"}}, "there is no entry 9"),
    "no file": (lambda p: None, {}, "there is no file"),
    "no HDF5": (lambda p: p.write_text("no"), {}, "in no format that is read"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(name: str, tmp_path: Path):
    write, settings, message = REFUSALS[name]
    path = tmp_path / "given.h5"
    write(path)
    with pytest.raises((ConfigError, DataError), match=message):
        resolve(made(instances={"file": str(path), **settings}))


@pytest.mark.parametrize(
    ("units", "same"),
    [("W/(m K)", True), ("W / ( m*K )", True), ("W/(m·K)", True), ("W/(mK)", False)],
)
def test_units_may_be_spelt_otherwise_but_are_the_same(units: str, same: bool, tmp_path: Path):
    path = write_hdf5(tmp_path / "k.h5", k=K)
    with h5py.File(path, "r+") as file:
        file["k"].attrs["units"] = units
    config = made(family="heat", parameters={"modes": 4}, instances=str(path))
    if same:
        assert resolve(config).instances.names == {"k": "k"}
    else:
        with pytest.raises(DataError, match="convert the values"):
            resolve(config)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((3, 0, 0), np.nan, r"instance 3: parameter 'k', row 3 of 'k' in .*k.h5, is not finite"),
        (
            (5, 8, 2),
            -1.0,
            "instance 5: .* has the value -1 and must be positive .*transform is log",
        ),
    ],
)
def test_a_wrong_value_is_named_by_instance_and_row(
    place: tuple[int, ...], value: float, message: str, tmp_path: Path
):
    k = K.copy()
    k[place] = value
    config = resolve(made(instances=str(write_hdf5(tmp_path / "k.h5", k=k))))
    with pytest.raises(DataError, match=message):
        sort.run(config, "set", output=tmp_path / "order.h5")


def test_equal_instances_of_a_file_are_refused_and_constant_ones_of_one_parameter_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = write_hdf5(tmp_path / "k.h5", k=np.broadcast_to(K[0], K.shape))
    config = resolve(made(instances=str(path)))
    with caplog.at_level(logging.WARNING):
        sort.run(config, "set", output=tmp_path / "order.h5")  # f differs
    assert "the same for all instances of the file: k" in caplog.text
    config = resolve(made(instances=str(path), parameters={"modes": 4}))
    with pytest.raises(DataError, match=r"instances 0 and 1 are the same.*write each instance"):
        sort.run(config, "set", output=tmp_path / "order.h5")


def make(config: DatasetConfig, folder: Path) -> Path:
    """Make a dataset by the functions of the stages."""
    folder.mkdir(exist_ok=True)
    order = folder / "order.h5"
    sort.run(config, "set", output=order)
    chunks = [folder / f"{number}-of-2.h5" for number in (1, 2)]
    for path in chunks:
        solve.run(config, "set", order=order, chunk=path.stem, output=path, comm=MPI.COMM_SELF)
    return merge_verified(config, "set", order=order, chunks=chunks, output=folder / "dataset.h5")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset from a file beside it, `k.npy`, by a path relative to its folder."""
    folder = tmp_path_factory.mktemp("given")
    np.save(folder / "k.npy", K)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return make(resolve(made(instances="k.npy")), folder)


def outcome(path: Path) -> tuple[set[str], str]:
    """Return the names of the checks that failed, and what that of the parameters says."""
    checks = check.examine(path).checks
    (detail,) = [c.detail for c in checks if c.name == "parameters"]
    return {c.name for c in checks if not c.passed}, detail


def test_a_dataset_is_checked_against_its_file(dataset: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(dataset.parent)
    with Dataset(dataset) as data:
        assert np.array_equal(data.instance(3)["k"], K[3])
    told = "6 instances: k read again from k.npy, bit for bit; f drawn again from seed 0"
    assert outcome(dataset) == (set(), f"{told}, bit for bit")


def test_without_its_file_a_dataset_is_checked_by_its_digests(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    failed, detail = outcome(dataset)
    assert not failed
    assert "6 instances: k not compared with k.npy (SHA-256 " in detail
    assert detail.endswith("f drawn again from seed 0, bit for bit")


def test_reproduce_and_the_card_say_what_needs_the_file(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def told() -> str:
        (found,) = [c.detail for c in reproduce.run(dataset, 3) if c.name == "parameters"]
        return found

    monkeypatch.chdir(dataset.parent)
    assert told() == "k read again from k.npy, bit for bit; f: bit for bit"
    monkeypatch.chdir(tmp_path)
    assert told().startswith("k not compared with k.npy (SHA-256 ")
    with Dataset(dataset) as data:
        assert "The values of k were read from `k.npy` (SHA-256 `" in describe_folder(data, {})


def test_another_file_of_the_same_name_fails_the_check(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    np.save("k.npy", K + 1)
    failed, detail = outcome(dataset)
    assert failed == {"parameters"}
    assert "k.npy is not the file that the dataset was made from" in detail


def test_a_dataset_is_itself_such_a_file_and_makes_the_same(dataset: Path, tmp_path: Path):
    config = resolve(made(instances=str(dataset)))
    assert config.instances.names == {"k": "t0_fields/k", "f": "t0_fields/f"}
    with Dataset(make(config, tmp_path)) as again, Dataset(dataset) as first:
        assert again.provenance().parameters == first.provenance().parameters


def test_rows_that_are_added_to_a_file_keep_the_instances(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    more = np.concatenate([K, 1 + K[:2]])
    for count, rows, kept in ((6, more, True), (8, more, True), (6, more[::-1], False)):
        np.save("k.npy", rows)
        config = resolve(made(instances="k.npy", count=count))
        sort.run(config, "set", output=tmp_path / "order.h5", earlier=dataset)
        with StagedFile(tmp_path / "order.h5") as order:
            assert (files.kept(None) in order) == kept


def test_restore_says_which_file_is_needed(dataset: Path, tmp_path: Path):
    told = restore(dataset, tmp_path / "again")
    assert "Copy the file with k (SHA-256 " in told and str(tmp_path / "again/k.npy") in told


NUMBERED = """
import numpy as np
from kryloset.problems import SteadyFamily, Variable

class Own(SteadyFamily):
    summary = equation = "own"
    parameters = (Variable("a", "a", dimensions=()),)
    fields = (Variable("u", "u"),)
    def draw(self, generator, index):
        return {"a": np.loadtxt(FOLDER + f"/{index}.txt")}
    def weak_form(self, space, parameters): ...
"""


def test_draw_is_handed_the_number_of_the_instance(tmp_path: Path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"{10 + number}")
    (tmp_path / "own.py").write_text(NUMBERED.replace("FOLDER", repr(str(tmp_path))))
    config = DatasetConfig(family=f"{tmp_path}/own.py:Own")
    found = Drawn(load_populations(config), 0).instances([2, 0])
    assert [float(instance["a"]) for instance in found] == [12.0, 10.0]
    with pytest.raises(FamilyError, match=r"Own, draw, instance 3, line .*FileNotFoundError"):
        Drawn(load_populations(config), 0).instances([3])


def test_modes_need_not_fit_the_grid_of_what_is_given(tmp_path: Path, monkeypatch):
    """By default `modes` are 32, more than the 9 points resolve."""
    monkeypatch.chdir(tmp_path)
    np.save("k.npy", K)
    config = made(instances="k.npy", parameters={}, mesh={"points": POINTS})
    with pytest.raises(ConfigError, match=r"parameters.modes 32 does not fit mesh.points"):
        load_family(config.model_copy(update={"instances": InstancesConfig()}))
    np.testing.assert_array_equal(drawn(config, 2)[0]["k"], K[2])
    assert make_coarse(load_family(resolve(config)), 5).mesh.points == 5
    # A source that is drawn with these modes is another matter.
    source = config.model_copy(update={"parameters": {"source_deviation": 1.0}})
    with pytest.raises(ConfigError, match=r"parameters.modes 32 does not fit mesh.points"):
        resolve(source)


@pytest.mark.parametrize("name", ["k.npy", "k.npz"])
def test_objects_and_damaged_files_of_numpy_are_refused_without_advice_to_trust_them(
    tmp_path: Path, monkeypatch, name: str
):
    monkeypatch.chdir(tmp_path)
    save = np.save if name == "k.npy" else np.savez
    save(name, **{"arr" if name == "k.npy" else "k": np.array([None] * COUNT)})
    with pytest.raises(DataError, match="values of the type object: write numbers"):
        resolve(made(instances=name))
    if name == "k.npy":
        Path(name).write_bytes(b"no array")
    else:
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("k.npy", b"no array")
    with pytest.raises(DataError, match=r"is damaged, or no array that numpy.save wrote$"):
        resolve(made(instances=name))
