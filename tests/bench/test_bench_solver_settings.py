# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of solver settings on small cases."""

import pytest

from kryloset.bench.instances import Case
from kryloset.bench.solver_settings import describe, measure


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        (Case("darcy", "darcy", 17, parameters={"modes": 8}), {"nothing", "fill", "m, k", "omega"}),
        (Case("wind", "advection_diffusion", 17), {"nothing", "fill", "m, k"}),
    ],
)
def test_every_setting_is_measured(case, kinds):
    rows = measure(case, 2, 1e-8)
    assert {row["varied"] for row in rows} == kinds
    fastest = min(row["ms"] for row in rows)
    assert fastest > 0
    assert all(row["to_fastest"] == pytest.approx(row["ms"] / fastest) for row in rows)
    counts = [row["iterations"] for row in rows if row["varied"] == "fill"]
    assert counts[4] < counts[0]
    assert describe(rows).count("best of all") == len(kinds) - 1


def test_what_is_unsolved_is_said():
    row = {"family": "waves", "unknowns": 9, "varied": "fill", "solver": "gmres + ilu"}
    rows = [row | {"setting": "0", "ms": None, "to_fastest": None, "iterations": None}]
    rows += [row | {"setting": "1", "ms": 2.0, "to_fastest": 1.0, "iterations": 3}]
    assert describe(rows).splitlines()[2] == (
        "| waves  |   9 | gmres + ilu | unsolved | 2.0 (3) | gmres + ilu(1): 2.0 (3) |"
    )
