# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A chunk is verified from its file, and a dataset is made of verified chunks alone."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pointwise_runs import Run, changed, make_run

from kryloset.dataset.splits import split_indices
from kryloset.errors import DataError
from kryloset.problems.checks.variety import equal_keys
from kryloset.run import merge, verify
from kryloset.run.checks import group
from kryloset.run.checks.verified import Verified


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def verified(run: Run, number: int = 0) -> Verified:
    """Verify a chunk of a run."""
    chunk, output = run.chunks[number], run.folder / "verified.json"
    return verify.run(run.config, order=run.folder / "order.h5", chunk=chunk, output=output)


def statistics(path: Path) -> dict[str, list[float]]:
    with h5py.File(path) as file:
        return {name: list(node.attrs.values()) for name, node in file["statistics"].items()}


def test_what_is_written_is_read(run: Run):
    found = verified(run)
    assert Verified.read(run.folder / "verified.json") == found
    assert found.instances == 4 and found.residual_max <= 1e-15
    assert {"finite", "parameters", "residuals", "solver", "mesh"} <= {*found.checks}


def test_statistics_do_not_depend_on_the_chunks(tmp_path: Path):
    one, three = (
        statistics(make_run(tmp_path / str(chunks), chunks=chunks).merge()) for chunks in (1, 3)
    )
    assert one.keys() == three.keys()
    for name, numbers in one.items():
        np.testing.assert_allclose(three[name], numbers, rtol=1e-12, atol=1e-14)


def test_the_size_of_groups_changes_nothing_but_rounding(run: Run, monkeypatch):
    whole = verified(run)
    monkeypatch.setattr(group, "_BYTES", 1)
    single = verified(run)
    assert (single.seal, single.checks, single.residual_max) == (
        whole.seal, whole.checks, whole.residual_max,
    )  # fmt: skip
    for name, moments in whole.moments.items():
        np.testing.assert_allclose(
            [*single.moments[name].summary().values()], [*moments.summary().values()], rtol=1e-12
        )


def test_each_chunk_tells_how_many_of_its_instances_are_in_train(run: Run, caplog):
    with caplog.at_level(logging.INFO):
        for number in range(len(run.chunks)):
            verified(run, number)
    told = re.findall(r"passed statistics: computed from (\d+) instances of train", caplog.text)
    assert len(told) == len(run.chunks) > 1
    assert sum(map(int, told)) == len(split_indices(run.config)["train"])


def _one_bit_of_a_parameter(file):
    file["parameters/k"][1] = np.nextafter(file["parameters/k"][1], 2)


def _not_solved(file):
    file["fields/u"][1] *= 1 + 1e-7


def _constant(file):
    file["fields/u"][1] = 1.0


def _predecessor(file):
    file["solver/predecessor"][1] = file["instance"][3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_one_bit_of_a_parameter, "parameters: .*: instance {}: k"),
        (_not_solved, "residuals: .*: instance {}: 1e-07"),
        (_constant, "not constant: .*: instance {}: u"),
        (_predecessor, "solver: .*: instance {}: a predecessor that was not solved just before"),
    ],
)
def test_wrong_content_is_named(run: Run, change, message: str):
    with changed(run.chunks[1]) as file:
        instance = file["instance"][1]
        change(file)
    with pytest.raises(DataError, match=message.format(instance)):
        verified(run, 1)
    assert not (run.folder / "verified.json").exists()


def merged(run: Run, paths: list[Path]) -> None:
    written = {name: run.folder / f"{name}.json" for name in ("check", "timings", "choices")}
    order, output = run.folder / "order.h5", run.folder / "dataset.h5"
    merge.run(
        run.config, run.name, order=order, chunks=run.chunks, verified=paths, output=output,
        **written,
    )  # fmt: skip


def test_a_file_that_was_made_since_is_not_merged(run: Run):
    run.merge()
    (run.folder / "dataset.h5").unlink()
    with changed(run.chunks[1]) as file:
        file["seconds/setup"][0] += 1
    paths = [run.folder / "verified" / f"{chunk.stem}.json" for chunk in run.chunks]
    with pytest.raises(DataError, match=r"2-of-3.json is of another file than .*2-of-3.h5"):
        merged(run, paths)
    assert not (run.folder / "dataset.h5").exists()


@pytest.mark.parametrize(
    "change", [lambda _: {"train": 0.5, "test": 0.5}, lambda splits: dict(reversed(splits.items()))]
)
def test_statistics_of_other_splits_are_not_merged(run: Run, change):
    run.merge()
    (run.folder / "dataset.h5").unlink()
    other = change(run.config.splits)
    run = replace(run, config=run.config.model_copy(update={"splits": other}))
    paths = [run.folder / "verified" / f"{chunk.stem}.json" for chunk in run.chunks]
    with pytest.raises(DataError, match=r"1-of-3.json was made with other splits: .*, not .*"):
        merged(run, paths)
    assert not (run.folder / "dataset.h5").exists()


@pytest.mark.parametrize("path", ["parameters/k", "fields/u"])
def test_a_row_that_was_written_again_is_not_merged(run: Run, path: str):
    run.merge()
    (run.folder / "dataset.h5").unlink()
    with h5py.File(run.chunks[1], "r+") as file:  # HDF5 makes the checksum of the row anew.
        file[path][1] *= 1.5
    paths = [run.folder / "verified" / f"{chunk.stem}.json" for chunk in run.chunks]
    with pytest.raises(DataError, match=r"2-of-3.h5 is damaged: a row was changed since"):
        merged(run, paths)
    assert not (run.folder / "dataset.h5").exists()


@pytest.mark.parametrize("text", [None, "", "{}", '{"moments": 1}', "[]"])
def test_a_chunk_without_verification_is_not_merged(run: Run, text: str | None):
    run.merge()
    paths = [run.folder / "verified" / f"{chunk.stem}.json" for chunk in run.chunks]
    paths[2].unlink() if text is None else paths[2].write_text(text)
    with pytest.raises(DataError, match=r"3-of-3.json is not a file of `kryloset verify`"):
        merged(run, paths)


def test_the_check_of_the_whole_is_written(run: Run):
    run.merge()
    tree = json.loads((run.folder / "check.json").read_text())
    assert tree["passed"] and tree["residual_max"] <= 1e-15
    with h5py.File(run.folder / "dataset.h5") as file:
        assert tree["digests"].keys() == {
            line.partition("  ")[2] for line in file["provenance/digests"].asstr()[()].splitlines()
        }


def test_equal_instances_are_paired_with_the_first():
    keys = np.array([5, 7, 5, 9, 7, 5], np.uint64)
    assert equal_keys(keys) == [(0, 2), (1, 4), (0, 5)]
