# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances of shifted distributions are in splits of their own, and verified as all others."""

import json
import logging
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from failing_sets import GIVEN, make, read_failures
from resealing import seal_again

from documentation import read_blocks
from kryloset.config import DatasetConfig, dump_dataset, parse_config
from kryloset.dataset.description import describe
from kryloset.dataset.reader import Dataset
from kryloset.dataset.splits import split_indices
from kryloset.errors import ConfigError, DataError
from kryloset.given.opening import resolve_config
from kryloset.problems.populations import Drawings, load_populations, require_same_fixed
from kryloset.run import check, compare, extend, report, reproduce
from kryloset.sampling import generator

SHIFTS = {
    "rough": {"log_deviation": 2.0, "count": 3},
    "smooth": {"count": 2, "parameters": {"length": 1.0, "log_deviation": 0.5}},
}
SET = {
    "family": "darcy", "mesh": {"points": 5}, "parameters": {"modes": 4}, "count": 6, "chunks": 1,
    "splits": {"train": 0.5, "test": 0.5}, "on_failure": "stop", "ood": SHIFTS,
    "solver": {"method": "cg", "preconditioner": "jacobi"},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six instances, three of one shift and two of another."""
    return make(tmp_path_factory.mktemp("made"), **SET)


def rows(path: Path, split: str, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file[f"t0_fields/{name}"][file[f"splits/{split}"][:]])


def config_of(**changes) -> DatasetConfig:
    return DatasetConfig(**GIVEN | SET | changes)


def test_one_shift_needs_no_name_and_its_settings_stand_beside_the_count():
    short = DatasetConfig(ood={"log_deviation": 2.0, "count": 200})
    assert short == DatasetConfig(ood={"ood": {"count": 200, "parameters": {"log_deviation": 2.0}}})
    assert short.split_names == ("train", "valid", "test", "ood")
    assert (short.count, short.total) == (64, 264)
    # Settings that are called like the keys of a shift, and truth values.
    own = {"count": 9, "parameters": {"count": 3, "flag": True}}
    assert DatasetConfig(ood={"a": own}).ood["a"].parameters == own["parameters"]
    flagged = DatasetConfig(ood={"flag": True, "count": 9}).ood["ood"]
    assert flagged.parameters == {"flag": True}
    again = yaml.safe_load(dump_dataset("set", short))
    assert parse_config(again).datasets["set"] == short


def test_by_default_a_configuration_is_as_it_was():
    assert "ood" not in DatasetConfig().model_dump_json()
    assert [*split_indices(DatasetConfig())] == ["train", "valid", "test"]


def test_shifted_instances_are_in_no_other_split(made: Path):
    with Dataset(made) as data:
        splits = {name: found.tolist() for name, found in data.splits().items()}
        assert (splits["rough"], splits["smooth"]) == ([6, 7, 8], [9, 10])
        assert sorted(splits["train"] + splits["test"]) == [*range(6)]
        assert data.numbers.tolist() == [*range(11)]
        train = data.array("k")[:][splits["train"]]
        assert np.isclose(data.statistics("k")["max"], train.max())
    assert np.log(rows(made, "rough", "k")).std() > 2 * np.log(rows(made, "smooth", "k")).std()


def test_a_shifted_split_is_read_as_pairs(made: Path):
    pytest.importorskip("torch")
    (program,) = read_blocks("docs/how-to/shifts.md")
    names: dict = {}
    exec(program.replace("results/darcy/dataset.h5", str(made)).replace("ood", "rough"), names)
    pairs = names["shifted"]
    assert len(pairs) == 3
    np.testing.assert_array_equal(pairs.stack(range(3))[0][:, 0], rows(made, "rough", "k"))


def test_the_others_are_what_they_are_without_a_shift(made: Path, tmp_path: Path):
    plain = make(tmp_path, **SET | {"ood": {}})
    for split in ("train", "test"):
        for name in ("k", "u"):
            assert np.array_equal(rows(made, split, name), rows(plain, split, name))
    with Dataset(made) as data, Dataset(plain) as other:
        assert data.statistics("u") == other.statistics("u")


def test_a_shift_depends_on_its_name_and_its_settings_alone():
    def draw(number: int, **changes):
        config = config_of(**changes)
        return Drawings(load_populations(config))(config.seed, number)["k"]

    first = draw(6)
    assert np.array_equal(first, draw(9, count=9))
    assert np.array_equal(
        first, draw(8, ood={"smooth": SHIFTS["smooth"], "rough": SHIFTS["rough"]})
    )
    assert not np.array_equal(first, draw(6, ood={"other": SHIFTS["rough"]}))
    assert not np.array_equal(first, draw(6, seed=6))
    # The stream is another one than that of the instance with the same index.
    streams = [generator(0, 3, *more).random() for more in ((), (1,), (0, "a"), (1, "a"), (0, "b"))]
    assert len({*streams}) == 5


def test_checks_information_and_report_know_the_shifts(made: Path, tmp_path: Path):
    told = check.run(made, tmp_path / "check.json")
    (detail,) = (one.detail for one in told.checks if one.name == "splits")
    assert "rough 3, smooth 2" in detail
    assert "rough 3, smooth 2" in made.with_name("check.json").read_text()
    assert re.search("split rough +drawn with log_deviation 2.0\n", describe(made))
    page = tmp_path / "report.html"
    report.run(made, page, order=made.with_name("order.h5"))
    assert "The split rough was drawn with <code>log_deviation</code> 2.0" in page.read_text()


def test_a_shifted_instance_is_made_again_with_its_settings(made: Path, tmp_path: Path):
    assert all(one.passed for one in reproduce.run(made, 7))
    # Told to be of other settings, it is not what is stored.
    path = tmp_path / "forged.h5"
    shutil.copy(made, path)
    with h5py.File(path, "r+") as file:
        text = file["provenance/config"].asstr()[()]
        del file["provenance/config"]
        forged = text.replace("log_deviation: 2.0", "log_deviation: 2.5")
        assert forged != text
        file.create_dataset("provenance/config", data=forged, dtype=h5py.string_dtype())
    seal_again(path)
    with pytest.raises(DataError, match="not those of the seed: instance 6: k; instance 7: k"):
        check.run(path)
    assert not all(one.passed for one in reproduce.run(path, 7))


def test_settings_that_enter_the_equation_are_those_of_the_shift(tmp_path: Path):
    """The residual depends on them, and not only what is drawn."""
    path = make(
        tmp_path, **SET | {
            "family": "reaction_diffusion", "count": 4, "ood": {"reaction": 2.0, "count": 2},
            "solver": {},
        },
    )  # fmt: skip
    check.run(path)


def test_a_shift_is_refined_by_nobody_and_compared_with_nothing(made: Path, tmp_path: Path):
    output = tmp_path / "comparison.json"
    compare.run(
        config_of(comparison={"instances": 11}), "set", order=made.with_name("order.h5"),
        output=output,
    )  # fmt: skip
    assert {*json.loads(output.read_text())["instances"]} <= {*range(6)}
    path = make(tmp_path, **SET | {"refinement": {"instances": 8}})
    with h5py.File(path) as file:
        assert file["refinement/instance"][:].tolist() == [*range(6)]
    check.run(path)


def test_a_comparison_has_no_shifted_instances_where_some_are_left_out(tmp_path: Path):
    settings = {"count": 6, "chunks": 1, "on_failure": "skip", "parameters": {"drawing": 0.2}}
    settings |= {"ood": {"drawing": 0.1, "count": 3}, "splits": {"train": 0.5, "test": 0.5}}
    path = make(tmp_path, **settings)
    assert any(one.instance < 6 for one in read_failures(path))
    output = tmp_path / "comparison.json"
    config = DatasetConfig(**GIVEN | settings | {"comparison": {"instances": 6}})
    compare.run(config, "set", order=path.with_name("order.h5"), output=output)
    assert {*json.loads(output.read_text())["instances"]} <= {*range(6)}


def test_a_set_with_shifts_grows(made: Path, tmp_path: Path):
    folder = tmp_path / "set"
    shutil.copytree(made.parent, folder)
    larger = make(folder, **SET | {"count": 8})
    at_once = make(tmp_path, **SET | {"count": 8})
    for split in ("train", "test", "rough", "smooth"):
        assert np.array_equal(rows(larger, split, "k"), rows(at_once, split, "k"))
    with Dataset(larger) as data, Dataset(made) as before:
        assert data.provenance().earlier[0].instances == 6
        assert data.array("u")[:6].tobytes() == before.array("u")[:6].tobytes()
    for split in ("rough", "smooth"):
        assert np.array_equal(rows(larger, split, "k"), rows(made, split, "k"))
    check.run(larger)
    smaller = make(folder, **SET | {"count": 4})
    check.run(smaller)
    assert np.array_equal(rows(smaller, "rough", "k"), rows(made, "rough", "k"))


@pytest.mark.slow
def test_a_shift_is_added_to_a_finished_set_and_taken_away(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO)
    plain = make(tmp_path, **SET | {"ood": {}})
    with Dataset(plain) as data:
        before = data.array("u")[:]
    path = make(tmp_path, **SET)
    with Dataset(path) as data:
        assert data.array("u")[:6].tobytes() == before.tobytes()
    assert "6 instances are kept of" in caplog.text
    check.run(path)
    caplog.clear()
    again = make(tmp_path, **SET | {"ood": {}})
    check.run(again)
    with Dataset(again) as data:
        assert data.array("u")[:].tobytes() == before.tobytes()
    assert "6 instances are kept of" in caplog.text


@pytest.mark.slow
def test_extend_keeps_the_shifts(made: Path, tmp_path: Path):
    path = tmp_path / "copy.h5"
    shutil.copy(made, path)
    extend.run(path, count=8, grids=())
    assert np.array_equal(rows(path, "smooth", "k"), rows(made, "smooth", "k"))
    check.run(path)


def test_a_shifted_instance_that_fails_is_left_out(tmp_path: Path):
    """Of a shift whose instances are all but one invalid."""
    path = make(
        tmp_path, count=6, chunks=1, splits={"train": 0.5, "test": 0.5}, parameters={},
        on_failure="skip", ood={"drawing": 0.5, "count": 8},
    )  # fmt: skip
    failed = {one.instance for one in read_failures(path)}
    assert failed
    assert failed < {*range(6, 14)}
    with Dataset(path) as data:
        assert len(data.splits()["ood"]) == 8 - len(failed)
        assert (data.array("nu")[:][data.splits()["ood"]] >= 0.5).all()
    check.run(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ood": {"log_deviation": 9.0, "count": 2}}, r"ood\.ood: .*log_deviation"),
        ({"ood": {"deviation": 2.0, "count": 2}}, r"ood\.ood: .*no such key"),
        ({"ood": {"log_deviation": 1.0, "count": 2}}, "nothing is shifted"),
        ({"ood": {"source_deviation": 0.5, "count": 2}}, "has other parameters, which a file has"),
    ],
)
def test_what_cannot_be_shifted_is_refused_before_anything_is_drawn(changes, message: str):
    config = parse_config({"datasets": {"set": SET | changes}})
    with pytest.raises(ConfigError, match=rf"(?s)datasets\.set\.ood.*{message}|{message}"):
        resolve_config(config)


def test_contradicting_keys_are_refused():
    with pytest.raises(ValueError, match="ood contradicts instances"):
        config_of(instances="fields.h5")
    with pytest.raises(ValueError, match="there is a split of that name"):
        config_of(ood={"test": SHIFTS["rough"]})
    with pytest.raises(ValueError, match="no training sees shifted instances"):
        config_of(ood={"valid": SHIFTS["rough"]})
    with pytest.raises(ValueError, match="calibrates bounds for instances drawn as its own"):
        config_of(ood={"calibration": SHIFTS["rough"]})
    with pytest.raises(ValueError, match=r"ood\.rough\.parameters"):
        config_of(ood={"rough": {"count": 3}})
    with pytest.raises(ValueError, match=r"no count: write {log_deviation: 2.0, count: 200}"):
        config_of(ood={"log_deviation": 2.0})
    assert config_of(ood=config_of().ood) == config_of()
    require_same_fixed(load_populations(config_of()), 0)
