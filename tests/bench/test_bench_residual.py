# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench residual`: a small run."""

import json
from pathlib import Path

import pytest


@pytest.mark.slow
def test_an_operator_is_fine_tuned_on_each_kind_of_equation_in_both_ways(bench, tmp_path: Path):
    pytest.importorskip("torch")
    file = tmp_path / "rows.json"
    sizes = ("--instances", "40", "--points", "9", "--epochs", "2")
    status, said, _ = bench("residual", *sizes, "--json", str(file))
    assert status == 0 and "and residuals" in said
    rows = json.loads(file.read_text())["rows"]
    assert [row["family"] for row in rows[::3]] == ["darcy", "reaction_diffusion", "heat"]
    for trained, alone, learned in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert trained["weight"] == alone["weight"] == 0 < learned["weight"]
        assert len({row["residual"] for row in (trained, alone, learned)}) == 3
        assert all((row["rollout"] is not None) == (row["family"] == "heat") for row in rows)
