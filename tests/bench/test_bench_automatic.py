# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of automatic selection on a small sequence."""

import pytest

from kryloset.bench import automatic
from kryloset.bench.tables import COLUMNS, tabulate


@pytest.mark.parametrize("kind", automatic.SEQUENCES)
def test_seconds_are_compared_with_those_of_the_fastest_fixed_strategy(kind):
    rows = automatic.measure(kind, 12, 8, 2, 1e-9)
    assert rows[0]["method"] == "auto" and len(rows) == 3
    assert all(row["true_residual"] <= 1e-9 for row in rows)
    fastest = min(row["seconds"] for row in rows[1:])
    for row in rows:
        assert row["to_fastest"] == pytest.approx(row["seconds"] / fastest)
        # By definition of the median, half of the systems take at least as long.
        assert row["seconds"] >= 4e-3 * row["ms"] > 0
    assert len(tabulate(rows, COLUMNS["automatic"]).splitlines()) == 5
