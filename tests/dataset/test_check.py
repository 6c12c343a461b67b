# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The check finds and names every change of a dataset file."""

import json
import random
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
from pointwise_runs import make_run
from resealing import seal_again

from kryloset.dataset.integrity import SEALS, damage, read_seals, table_path
from kryloset.errors import DataError
from kryloset.run import check


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A dataset that passes the check. Tests copy it before they change it."""
    return make_run(tmp_path_factory.mktemp("check")).merge()


@pytest.fixture
def copy(dataset, tmp_path) -> Path:
    path = tmp_path / "dataset.h5"
    path.write_bytes(dataset.read_bytes())
    return path


def failures(path: Path) -> dict[str, str]:
    return {c.name: c.detail for c in check.examine(path).checks if not c.passed}


def test_a_dataset_passes(any_run):
    path = any_run.whole
    report = check.run(path, path.with_name("check.json"))
    assert [c.name for c in report.checks] == [
        "integrity",
        "description",
        "finite",
        "not constant",
        "no duplicates",
        "splits",
        "statistics",
        "parameters",
        "residuals",
        "solver",
        "grids",
        "mesh",
    ]
    assert report.residual_max < 1e-15
    tree = json.loads(path.with_name("check.json").read_text())
    assert tree["passed"] is True
    assert tree["residual_max"] == report.residual_max
    assert tree["digests"]["t0_fields/u"] == report.digests["t0_fields/u"]


def test_a_failed_check_is_raised_and_written(copy, tmp_path, caplog):
    with h5py.File(copy, "r+") as file:
        file["t0_fields/u"][3] *= 1.001
    seal_again(copy)
    with pytest.raises(DataError, match=r"dataset.h5 failed \d of its checks:(.|\n)*residuals"):
        check.run(copy, tmp_path / "check.json")
    tree = json.loads((tmp_path / "check.json").read_text())
    assert tree["passed"] is False
    (residuals,) = [c for c in tree["checks"] if c["name"] == "residuals"]
    assert "instance 3: 0.001" in residuals["detail"]
    # The error itself names the instance, so the log need not.
    assert "instance 3" not in caplog.text


def test_a_flipped_byte_of_a_field_is_named(copy):
    """Damage the bytes of instance 4 of the field, without HDF5."""
    with h5py.File(copy) as file:
        stored = file["t0_fields/u"].id.get_chunk_info_by_coord((4, 0, 0, 0))
    data = bytearray(copy.read_bytes())
    data[stored.byte_offset + stored.size // 2] ^= 1
    copy.write_bytes(data)
    found = failures(copy)
    assert found.keys() == {"integrity"}
    assert "t0_fields/u cannot be read at instance 4" in found["integrity"]


def everything(path: Path) -> dict[str, object]:
    """Return everything that a reader can see of a file."""
    found: dict[str, object] = {}

    def see(name: str, node: h5py.HLObject) -> None:
        links = ("REFERENCE_LIST", "DIMENSION_LIST")
        found[name] = {key: str(value) for key, value in node.attrs.items() if key not in links}
        if isinstance(node, h5py.Dataset):
            found[name + ":"] = np.asarray(node[()]).tobytes() if node.ndim else node[()]

    with h5py.File(path) as file:
        see("/", file)
        file.visititems(see)
    return found


@pytest.mark.slow
def test_a_flipped_bit_is_found_or_changes_no_data(dataset, copy):
    """Flipped bits without data, such as in gaps of the file, need not be found."""
    data, expected, places = dataset.read_bytes(), everything(dataset), random.Random(0)
    found = 0
    for _ in range(50):
        damaged = bytearray(data)
        damaged[places.randrange(len(data))] ^= 1 << places.randrange(8)
        copy.write_bytes(damaged)
        if check.examine(copy).passed:
            assert everything(copy) == expected
        else:
            found += 1
    assert found > 25


@pytest.mark.parametrize("keep", [0, 100, 5_000, 30_000])
def test_a_file_cut_off_is_damaged(dataset, copy, keep):
    copy.write_bytes(dataset.read_bytes()[:keep])
    assert "damaged" in failures(copy)["integrity"]


def test_a_file_of_another_kind_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    assert "has no digests" in failures(tmp_path / "other.h5")["integrity"]
    with pytest.raises(DataError, match="there is no file"):
        check.run(tmp_path / "none.h5")


@pytest.mark.parametrize(
    "change",
    [
        lambda file, text: file[SEALS].attrs.create("note", 1),
        lambda file, text: write_seals(file, text + text.splitlines()[0] + "\n"),
        lambda file, text: write_seals(file, text.replace("\n", "\r\n")),
    ],
    ids=["attribute", "doubled line", "line ends"],
)
def test_a_change_of_the_list_of_digests_is_found(copy, change):
    """No digest covers the list of digests itself."""
    with h5py.File(copy, "r+") as file:
        change(file, file[SEALS].asstr()[()])
    with h5py.File(copy) as file:
        assert damage(file) == [
            f"/{SEALS} was changed: it is not the list of digests that was written"
        ]


def write_seals(file: h5py.File, text: str) -> None:
    del file[SEALS]
    file.create_dataset(SEALS, data=text, dtype=h5py.string_dtype())


def test_changes_without_a_new_seal_are_named(copy):
    with h5py.File(copy, "r+") as file:
        file["t0_fields/u"][3] *= 2
        file["t0_fields/u"].attrs["units"] = "km"
        file["added"] = np.arange(3)
        del file["solver/iterations"]
    detail = failures(copy)["integrity"]
    assert "a group, an axis, a type or an attribute was changed" in detail
    assert "t0_fields/u was changed: the digest differs of instance 3" in detail
    assert "added has no digest" in detail
    assert "solver/iterations is missing" in detail


def test_the_digest_of_an_array_is_that_of_the_digests_of_its_rows(copy):
    with h5py.File(copy) as file:
        seals, u = read_seals(file), file["t0_fields/u"]
        table = b"".join(sha256(u[i].tobytes()).digest() for i in range(len(u)))
        assert file[table_path("t0_fields/u")][:].tobytes() == table
        assert seals["t0_fields/u"] == sha256(table).hexdigest()
        assert seals["scalars/nu"] == sha256(file["scalars/nu"][:].tobytes()).hexdigest()
        assert table_path("scalars/nu") not in file


@pytest.mark.parametrize("both", [False, True])
def test_a_changed_table_of_digests_accuses_no_instance(copy, both):
    with h5py.File(copy, "r+") as file:
        file[table_path("t0_fields/u")][2, 0] ^= 1
        file["t0_fields/u"][5] *= 1 + both
    with h5py.File(copy) as file:
        path = "t0_fields/u" if both else table_path("t0_fields/u")
        assert damage(file) == [f"{path} was changed: its digest differs"]


def _not_finite(file):
    file["t0_fields/u"][2, 0, 0, 0] = np.inf


def _constant_solution(file):
    file["t0_fields/u"][2] = 1.0


def _constant_parameter(file):
    file["scalars/nu"][:] = 0.5


def _duplicate(file):
    for path in ("t0_fields/k", "t0_fields/profile", "scalars/nu"):
        file[path][5] = file[path][2]


def _split_shares(file):
    file["splits/test"][0] = file["splits/train"][0]


def _splits_swapped(file):
    test, train = file["splits/test"][0], file["splits/train"][0]
    file["splits/test"][0], file["splits/train"][0] = train, test


def _statistics_of_all(file):
    values = file["t0_fields/u"][:]
    file["statistics/u"].attrs["mean"] = values.mean()


def _one_bit_of_a_parameter(file):
    values = file["t0_fields/k"][2]
    values[0, 0] = np.nextafter(values[0, 0], 2)
    file["t0_fields/k"][2] = values


def _not_solved(file):
    file["t0_fields/u"][2] *= 1 + 1e-7


@pytest.mark.parametrize(
    ("change", "name", "detail"),
    [
        (_not_finite, "finite", "instance 2: u"),
        (_constant_solution, "not constant", "instance 2: u"),
        (_constant_parameter, "not constant", "all instances: nu"),
        (_duplicate, "no duplicates", "instances 2 and 5"),
        (_split_shares, "splits", "share instances"),
        (_splits_swapped, "splits", "not the one of seed 7"),
        (_statistics_of_all, "statistics", "mean of u is"),
        (_one_bit_of_a_parameter, "parameters", "instance 2: k"),
        (_not_solved, "residuals", "instance 2: 1e-07"),
    ],
)
def test_wrong_content_is_named(copy, change, name, detail):
    """The digests of the file are right, but its content is wrong."""
    with h5py.File(copy, "r+") as file:
        change(file)
    seal_again(copy)
    assert detail in failures(copy)[name]


def test_an_edited_family_of_the_user_is_named(tmp_path, monkeypatch):
    """The text in a dataset is never run; the family's own file must be identical to it."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent / "pointwise.py").read_text()
    Path("mine.py").write_text(text + "\nimport parts\n")
    Path("parts.py").touch()
    path = make_run(tmp_path, family="mine.py:Pointwise2").merge()
    assert failures(path) == {}
    for file in ("parts.py", "mine.py"):
        before = Path(file).read_text()
        Path(file).write_text(before + "\n# edited\n")
        found = failures(path)["description"]
        assert f"{file} of family mine.py:Pointwise2 is not the text" in found
        Path(file).write_text(before)
    Path("mine.py").unlink()
    assert "there is no file mine.py" in failures(path)["description"]
