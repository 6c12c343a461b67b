# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of ensembles, on small systems."""

import pytest

from kryloset.bench import ensembles


def test_all_methods_solve_all_systems_to_the_tolerance_and_factors_have_rates():
    rows = ensembles.measure(12, 32, (1, 4, 16), 1e-8)
    assert [row["lanes"] for row in rows][:4] == [1, 4, 16, 1]
    assert {"PETSc's LLᵀ", "MUMPS LLᵀ", "CG + ICC"} <= {row["method"] for row in rows}
    for row in rows:
        if "installs it" not in row["note"]:
            assert 0 < row["true_residual"] <= 1e-8 and row["ms"] > 0
        if row["lanes"] > 1:
            assert row["gflops_single"] > 0 and row["mb_double"] > row["mb_single"] > 0
    assert ensembles.conclude(rows).splitlines()[2].startswith("| 144 |")


@pytest.mark.parametrize(
    ("register", "rate", "met"), [(64, 41.0, [True]), (64, 39.0, [False]), (32, 21.0, [True])]
)
def test_rates_are_judged_by_the_registers_of_the_processor(register, rate, met):
    row = {"lanes": 16, "register": register, "unknowns": 4096, "gflops_single": rate}
    goals = ensembles.judge([row, row | {"lanes": 1}, row | {"register": 16}])
    assert [goal.met for goal in goals] == met


@pytest.mark.parametrize("options", ["--lanes 3", "--count 16"])
def test_what_cannot_be_measured_is_refused(bench, options):
    code, _, err = bench("ensembles", *options.split())
    assert code == 1 and "--lanes must be among 1, 4, 8, 16" in err
