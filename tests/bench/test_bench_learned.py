# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench learned` on small systems: who takes part, and what is judged."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")


@pytest.mark.slow
def test_all_kinds_of_help_are_measured_beside_automatic_selection(bench, tmp_path: Path):
    status, said, errors = bench("learned", "--quick", "--json", str(tmp_path / "rows.json"))
    assert status == 0, errors
    found = json.loads((tmp_path / "rows.json").read_text())
    for kind in ("darcy", "wind"):
        rows = [row for row in found["rows"] if row["sequence"] == kind]
        helped = {row["help"]: row for row in rows if row["table"] == "help"}
        wanted = {"none", "guess", "recycled", "predicted space", "exact space"}
        assert set(helped) == wanted | ({"predicted directions"} if kind == "darcy" else set())
        # Networks of ten steps may miss the tolerance; what does not depend on them does not.
        for row in rows:
            if row["table"] == "help" and row["help"] != "predicted directions":
                assert row["true_residual"] <= 1e-8 and row["failed"] == 0
        assert rows[0]["to_auto"] == 1 and rows[0]["method"] == "auto, 16 systems at once"
        policies = {row["policy"]: row["ms"] for row in rows if row["table"] == "policy"}
        least = policies.pop("the fastest for each system")
        assert least <= min(ms for name, ms in policies.items() if name != "auto")
    goals = {goal["case"] for goal in found["goals"]}
    assert {"darcy", "wind"} < goals and len(goals) == 10
    assert "learned help / auto" in said
