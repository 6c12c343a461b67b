# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A small dataset file of a real problem."""

import os

import pytest
from reaction_data import Data, make_data

# Threads only wait for each other on functions this small; torch reads this when imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Data:
    return make_data(tmp_path_factory.mktemp("learn") / "dataset.h5")
