# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An instance that fails is left out, told, and moves no other one to another split."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from failing_sets import FAMILY, expected, killed_after, make, read_failures
from resealing import seal_again

from kryloset.dataset.description import describe
from kryloset.dataset.diff import compare
from kryloset.dataset.failures import Failure, dump_failures, parse_failures, stored_numbers
from kryloset.dataset.integrity import identity
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError, KrylosetError
from kryloset.publish.instances import read_columns, write_table
from kryloset.run import check, checkpoint, export, extend, report, reproduce, solve

SLOW = pytest.mark.slow
SKIP = {"on_failure": "skip", "count": 16}


def left_out(path: Path) -> list[int]:
    """Return the numbers that are left out."""
    return [one.instance for one in read_failures(path)]


def by_number(path: Path) -> dict[int, tuple]:
    """Return split, parameters and solution of each instance, in bytes, by its number."""
    with Dataset(path) as data:
        split = {row: name for name, rows in data.splits().items() for row in rows.tolist()}
        return {
            number: (
                split[row],
                *(values.tobytes() for values in data.instance(row).values()),
                *(values.tobytes() for values in data.solution(row).values()),
            )
            for row, number in enumerate(data.numbers.tolist())
        }


def identity_of(path: Path) -> str:
    with h5py.File(path) as file:
        return identity(file)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without several instances that failed at each stage."""
    return make(tmp_path_factory.mktemp("made"), **SKIP)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset in which nothing fails."""
    return make(tmp_path_factory.mktemp("whole"), count=16, on_failure="stop", parameters={})


def test_every_instance_but_those_that_fail_is_the_one_it_would_be(made: Path, whole: Path):
    """Bit for bit, with its number and in its split."""
    first = [failed for failed in expected(16) if failed[1] == 0]
    assert [(one.instance, one.attempt, one.stage) for one in read_failures(made)] == first
    assert {stage for *_, stage in first} == {"draw", "solve"}
    every = by_number(whole)
    for number in left_out(made):
        del every[number]
    assert by_number(made) == every
    assert len({split for split, *_ in every.values()}) == 3


def test_no_row_is_empty_for_whoever_reads_the_file_in_three_lines(made: Path):
    count = 16 - len(left_out(made))
    with h5py.File(made) as file:
        k, u = file["t0_fields/k"][:], file["t0_fields/u"][:]
        train = u[file["splits/train"][:]]
        assert file.attrs["n_trajectories"] == len(k) == len(u) == count
        assert all(len(column) == count for column in file["solver"].values())
        assert np.isfinite(k).all() and np.isfinite(u).all() and (u != 0).all()
        assert np.isclose(file["statistics/u"].attrs["mean"], train.mean())
    tree = xarray.open_datatree(made, engine="h5netcdf")
    number = int(tree["sample"][-1])
    assert number >= count  # Rows have moved up, and are found by their numbers.
    found = tree["t0_fields/u"].sel(sample=number)
    assert np.array_equal(found, u[-1])


def test_pairs_of_a_split_are_of_the_instances_that_are_there(made: Path, whole: Path):
    pytest.importorskip("torch")
    from kryloset.torch import FieldPairs

    for split in ("train", "test"):
        some, every = FieldPairs(made, split), FieldPairs(whole, split)
        with Dataset(made) as data:
            numbers = data.numbers[some.instances]
        places = np.searchsorted(every.instances, numbers)
        for mine, theirs in zip(some.stack(range(len(some))), every.stack(places), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_checks_information_and_report_tell_what_is_left_out(made: Path, tmp_path: Path):
    found = read_failures(made)
    check.run(made, tmp_path / "check.json")
    for path in (made.with_name("check.json"), tmp_path / "check.json"):
        told = json.loads(path.read_text())
        assert [Failure(**one) for one in told["failures"]] == [*found]
        (detail,) = (one["detail"] for one in told["checks"] if one["name"] == "failures")
        assert detail.startswith(f"{len(found)} instances were left out: ")
    assert detail in describe(made)
    page = tmp_path / "report.html"
    report.run(made, page, order=made.with_name("order.h5"))
    text = page.read_text()
    assert all(f"instance {one.instance}, as it was" in text for one in found)
    assert f"{16 - len(found)} instances of family" in text
    assert "(left out)" in text


def test_an_instance_is_made_again_by_its_number(made: Path):
    with Dataset(made) as data:
        last = int(data.numbers[-1])
    assert last > 15 - len(left_out(made))
    assert all(one.passed for one in reproduce.run(made, last))
    for failure in read_failures(made):
        with pytest.raises(DataError, match=rf"instance {failure.instance}, .*\(left out\)"):
            reproduce.run(made, failure.instance)
    with pytest.raises(DataError, match="and no 16"):
        reproduce.run(made, 16)


def test_tables_and_exports_name_instances_by_their_numbers(made: Path, tmp_path: Path):
    with Dataset(made) as data:
        numbers = data.numbers.tolist()
        rows = list(csv.DictReader(write_table(read_columns(data)).splitlines()))
        assert [int(row["instance"]) for row in rows] == numbers
        splits = {row["instance"]: row["split"] for row in rows}
    output = tmp_path / "part.nc"
    export.run(made, to="netcdf", output=output, instances=f"{numbers[2]}:16", precision="float64")
    tree = xarray.open_datatree(output, engine="h5netcdf")
    assert tree["sample"].values.tolist() == numbers[2:]
    test = tree["splits/test"].values
    assert {splits[str(number)] for number in test.tolist()} == {"test"}
    with h5py.File(made) as file:
        u = file["t0_fields/u"][numbers.index(test[0])]
    assert np.array_equal(tree["t0_fields/u"].sel(sample=test[0]), u)
    (gone, *_) = left_out(made)
    with pytest.raises(DataError, match=f"--instances {gone}: .* has the instances"):
        export.run(made, to="netcdf", output=tmp_path / "no.nc", instances=str(gone))


def test_a_set_without_some_is_paired_with_the_whole_one(made: Path, whole: Path):
    told = compare(made, whole)
    assert not told.equal
    count = 16 - len(left_out(made))
    assert f"{count} and 16, of which {count} pair up" in told.describe()
    assert not told.data["Arrays of instances"] and not told.data["Splits"]
    assert len(told.data["Instances"]) == 1  # None has another number.


def forge(made: Path, path: Path, failures: list[Failure]) -> Path:
    shutil.copy(made, path)
    with h5py.File(path, "r+") as file:
        del file["provenance/failures"]
        text = dump_failures(failures)
        file.create_dataset("provenance/failures", data=text, dtype=h5py.string_dtype())
    seal_again(path)
    return path


def test_a_forged_list_is_found(made: Path, tmp_path: Path):
    found = read_failures(made)
    first, *others = found
    with pytest.raises(DataError, match="its configuration makes 16 on"):
        check.run(forge(made, tmp_path / "missing.h5", others))
    valid = next(i for i in range(16) if i not in left_out(made))
    other = Failure(valid, 0, "draw", "not to my taste", left_out=True)
    with pytest.raises(DataError, match="sample has not the values"):
        check.run(forge(made, tmp_path / "other.h5", [*others, other]))
    # Told twice, or drawn again and left out.
    for wrong in (Failure(first.instance, 1, "draw", ""), Failure(first.instance, 2, "draw", "")):
        with pytest.raises(DataError, match="no such attempt"):
            check.run(forge(made, tmp_path / "twice.h5", [*found, wrong]))


@pytest.mark.parametrize("after", [1, pytest.param(2, marks=SLOW)])
def test_a_killed_run_resumes_without_what_failed(made: Path, tmp_path: Path, after: int) -> None:
    with killed_after(after):
        make(tmp_path, **SKIP)
    assert identity_of(make(tmp_path, **SKIP)) == identity_of(made)


def test_a_group_may_be_left_out_as_a_whole(tmp_path: Path):
    """The first of a chunk, which has what instances share."""
    path = make(tmp_path, **SKIP, sort="given", chunks=1, seed=7, parameters={"solving": 0.4})
    assert {0, 1, 2, 3} <= {*left_out(path)}
    check.run(path)


def test_a_run_that_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch):
    settings = {"chunks": 1, "parameters": {"solving": 0.1}, "sort": "given"}
    first = expected(12, 0.0, 0.1)[0][0]
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    with pytest.raises(KrylosetError, match=f"instance {first}: nu .* diverges"):
        make(tmp_path, on_failure="stop", **settings)
    solved, solve_group = [], solve.solve_group

    def noting(discretisation, solver, state, instances, redraw):
        solved.extend(number for number, _ in instances)
        return solve_group(discretisation, solver, state, instances, redraw)

    monkeypatch.setattr(solve, "solve_group", noting)
    path = make(tmp_path, on_failure="skip", **settings)
    assert first in left_out(path)
    assert solved == [*range(first // 4 * 4, 12)]


def test_a_recycling_solver_goes_on_from_the_last_that_was_solved(tmp_path: Path):
    with np.errstate(over="ignore"):
        path = make(
            tmp_path, family=FAMILY.replace("Failing", "Steep"), mesh={"points": 9},
            parameters={"modes": 8}, on_failure="skip", sort="given", chunks=1,
            solver={"method": "gcrodr", "restart": 10, "recycle": 4},
        )  # fmt: skip
    assert 0 < len(left_out(path)) < 12
    check.run(path)
    with Dataset(path) as data:
        numbers = data.numbers
        assert data.solver()["predecessor"].tolist() == [-1, *numbers[:-1]]


def test_the_limits(tmp_path: Path):
    failed = [one for one in expected(16) if one[1] == 0]
    limit = len(failed)
    make(tmp_path, **SKIP, failure_limit=limit)
    with pytest.raises(DataError, match=f"{limit} instances failed, and {limit - 1} may"):
        make(tmp_path, **SKIP, failure_limit=limit - 1)
    with pytest.raises(DataError, match="which leaves too few for 15 chunks"):
        make(tmp_path, **SKIP, chunks=15, parameters={"drawing": 0.5})
    with pytest.raises(DataError, match=r"all instances of the split .* are left out"):
        make(tmp_path, **SKIP, splits={"train": 0.9375, "test": 0.0625},
             parameters={"drawing": 0.9}, chunks=1)  # fmt: skip
    with pytest.raises(DataError, match="all of the 16 instances are left out"):
        make(tmp_path, **SKIP, parameters={"drawing": 1.0})
    with pytest.raises(DataError, match=r"all .* instances of chunk 1-of-1 are left out"):
        make(tmp_path, **SKIP, parameters={"solving": 1.0}, chunks=1)


def test_a_larger_or_smaller_set_leaves_the_same_out(made: Path, tmp_path: Path):
    folder = tmp_path / "set"
    shutil.copytree(made.parent, folder)
    larger = make(folder, on_failure="skip", count=24)
    at_once = make(tmp_path, on_failure="skip", count=24)
    assert read_failures(larger) == read_failures(at_once)
    assert by_number(larger) == by_number(at_once)
    kept = by_number(made)
    assert kept == {number: by_number(larger)[number] for number in kept}
    with Dataset(larger) as data:
        (run,) = data.provenance().earlier
    assert run.instances == 16
    check.run(larger)
    smaller = make(folder, on_failure="skip", count=12)
    every = by_number(at_once)
    assert by_number(smaller) == {number: every[number] for number in every if number < 12}
    assert read_failures(smaller) == tuple(one for one in read_failures(made) if one.instance < 12)
    check.run(smaller)


def test_extend_leaves_out_what_fails(made: Path, tmp_path: Path):
    path = tmp_path / "copy.h5"
    shutil.copy(made, path)
    told = extend.run(path, count=24, grids=())
    assert by_number(path) == by_number(make(tmp_path, on_failure="skip", count=24))
    count, kept = (len(by_number(one)) for one in (path, made))
    assert f"{count} instances, of which {kept} were kept" in told


@pytest.mark.slow
def test_what_was_drawn_again_stays_when_others_are_left_out(tmp_path: Path):
    """And what was left out is drawn again, with all others, once that is asked for."""
    before = make(tmp_path, on_failure="redraw", count=8)
    again = read_failures(before)
    path = make(tmp_path, on_failure="skip", count=16)
    found = read_failures(path)
    assert found[: len(again)] == again
    assert {one.instance for one in found if one.left_out} == {
        index for index, attempt, _ in expected(16) if attempt == 0 and index >= 8
    }
    check.run(path)
    assert "instances were drawn again and" in describe(path)
    assert stored_numbers(16, found).tolist() == [*by_number(path)]
    redrawn = make(tmp_path, on_failure="redraw", count=20)
    assert [(one.instance, one.attempt) for one in read_failures(redrawn)] == [
        one[:2] for one in expected(20)
    ]


def test_a_file_of_instances_may_have_wrong_ones(tmp_path: Path):
    """The second has a hole, and the fourth is not positive."""
    k = np.exp(np.random.default_rng(0).standard_normal((6, 9, 9)))
    k[1, 2, 3], k[3, 0, 0] = np.nan, -1.0
    np.save(tmp_path / "k.npy", k)
    path = make(
        tmp_path, family="darcy", mesh={"points": 9}, parameters={"modes": 4}, count=6, chunks=1,
        splits={"train": 0.5, "test": 0.5}, on_failure="skip",
        instances={"file": str(tmp_path / "k.npy")},
    )  # fmt: skip
    assert left_out(path) == [1, 3]
    assert ["not finite" in one.reason for one in read_failures(path)] == [True, False]
    check.run(path)
    with Dataset(path) as data:
        assert np.array_equal(data.array("k")[:], k[[0, 2, 4, 5]])
    (tmp_path / "k.npy").unlink()  # Then they are compared with their digests.
    check.run(path)


def test_an_instance_that_was_left_out_is_there_once_its_file_is_right(tmp_path: Path, caplog):
    k = np.exp(np.random.default_rng(0).standard_normal((5, 5, 5)))
    wrong = k.copy()
    wrong[1, 2, 3] = np.nan
    settings = {
        "family": "darcy", "mesh": {"points": 5}, "parameters": {"modes": 4}, "count": 5,
        "chunks": 1, "splits": {"train": 0.5, "test": 0.5}, "on_failure": "skip",
        "instances": {"file": str(tmp_path / "k.npy")},
    }  # fmt: skip
    np.save(tmp_path / "k.npy", wrong)
    assert left_out(make(tmp_path, **settings)) == [1]
    np.save(tmp_path / "k.npy", k)
    path = make(tmp_path, **settings)
    assert not left_out(path)
    assert "failures of instances that are valid: instance 1" in caplog.text
    check.run(path)


def test_the_first_solved_on_a_refined_mesh_are_those_that_there_are(tmp_path: Path):
    k = np.exp(np.random.default_rng(0).standard_normal((5, 5, 5)))
    k[1, 2, 3] = np.nan
    np.save(tmp_path / "k.npy", k)
    path = make(
        tmp_path, family="darcy", mesh={"points": 5}, parameters={"modes": 4}, count=5, chunks=1,
        splits={"train": 0.5, "test": 0.5}, on_failure="skip", refinement={"instances": 3},
        instances={"file": str(tmp_path / "k.npy")},
    )  # fmt: skip
    with h5py.File(path) as file:
        assert file["refinement/instance"][:].tolist() == [0, 2]
    check.run(path)


def test_what_is_left_out_is_read_as_it_is_written():
    found = (Failure(3, 0, "draw", "a"), Failure(3, 1, "solve", "b", left_out=True))
    assert parse_failures(dump_failures(found), "x") == found
    for text in ('[[0, 0, "draw", "", "gone"]]', '[[0, 0, "draw", "", true]]'):
        with pytest.raises(DataError, match="x is not a list of failures"):
            parse_failures(text, "x")
