# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A check reports the error that the tolerance leaves, and warns if it is too large."""

import json

from mpi4py import MPI

import pytest

from kryloset.config import DatasetConfig
from kryloset.run import check, solve, sort
from merging import merge_verified


@pytest.mark.parametrize(("tolerance", "excessive"), [(1e-1, True), (1e-8, False)])
def test_a_check_warns_of_a_tolerance_that_is_too_loose(tolerance, excessive, tmp_path, caplog):
    config = DatasetConfig(
        family="advection_diffusion", count=4, mesh={"points": 33}, sort="given",
        solver={"method": "gcrodr", "preconditioner": "jacobi", "tolerance": tolerance},
        splits={"train": 0.5, "test": 0.5},
    )  # fmt: skip
    order = tmp_path / "order.h5"
    sort.run(config, "set", output=order, chunks=1)
    chunk, dataset = tmp_path / "1-of-1.h5", tmp_path / "dataset.h5"
    solve.run(config, "set", order=order, chunk="1-of-1", output=chunk, comm=MPI.COMM_SELF)
    merge_verified(config, "set", order=order, chunks=[chunk], output=dataset)
    caplog.clear()
    report = check.run(dataset, tmp_path / "check.json")
    accuracy = json.loads((tmp_path / "check.json").read_text())["accuracy"]
    assert report.passed and len(report.accuracy.instances) == 3
    assert report.accuracy.discretisation_error is not None
    assert report.accuracy.excessive == accuracy["excessive"] == excessive
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.getMessage() for record in warned] == [accuracy["sentence"]] * excessive
