# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The whole workflow with a user's family whose domain does not fill the grid."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from kryloset.dataset.reader import Dataset
from running import TINY, snakemake

#: Radius of the hole in plate.py, which imports DOLFINx but not MPI, as a user's file may.
RADIUS = 0.3
TRAINING = [] if importlib.util.find_spec("torch") is None else ["train"]


@pytest.mark.slow
def test_a_users_plate_with_a_hole_is_made_and_verified(folder: Path):
    shutil.copy(Path(__file__).with_name("plate.py"), folder)
    plate = {
        "family": "plate.py:Plate",
        "mesh": {"points": 17, "grids": [9]},
        "solver": {"method": "cg"},
        "parameters": {},
        "training": {"epochs": 1, "settings": {"fno": {"width": 4, "modes": 4}}},
    }
    config = {"datasets": {"plate": TINY | plate}}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    run = snakemake("all", *TRAINING, "--cores", "1", cwd=folder)
    assert run.code == 0, run.output
    results = folder / "results/plate"
    assert json.loads((results / "check.json").read_text())["passed"]
    assert (results / "report.html").is_file()
    if TRAINING:
        assert "NaN" not in (results / "models.json").read_text()
    with Dataset(results / "dataset.h5") as data:
        x, y = np.meshgrid(*2 * [np.linspace(0, 1, 17)], indexing="ij")
        distance = np.hypot(x - 0.5, y - 0.5)
        mask = data.inside(0)
        # In the mesh, the hole is a polygon inside the disk, with sides of at most 0.1.
        assert not mask[distance < RADIUS - 0.01].any()
        assert mask[distance > RADIUS - 1e-6].all()
        for index in range(len(data)):
            numbers, u = data.instance(index), data.solution(index)["u"]
            exact = numbers["a"] + numbers["b"] * x
            np.testing.assert_allclose(u, np.where(mask, exact, np.nan), rtol=1e-6)
