# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A published folder can be read without Kryloset, and agrees with the dataset in it."""

import csv
import json
import subprocess

import numpy as np
import pytest
import xarray
import yaml
from pointwise_runs import make_run

from kryloset.dataset.card import write_card
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.publish import sample
from kryloset.run import publish


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset and the folder that is published of it."""
    folder = tmp_path_factory.mktemp("publish")
    dataset = make_run(folder).merge()
    publish.run(dataset, folder / "published")
    return dataset, folder / "published"


def test_the_digests_are_those_of_all_other_files(made):
    _, folder = made
    named = {line.split()[1] for line in (folder / publish.SUMS).read_text().splitlines()}
    assert named == {path.name for path in folder.iterdir()} - {publish.SUMS}
    subprocess.run(["sha256sum", "--quiet", "--check", publish.SUMS], cwd=folder, check=True)


def test_the_table_has_the_splits_and_records_of_all_instances(made):
    dataset, folder = made
    with Dataset(dataset) as data, (folder / publish.TABLE).open() as file:
        lines = list(csv.DictReader(file))
        assert [int(line["instance"]) for line in lines] == list(range(len(data)))
        for name, instances in data.splits().items():
            assert {lines[number]["split"] for number in instances} == {name}
        found = np.array([float(line["true_residual"]) for line in lines])
        np.testing.assert_array_equal(found, data.solver()["true_residual"])


def test_the_sample_has_the_first_instances(made):
    dataset, folder = made
    with (
        xarray.open_datatree(dataset, engine="h5netcdf") as whole,
        xarray.open_datatree(folder / publish.SAMPLE, engine="h5netcdf") as part,
    ):
        for name, values in part["t0_fields"].to_dataset().data_vars.items():
            expected = whole["t0_fields"][name].values[: len(values)]
            np.testing.assert_array_equal(values, expected)
        assert part.attrs["title"] == whole.attrs["title"]


@pytest.mark.parametrize("room", [100, 200])
def test_a_sample_of_large_instances_is_coarse(made, tmp_path, monkeypatch, room):
    monkeypatch.setattr(sample, "_ROOM", room)
    dataset, _ = made
    with Dataset(dataset) as data:
        told = sample.write_sample(data, tmp_path / "sample.h5")
    with xarray.open_datatree(tmp_path / "sample.h5", engine="h5netcdf") as part:
        groups = [part[name].to_dataset() for name in ("t0_fields", "scalars") if name in part]
        assert sum(group.nbytes for group in groups) <= 2 * room
        assert part.attrs["comment"] == told and "points along each axis" in told


def test_what_instances_share_counts_once():
    shared = {"soil": ("x", np.zeros(1000)), "u": (("sample", "x"), np.zeros((50, 1000)))}
    groups = {"t0_fields": xarray.Dataset(shared)}
    assert [sample._bytes(groups, 1, n) for n in (1, 2)] == [16_000, 24_000]
    assert sample._bytes(groups, 10, 1) == 1_600


def test_a_sample_that_is_too_large_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "LIMIT", 100)
    dataset, _ = made
    with pytest.raises(DataError, match="bytes, more than 100"):
        publish.run(dataset, tmp_path / "published")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("licence", "head"),
    [
        (None, {}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("ODC-By-1.0", {"license": "odc-by"}),
        ("LGPL-3.0-or-later", {"license": "lgpl-3.0"}),
        (
            "CC-BY-4.0 OR CC0-1.0",
            {"license": "other", "license_name": "CC-BY-4.0 OR CC0-1.0"},
        ),
        ("LicenseRef-Mine", {"license": "other", "license_name": "LicenseRef-Mine"}),
    ],
)
def test_the_head_has_the_licence_as_the_hub_lists_it(tmp_path, licence, head):
    dataset = make_run(tmp_path, count=8, chunks=1, about={"license": licence}).merge()
    with Dataset(dataset) as data:
        found = next(yaml.safe_load_all(write_card(data, 8, {}, {}).split("---\n")[1]))
    assert {key: text for key, text in found.items() if key.startswith("license")} == head


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**7, "10M<n<100M"), (10**15, "n>1T")],
)
def test_the_head_has_the_size_as_the_hub_lists_it(made, count, size):
    with Dataset(made[0]) as data:
        head = next(yaml.safe_load_all(write_card(data, count, {}, {}).split("---\n")[1]))
    assert head["size_categories"] == [size]


def test_statistics_and_description_are_those_of_the_dataset(made):
    dataset, folder = made
    tree = json.loads((folder / publish.CROISSANT).read_text())
    head = next(yaml.safe_load_all((folder / publish.CARD).read_text().split("---\n")[1]))
    with Dataset(dataset) as data:
        names = (*data.parameters, *data.fields)
        assert yaml.safe_load((folder / publish.STATISTICS).read_text()) == {
            name: data.statistics(name) for name in names
        }
        assert tree["name"] == head["pretty_name"] == data.name
        assert str(data.file.attrs["equation"]) in tree["description"]
    columns = {field["name"] for field in tree["recordSet"][0]["field"]}
    with (folder / publish.TABLE).open() as file:
        assert columns == set(next(csv.reader(file)))
