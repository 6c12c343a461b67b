# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The code in docs/explanation/sampling.md runs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from documentation import read_blocks
from kryloset.sampling import generator


def test_the_code_of_the_page_runs() -> None:
    names: dict[str, Any] = {}
    for block in read_blocks("docs/explanation/sampling.md"):
        exec(block, names)
    assert names["g"].shape == names["right_hand_side"].shape == (65, 65)
    assert set(np.unique(names["fno"])) == {3, 12}
    np.testing.assert_allclose(names["permeability"], np.exp(names["g"]), rtol=1e-15)
    assert names["contrasted"].max() / names["contrasted"].min() == pytest.approx(1e4)
    assert names["slab"].draw(generator(0, 0), 13).shape == (13, 13, 13)
    assert names["nodal"].shape == names["values"].shape == (33**2,)
    family = SimpleNamespace(settings=SimpleNamespace(length=0.3), mesh=SimpleNamespace(points=33))
    assert names["draw"](family, generator(0, 0))["k"].shape == (33, 33)
