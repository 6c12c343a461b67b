# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An instance that fails is drawn again, told, and harms no other one."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from failing_sets import (
    FAMILY,
    GIVEN,
    expected,
    killed_after,
    make,
    parameters,
    read_failures,
)
from resealing import seal_again

from kryloset.config import DatasetConfig
from kryloset.dataset.description import describe
from kryloset.dataset.failures import Failure, Failures, dump_failures, parse_failures
from kryloset.dataset.integrity import identity
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError, KrylosetError
from kryloset.problems import load_family
from kryloset.problems.populations import Population, load_populations
from kryloset.run import check, checkpoint, compare, report, reproduce, solve, sort
from kryloset.run.checks.redrawn import check_redrawn
from kryloset.run.draw import Drawn
from kryloset.run.inputs import open_order

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of which several instances failed at each stage."""
    return make(tmp_path_factory.mktemp("made"))


def test_what_fails_is_drawn_by_its_next_attempt(made: Path) -> None:
    found = read_failures(made)
    assert [(one.instance, one.attempt, one.stage) for one in found] == expected(12)
    assert {one.stage for one in found} == {"draw", "solve"}
    assert max(one.attempt for one in found) > 0
    assert all("resonance" in one.reason or "diverges" in one.reason for one in found)
    assert all(0.2 <= nu <= 0.7 for nu in parameters(made))


def test_failures_harm_no_other_instance(made: Path, tmp_path: Path) -> None:
    """Those that did not fail are, bit for bit, those of a run in which none fails."""
    failed = {one.instance for one in read_failures(made)}
    whole = make(tmp_path, on_failure="stop", parameters={})
    assert len(failed) < 12
    with Dataset(made) as some, Dataset(whole) as all_:
        for index in set(range(12)) - failed:
            for name, values in all_.instance(index).items():
                assert np.array_equal(some.instance(index)[name], values)
            assert np.array_equal(some.solution(index)["u"], all_.solution(index)["u"])
        for name, members in all_.splits().items():
            assert np.array_equal(some.splits()[name], members)
        assert not all_.provenance().failures
        assert "failures" not in all_.file["provenance"]


@pytest.mark.parametrize(
    "changes",
    [{"chunks": 3, "sort": "given"}, pytest.param({"chunks": 1}, marks=SLOW)],
)
def test_instances_do_not_depend_on_chunks_or_order(made: Path, tmp_path: Path, changes) -> None:
    other = make(tmp_path, **changes)
    assert read_failures(other) == read_failures(made)
    assert parameters(other) == parameters(made)


@SLOW
def test_a_larger_set_keeps_what_was_drawn_again(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(made.parent, folder)
    larger = make(folder, count=16)
    at_once = make(tmp_path, count=16)
    assert read_failures(larger) == read_failures(at_once)
    assert parameters(larger) == parameters(at_once)
    check.run(larger)
    smaller = make(folder, count=8)
    assert read_failures(smaller) == tuple(one for one in read_failures(made) if one.instance < 8)
    check.run(smaller)


def test_checks_information_and_report_tell_failures(made: Path, tmp_path: Path) -> None:
    found = read_failures(made)
    for path in (made.with_name("check.json"), tmp_path / "check.json"):
        if path.parent == tmp_path:
            check.run(made, path)
        told = json.loads(path.read_text())
        assert [Failure(**one) for one in told["failures"]] == [*found]
        (detail,) = (one["detail"] for one in told["checks"] if one["name"] == "failures")
        assert f"{len({one.instance for one in found})} instances were drawn again" in detail
    assert detail in describe(made)
    page = tmp_path / "report.html"
    report.run(made, page, order=made.with_name("order.h5"))
    assert f"instance {found[0].instance}, as it was" in page.read_text()
    last = found[-1].instance
    assert all(one.passed for one in reproduce.run(made, last))


@pytest.mark.parametrize("stage", ["draw", pytest.param("solve", marks=SLOW)])
def test_a_forged_attempt_is_found(made: Path, tmp_path: Path, stage: str) -> None:
    """The record of a failure is taken out, or one is added."""
    found = read_failures(made)
    last = {one.instance: one for one in found}
    out = next(one for one in last.values() if one.stage == stage)
    valid = next(i for i in range(12) if i not in last)
    for number, changed in enumerate(
        [[one for one in found if one != out], [*found, Failure(valid, 0, stage, "forged")]]
    ):
        path = tmp_path / f"{number}.h5"
        shutil.copy(made, path)
        with h5py.File(path, "r+") as file:
            del file["provenance/failures"]
            text = dump_failures(changed)
            file.create_dataset("provenance/failures", data=text, dtype=h5py.string_dtype())
        seal_again(path)
        with pytest.raises(DataError, match=r"parameters: (.*not those of the seed|.*resonance)"):
            check.run(path)


def test_valid_instances_cannot_be_told_as_failures(made: Path) -> None:
    """Else a set could be made of second attempts that someone likes better."""
    found, populations = read_failures(made), load_populations(DatasetConfig(**GIVEN))
    check_redrawn(populations, 5, found)
    valid = next(i for i in range(12) if i not in {one.instance for one in found})
    with pytest.raises(DataError, match=f"that are valid: instance {valid}: attempt 0"):
        check_redrawn(populations, 5, [*found, Failure(valid, 0, "draw", "not to my taste")])


@pytest.mark.parametrize("after", [2, pytest.param(1, marks=SLOW)])
def test_a_killed_run_resumes_with_what_failed(made: Path, tmp_path: Path, after: int) -> None:
    with killed_after(after):
        make(tmp_path)
    assert identity_of(make(tmp_path)) == identity_of(made)


def identity_of(path: Path) -> str:
    with h5py.File(path) as file:
        return identity(file)


def test_the_comparison_goes_on_without_what_fails(made: Path, tmp_path: Path) -> None:
    output, order = tmp_path / "comparison.json", made.with_name("order.h5")
    compare.run(DatasetConfig(**GIVEN), "set", order=order, output=output)
    failed = {one.instance for one in read_failures(made) if one.stage == "solve"}
    compared = json.loads(output.read_text())["instances"]
    assert compared
    assert not failed.intersection(compared)


def test_a_lane_that_fails_harms_no_neighbour(tmp_path: Path) -> None:
    """Sixteen at once: they are solved alone, and those without a finite matrix drawn again."""
    changes = {"family": FAMILY.replace("Failing", "Steep"), "mesh": {"points": 9}, "chunks": 1}
    changes |= {"parameters": {"modes": 8}, "sort": "given"}
    changes |= {"solver": {}}
    with np.errstate(over="ignore"):
        path = make(tmp_path, **changes)
        config = DatasetConfig(**GIVEN | changes)
        compare.run(config, "set", order=tmp_path / "order.h5", output=tmp_path / "c.json")
    failed = {one.instance for one in read_failures(path)}
    assert 0 < len(failed) < 12
    assert all("NaN or infinite" in one.reason for one in read_failures(path))
    check.run(path)
    with Dataset(path) as data:
        assert data.array("k")[:].max() < 1e300
        assert data.solver()["escalations"].all()  # They were in groups with one that failed.
    compared = json.loads((tmp_path / "c.json").read_text())
    assert not failed.intersection(compared["instances"])
    assert compared["methods"][0]["unconverged"] == 0  # of the solver of the dataset


def test_the_limit_stops_the_run_and_names_what_failed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)3 instances failed, and 2 may.*resonance"):
        make(tmp_path, failure_limit=2, parameters={"drawing": 0.5})
    with pytest.raises(DataError, match=r"(?s)2 instances failed, and 1 may.*diverges"):
        make(tmp_path, failure_limit=0.01, parameters={"solving": 0.5})


def test_all_chunks_together_have_the_limit(tmp_path: Path) -> None:
    count = len(expected(12, 0.0, 0.3))
    with pytest.raises(DataError, match=f"{count} instances failed, and {count - 1} may"):
        make(tmp_path, failure_limit=count - 1, parameters={"solving": 0.3})
    assert all((tmp_path / f"{i}-of-2.h5").exists() for i in (1, 2))


def test_a_run_that_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch, caplog) -> None:
    """The groups before the failure are not solved again when failures are allowed."""
    settings = {"chunks": 1, "parameters": {"solving": 0.1}, "sort": "given"}
    first = expected(12, 0.0, 0.1)[0][0]
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    with pytest.raises(KrylosetError, match=f"instance {first}: nu .* diverges"):
        make(tmp_path, on_failure="stop", **settings)
    assert "`on_failure: redraw` draws another instance" in caplog.text
    assert first >= 4
    solved, solve_group = [], solve.solve_group

    def noting(discretisation, solver, state, instances, redraw):
        solved.extend(number for number, _ in instances)
        return solve_group(discretisation, solver, state, instances, redraw)

    monkeypatch.setattr(solve, "solve_group", noting)
    make(tmp_path, **settings)
    assert solved == [*range(first // 4 * 4, 12)]


def test_an_instance_that_was_sorted_must_still_be_valid(tmp_path: Path) -> None:
    """Another kind of machine must not leave out what the order has."""
    config = DatasetConfig(**GIVEN | {"parameters": {}})
    sort.run(config, "set", output=tmp_path / "order.h5")
    other = load_family(DatasetConfig(**GIVEN | {"parameters": {"drawing": 0.999}}))
    with open_order(tmp_path / "order.h5", config) as order:
        drawn = Drawn([Population(other)], 5, order, failures=Failures(99))
        with pytest.raises(DataError, match=r"instance 0: .* is a resonance"):
            drawn.instances([0])


def test_a_family_that_is_wrong_is_not_drawn_again(tmp_path: Path) -> None:
    with pytest.raises(KrylosetError, match="did not return"):
        make(tmp_path, family=FAMILY.replace("Failing", "Wrong"))


def test_a_file_of_instances_has_nothing_to_draw_again() -> None:
    with pytest.raises(ValueError, match="on_failure redraw contradicts instances"):
        DatasetConfig(**GIVEN, instances="fields.h5")


def test_by_default_a_configuration_is_as_it_was() -> None:
    assert "failure" not in DatasetConfig().model_dump_json()
    assert DatasetConfig().failures_allowed == 0
    assert DatasetConfig(on_failure="redraw").failures_allowed == 1
    assert DatasetConfig(on_failure="redraw", count=10_000).failures_allowed == 100
    assert DatasetConfig(on_failure="redraw", failure_limit=7).failures_allowed == 7


def test_failures_are_read_as_they_are_written() -> None:
    found = (Failure(3, 0, "draw", "a\nresonance"), Failure(3, 1, "solve", "ü"))
    assert parse_failures(dump_failures(reversed(found)), "x") == found
    assert Failures(2, found).attempts[3] == 2
    for text in (
        "{",
        "[1]",
        '[[0, 0, "eat", ""]]',
        '[[-1, 0, "draw", ""]]',
        '[[true, 0, "draw", ""]]',
    ):
        with pytest.raises(DataError, match="x is not a list of failures"):
            parse_failures(text, "x")
