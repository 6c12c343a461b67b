# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Two datasets are compared by instance, and what differs is named."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from pointwise_runs import make_run
from resealing import seal_again
from various_runs import various

from kryloset.dataset.diff import compare, distance
from kryloset.errors import DataError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("one")).merge()


def changed(path: Path, to: Path, array: str, change) -> Path:
    """Return a copy with one array changed, sealed again."""
    shutil.copy(path, to)
    with h5py.File(to, "r+") as file:
        file[array][()] = change(file[array][()])
    seal_again(to)
    return to


def lines(first: Path, second: Path, **options) -> dict[str, list[str]]:
    found = compare(first, second, **options)
    return {title: told for title, told in {**found.making, **found.data}.items() if told}


def test_a_dataset_equals_itself(dataset):
    found = compare(dataset, dataset, tolerance=0.0)
    assert found.equal
    assert found.describe().splitlines()[1:] == ["The data are equal within 0e+00."]


def test_other_chunks_make_the_same_data(dataset, tmp_path):
    other = make_run(tmp_path, chunks=2).merge()
    found = compare(dataset, other, tolerance=1e-14)  # sums are in another order
    assert found.equal
    assert found.making["Configuration"] == ["chunks: 3, 2"]
    assert any(line.startswith("chunk: ") for line in found.making["Solve records"])


def test_a_larger_set_has_the_same_instances_and_more(dataset, tmp_path):
    found = compare(dataset, make_run(tmp_path, count=16).merge())
    assert not found.equal
    assert found.data["Instances"] == ["12 and 16, of which 12 pair up"]
    assert found.data["Arrays of instances"] == found.data["Splits"] == []
    assert [line.partition(":")[0] for line in found.data["Statistics"]] == [
        "k", "profile", "nu", "u",
    ]  # fmt: skip


def test_another_seed_makes_other_instances(dataset, tmp_path):
    found = lines(dataset, make_run(tmp_path, seed=8).merge())
    assert found["Configuration"] == ["seed: 7, 8"]
    assert found["Instances"] == ["12 with the same number have other parameters"]
    assert found["Arrays of instances"][0].startswith("k: 12 of 12 differ")


@pytest.mark.parametrize("factor", [1 + 1e-9, 1 + 1e-3])
def test_the_tolerance_decides_on_solutions(factor, dataset, tmp_path):
    def scale(values):
        values[3] *= factor
        return values

    other = changed(dataset, tmp_path / "other.h5", "t0_fields/u", scale)
    found = compare(dataset, other)
    assert found.tolerance == pytest.approx(1e-4)
    assert found.equal == (factor < 1 + 1e-4)
    (line,) = found.data["Arrays of instances"]
    assert line == f"u: 1 of 12 differ, by up to {factor - 1:.1e} (instance 3)"
    assert not compare(dataset, other, tolerance=1e-12).equal


def test_instances_at_other_numbers_are_found_by_their_digests(dataset, tmp_path):
    shutil.copy(dataset, tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        for name in ("t0_fields/k", "t0_fields/profile", "scalars/nu", "t0_fields/u"):
            file[name][:] = file[name][:][::-1]
    seal_again(tmp_path / "other.h5")
    found = lines(dataset, tmp_path / "other.h5")
    assert found["Instances"] == ["12 with the same parameters have other numbers"]
    assert "Arrays of instances" not in found
    assert found["Splits"]


def test_damage_that_its_digest_does_not_show_is_a_difference(dataset, tmp_path):
    shutil.copy(dataset, tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        file["t0_fields/u"][5, 0, 2, 2] += 1.0
    assert not compare(dataset, tmp_path / "other.h5").equal


@pytest.mark.parametrize("family", ["Moving", "Meshed"])
def test_every_kind_of_array_is_compared(family, tmp_path):
    path = various(tmp_path, family, count=4).merge()
    assert compare(path, path, tolerance=0.0).equal
    for group in ("t1_fields", "parameters", "unknowns", "grid_3", "mesh"):
        shutil.copy(path, tmp_path / "other.h5")
        with h5py.File(tmp_path / "other.h5", "r+") as file:
            arrays = [array for array in file.get(group, {}).values() if not array.is_scale]
            for array in arrays[-1:]:
                array[()] += 1
        assert compare(path, tmp_path / "other.h5").equal == (not arrays), group


def test_distances_are_relative_and_never_nan():
    one = np.array([3.0, 4.0, np.nan])
    assert distance(one, one) == 0
    assert distance(one, np.array([3.0, 4.5, np.nan])) == pytest.approx(0.1)
    assert distance(one, np.array([3.0, 4.0, 0.0])) == np.inf
    assert distance(one[:2], np.array([3.0, np.inf])) == np.inf
    assert distance(np.zeros(2), np.ones(2)) > 1
    assert distance(np.array([1e300, 1e300]), np.array([1e300, 2e300])) < 1


def test_a_damaged_file_is_named(dataset, tmp_path):
    (tmp_path / "cut.h5").write_bytes(dataset.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cut\.h5"):
        compare(dataset, tmp_path / "cut.h5")
