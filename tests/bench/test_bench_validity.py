# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench validity`: what follows from errors, and a small run."""

import json
from pathlib import Path

import pytest

from kryloset.bench import validity


def make_row(method: str, tolerance: float, errors: list[float], reference=None) -> dict:
    about = {"table": "set", "method": method, "tolerance": tolerance, "iterations": 9.0}
    return about | {"data_error": tolerance} | validity.compare(errors, reference)


def make_rows() -> list[dict]:
    exact = make_row("direct", 1e-12, [0.04, 0.05, 0.06])
    found = {1e-1: 0.2, 1e-2: 0.05, 1e-3: 0.08, 1e-4: 0.055, 1e-8: 0.045}
    rows = [make_row("gmres", tolerance, [error] * 3, exact) for tolerance, error in found.items()]
    return [exact, *rows, make_row("auto", 1e-8, [0.07] * 3, exact)]


def test_errors_are_compared_in_standard_deviations_over_the_seeds():
    exact, *rows = make_rows()
    assert exact["error"] == pytest.approx(0.05) and exact["spread"] == pytest.approx(0.01)
    assert [row["apart"] for row in rows] == pytest.approx([15, 0, 3, 0.5, 0.5, 2])
    # Not 1e-2, below which a set is worse.
    assert validity.find_enough(rows) == 1e-4
    goals = {goal.case: goal.met for goal in validity.judge([exact, *rows])}
    assert goals == {"gmres": True, "auto": False}
    assert "| gmres" in validity.describe(rows) and "1e-04 is enough" in validity.conclude(rows)


def test_one_seed_tells_nothing_of_noise():
    exact = make_row("direct", 1e-12, [0.05])
    row = make_row("gmres", 1e-8, [0.06], exact)
    assert exact["spread"] is None and row["apart"] is None and not validity.judge([exact, row])
    assert "enough" not in validity.conclude([exact, row])


@pytest.mark.slow
def test_an_operator_does_not_notice_the_method_but_a_loose_tolerance(bench, tmp_path: Path):
    pytest.importorskip("torch")
    file = tmp_path / "rows.json"
    sizes = ("--instances", "40", "--points", "17", "--epochs", "4", "--seeds", "1")
    status, said, _ = bench("validity", *sizes, "--tolerance", "0.5", "--json", str(file))
    assert status == 0 and "from exact data" in said
    rows = json.loads(file.read_text())["rows"]
    (exact, *accurate, loose), curve = rows[:5], rows[5:]
    assert exact["data_error"] == 0
    # The tolerance bounds the residual, which an error may exceed; on these sets 600 times at most.
    assert all(0 < row["data_error"] < 600 * 1e-8 for row in accurate)
    assert [row["error"] for row in accurate] == pytest.approx([exact["error"]] * 3, rel=0.01)
    assert loose["data_error"] > 0.05 and abs(loose["error"] - exact["error"]) > 0.01
    assert [row["epoch"] for row in curve] == [1, 2, 4]
