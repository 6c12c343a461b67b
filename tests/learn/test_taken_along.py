# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Somebody else loads an operator: with the package and torch, without FEniCSx and Snakemake."""

import pytest

pytest.importorskip("torch")

from documentation import read_blocks
from installing import build_wheel, make_environment, run_clean
from kryloset.config import TrainingConfig
from kryloset.run import train

#: What is not installed there.
ABSENT = ("dolfinx", "ufl", "mpi4py", "petsc4py", "snakemake")


@pytest.mark.slow
def test_the_three_lines_of_the_tutorial_run_where_only_learning_is_installed(data, tmp_path):
    small = {"epochs": 1, "settings": {"fno": {"modes": 2, "width": 2, "layers": 1}}}
    config = data.config.model_copy(update={"training": TrainingConfig.model_validate(small)})
    folder = tmp_path / "results/darcy/models/fno/0"
    folder.mkdir(parents=True)
    train.run(
        config, data=data.path, model=folder / "model.pt", history=folder / "history.json"
    )  # fmt: skip
    binaries = make_environment(tmp_path, build_wheel(tmp_path), "learn", "requirements-learn.txt")
    _, three_lines, _ = read_blocks("docs/tutorial/operator.md")
    (tmp_path / "lines.py").write_text(
        f"{three_lines}\nimport importlib.util as found\n"
        f"assert not [name for name in {ABSENT!r} if found.find_spec(name)]\n"
        "print(tuple(u.shape))\n"
    )
    done = run_clean([binaries / "python", "lines.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 1, 64, 64)\n"
