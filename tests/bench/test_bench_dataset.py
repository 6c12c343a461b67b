# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench dataset`: ratios of ways to write and to read."""

from pathlib import Path
from typing import Any

import pytest

from kryloset.bench import dataset


def read_row(workers: int, same: float, contiguous: float) -> dict[str, Any]:
    """Return the row of a reader that takes 60 microseconds a pair."""
    times = {"kryloset": 60.0, "same_chunks": 60 / same, "contiguous": 60 / contiguous}
    ratios = {"to_same_chunks": same, "to_contiguous": contiguous}
    return {"table": "read", "workers": workers, "pairs": 9, **times, **ratios}


def test_seconds_are_medians_and_ratios_are_to_the_last_way(tmp_path: Path) -> None:
    def write(folder: Path) -> int:
        (folder / "file").write_bytes(bytes(7))
        return 7

    rows = dataset.in_turn("merge", {"merge": write, "cp": write}, 3)
    assert [row["way"] for row in rows] == ["merge", "cp"]
    assert rows[1]["ratio"] == 1 and rows[0]["ratio"] * rows[1]["seconds"] == pytest.approx(
        rows[0]["seconds"]
    )
    assert all(row["rate"] * row["seconds"] == pytest.approx(7) for row in rows)
    assert "| merge |" in dataset.describe(rows)


def test_goals_are_judged_by_their_limits() -> None:
    merge = [{"table": "merge", "bytes": 2e9, "ratio": ratio} for ratio in (1.4, 1.0)]
    pairs = [{"table": "pair", "pairs": name, "later": 40.0} for name in ("fields", "states")]
    rows = [*merge, read_row(0, 1.1, 1.6), read_row(2, 1.3, 1.4), *pairs]
    *reading, merged = dataset.judge(rows)
    assert [goal.met for goal in reading] == [True, False, False, True, True, False]
    assert merged.met and merged.case == "2,000 MB"
    assert "|       2 |" in dataset.describe([read_row(0, 1.1, 1.6), read_row(2, 1.3, 1.4)])
