# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The workflow makes a set without its bad instances, and one with a shifted split."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from kryloset.config import DatasetConfig
from kryloset.dataset.reader import Dataset
from kryloset.dataset.splits import split_indices
from kryloset.run import check
from running import TINY, snakemake

SHIFT = {"rough": {"log_deviation": 2.0, "count": 3}}


@pytest.mark.slow
def test_bad_instances_are_left_out_and_shifted_ones_are_in_a_split_of_their_own(folder: Path):
    k = np.exp(np.random.default_rng(0).standard_normal((8, 9, 9)))
    gone = split_indices(DatasetConfig(**TINY))["train"][:2].tolist()
    k[gone[0], 4, 4], k[gone[1], 0, 0] = np.nan, -1.0
    np.save(folder / "k.npy", k)
    sets = {
        "without": TINY | {"instances": "k.npy", "on_failure": "skip", "failure_limit": 2},
        "shifted": TINY | {"ood": SHIFT},
    }
    config = folder / "config/config.yaml"
    config.write_text(yaml.safe_dump({"datasets": sets}))
    run = snakemake("--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    assert run.jobs()["solve_chunk"] == 2 + 3
    made = {name: folder / "results" / name / "dataset.h5" for name in sets}
    with Dataset(made["without"]) as data:
        assert data.numbers.tolist() == [i for i in range(8) if i not in gone]
        assert len(data.splits()["train"]) == 2
        assert np.array_equal(data.array("k")[:], k[data.numbers])
    told = json.loads(made["without"].with_name("check.json").read_text())
    assert [one["instance"] for one in told["failures"]] == gone
    assert all(one["left_out"] for one in told["failures"])
    assert "(left out)" in made["without"].with_name("report.html").read_text()
    with Dataset(made["shifted"]) as data:
        assert data.splits()["rough"].tolist() == [8, 9, 10]
        first = data.array("u")[:8]
    for path in made.values():
        assert check.run(path).passed
    assert "Nothing to be done" in snakemake("--cores", "2", cwd=folder).output

    # Without its shift, a set keeps the others.
    config.write_text(yaml.safe_dump({"datasets": {"shifted": TINY}}))
    run = snakemake("--cores", "2", cwd=folder)
    assert run.code == 0, run.output
    with Dataset(made["shifted"]) as data:
        assert data.array("u")[:].tobytes() == first.tobytes()
        assert {*data.splits()} == {"train", "valid", "test"}
