# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs of all stages up to the chunks, in one dimension and in several."""

import pytest
from pointwise_runs import Run, make_run


@pytest.fixture
def run(tmp_path) -> Run:
    return make_run(tmp_path)


@pytest.fixture(params=[1, 2, 3], ids=["1-D", "2-D", "3-D"])
def any_run(tmp_path, request) -> Run:
    return make_run(tmp_path, request.param)
