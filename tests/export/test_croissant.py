# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The description of a published dataset is valid Croissant, and its records can be read."""

import pytest

from kryloset.dataset.reader import Dataset
from kryloset.run import publish

mlcroissant = pytest.importorskip("mlcroissant")


@pytest.mark.parametrize("name", ["darcy", "thermal"])
def test_croissant_reads_the_records_of_all_instances(name, small, tmp_path):
    folder = tmp_path / "published"
    publish.run(small(name), folder)
    found = mlcroissant.Dataset(folder / publish.CROISSANT)
    assert not found.metadata.ctx.issues.errors
    assert {file.name for file in found.metadata.distribution} == {
        publish.DATASET, publish.TABLE, publish.SAMPLE, publish.STATISTICS
    }  # fmt: skip
    records = list(found.records("instances"))
    with Dataset(small(name)) as data:
        residuals = data.solver()["true_residual"].tolist()
    assert [record["instances/instance"] for record in records] == list(range(len(residuals)))
    assert [record["instances/true_residual"] for record in records] == residuals
