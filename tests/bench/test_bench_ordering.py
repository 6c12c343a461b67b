# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench ordering`: a row for each case, judged by the limits of the goals."""

import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from kryloset.bench.ordering import judge
from kryloset.bench.tables import COLUMNS, tabulate


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_command_prints_and_writes_every_row(bench, tmp_path: Path, monkeypatch) -> None:
    # A new process imports everything, for each row.
    forked = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: forked)
    output = tmp_path / "figures.json"
    options = "--fields 40 --size 50 --size 500 --stage 30 --stage 40 --json"
    code, printed, _ = bench("ordering", *options.split(), str(output))
    assert code == 0
    result = json.loads(output.read_text())
    rows = result["rows"]
    for table in ("generated", "stage", "fields"):
        shown = [row for row in rows if row["table"] == table]
        assert tabulate(shown, COLUMNS["ordering"]) in printed
    for row in rows:
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, int | float))
        assert 0 < row["to_given"] < 1
    cases = [(row["table"], row["instances"], row["order"]) for row in rows]
    orders = ("greedy", "hilbert", "or_opt", "spanning_tree")
    expected = [("generated", count, order) for count in (50, 500) for order in orders]
    assert cases[:8] == expected and cases[8:10] == [
        ("stage", count, "greedy") for count in (30, 40)
    ]
    assert {row["features"] for row in rows[10:]} == {
        "parameters", "cosines", "fourier", "blocks", "random", "principal",
    }  # fmt: skip
    exact = [row for row in rows if row["order"] == "greedy" and row["table"] == "generated"]
    assert all(row["to_greedy"] == 1 for row in exact)
    assert len(result["goals"]) == 3 + 3 + 3


def row(table: str, **figures: Any) -> dict[str, Any]:
    common = {"table": table, "instances": 1000, "features": "cosines", "order": "hilbert"}
    return common | figures


def test_goals_are_judged_by_their_limits() -> None:
    for figure, met in ((1.25, True), (1.26, False)):
        (goal,) = judge([row("fields", to_greedy=figure)])
        assert (goal.figure, goal.met) == (figure, met)
    stages = [
        row("stage", instances=count, seconds_all=1 + count * 6e-4, memory_mb=599.0)
        for count in (10_000, 50_000)
    ]
    *memory, seconds = judge(stages)
    assert [goal.met for goal in memory] == [True, True] and not seconds.met
    assert seconds.figure == pytest.approx(601)
    # A hundred times as many instances in a thousand times the seconds.
    growth = [row("generated", seconds=1.0), row("generated", instances=10**5, seconds=1e3)]
    (goal,) = judge(growth)
    assert goal.figure == pytest.approx(1.5) and not goal.met
    assert judge(growth[:1]) == []
    # The exact chain has no goal.
    assert judge([row("fields", order="greedy", to_greedy=2.0)]) == []


@pytest.mark.parametrize("option", ["--fields", "--size", "--stage"])
def test_numbers_out_of_range_are_refused(bench, option: str) -> None:
    code, _, err = bench("ordering", "--quick", option, "1")
    assert code == 1 and f"{option} must be at least 2, got 1" in err
