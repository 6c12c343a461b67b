# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of the automatic choice on a small sequence."""

import pytest

from kryloset.bench import automatic


@pytest.mark.parametrize("kind", automatic.KINDS)
def test_all_rows_are_within_the_tolerance_and_the_fastest_has_ratio_one(kind):
    rows = automatic.measure(kind, 12, 8, 2, 1e-9)
    assert rows[0]["method"] == "auto" and len(rows) == 3
    assert all(row["true_residual"] <= 1e-9 for row in rows)
    assert min(row["to_fastest"] for row in rows[1:]) == 1
    assert len(automatic.describe(rows).splitlines()) == 5
