# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The summary after a run agrees with the files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from kryloset.config import load_dataset
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.writer import write_dataset
from kryloset.problems import load_family
from kryloset.sampling import generator
from running import ROOT


@pytest.mark.parametrize(
    ("family", "dimension", "grid"),
    [("Various", 1, "on 5 points (train"), ("Moving", 3, "on 5 x 5 x 5 points, at 3 times (train")],
)
def test_the_summary_names_the_grid_of_the_file(
    family: str, dimension: int, grid: str, tmp_path: Path
):
    settings = {
        "family": f"{ROOT / 'tests/dataset/various.py'}:{family}",
        "count": 4,
        "mesh": {"points": 5, "dimension": dimension},
        "splits": {"train": 0.5, "test": 0.5},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"set": settings}}, sort_keys=False))
    config = load_dataset(path, "set")
    made, folder = load_family(config), tmp_path / "results/set"
    folder.mkdir(parents=True)
    drawn = [made.draw(generator(config.seed, index)) for index in range(4)]
    solve = made.discretise(None).solve
    write_dataset(
        folder / "dataset.h5", "set", config, made, [p | solve([p], None)[0] for p in drawn],
        {key: np.zeros(4) for key in SOLVER}, {1: "converged"}, {}, "",
    )  # fmt: skip
    found = {"checks": [{"passed": True}] * 9, "residual_max": 3e-9}
    (folder / "check.json").write_text(json.dumps(found))
    accuracy = {"excessive": True, "sentence": "The tolerance leaves much."}
    (folder / "comparison.json").write_text(json.dumps({"accuracy": accuracy}))
    command = [sys.executable, ROOT / "workflow/scripts/summary.py", path]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"set: 4 instances of {settings['family']} {grid} 2, test 2)" in run.stdout
    assert "  warning   The tolerance leaves much.\n" in run.stdout
    assert "9 checks passed, largest true relative residual 3.0e-09" in run.stdout
    run = subprocess.run([*command, "publish"], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.startswith("set: results/set/published is ready to upload")
