# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Permeabilities of the default family, on few points."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.problems import load_family
from kryloset.sampling import generator


@pytest.fixture(scope="session")
def permeabilities() -> NDArray[np.float64]:
    """Return 2,000 default Darcy permeabilities on 33 x 33 points, shape (2000, 33, 33)."""
    family = load_family(DatasetConfig(mesh={"points": 33}))
    return np.stack([family.draw(generator(0, i))["k"] for i in range(2000)])
