# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of geometric multigrid on a small case."""

import pytest

from kryloset.bench.instances import Case
from kryloset.bench.multigrid import describe, measure


@pytest.mark.parametrize(
    "case",
    [
        Case("darcy", "darcy", 17, parameters={"modes": 4}),
        Case("heat", "heat", 17, parameters={"steps": 2}),
    ],
)
def test_all_methods_solve_all_systems(case):
    rows = measure(case, 2, 1e-9)
    assert len(rows) == 10 and all(row["true_residual"] <= 1e-9 for row in rows)
    assert all(row["unknowns"] == 289 for row in rows)
    # Of the same systems multigrid takes fewer iterations than ICC, and a factor one.
    iterations = {row["method"]: row["iterations"] for row in rows}
    assert 1 == iterations["direct"] < iterations["multigrid"] < iterations["icc"]
    fastest = min(row["ms"] for row in rows)
    assert all(row["to_fastest"] == pytest.approx(row["ms"] / fastest) for row in rows)
    assert len(describe(rows).splitlines()) == 3


def test_a_case_without_factors_has_empty_cells():
    row = {"family": "darcy", "unknowns": 9, "ms": 1.0, "to_fastest": 1, "iterations": 3}
    rows = [row | {"method": "icc"}, row | {"method": "direct"}]
    rows += [row | {"method": "icc", "unknowns": 16}]
    assert describe(rows).splitlines()[2:] == [
        "| darcy  |   9 | **1.0** (3) | **1.0** (3) |",
        "| darcy  |  16 | **1.0** (3) |             |",
    ]
