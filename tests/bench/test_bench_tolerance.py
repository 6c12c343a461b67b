# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench tolerance`: errors that are known, and what follows from rows."""

import json
from pathlib import Path

from kryloset.bench import tolerance
from kryloset.bench.tolerance import CASES, Case, loosest, measure
from kryloset.problems import FAMILIES


def test_every_family_has_a_case() -> None:
    assert set(CASES) == set(FAMILIES)


def test_estimated_errors_fall_as_the_elements_order() -> None:
    case = Case(17, parameters={"modes": 4})
    coarse, fine = (measure("darcy", case, 1, times, (1e-8,))[0] for times in (1, 2))
    assert 3 < coarse["discretisation_error"] / fine["discretisation_error"] < 5
    assert fine["unknowns"] == 65**2


def test_what_is_outside_of_the_domain_is_left_out() -> None:
    row = measure("thermal", Case(9), 1, 0, (1e-8,))[0]
    assert 0 < row["discretisation_error"] < 1
    assert 0 < row["ratio"] < 1e-3


def test_algebraic_errors_fall_with_the_tolerance() -> None:
    rows = measure("poisson", Case(17), 1, 0, (1e-3, 1e-6, 1e-9))
    for method in ("GCRO-DR + ILU", "CG + ICC"):
        errors = [row["algebraic_error"] for row in rows if row["method"] == method]
        assert errors[0] > 100 * errors[1] > 1e4 * errors[2] > 0


def test_the_loosest_tolerance_is_one_from_which_on_all_is_well() -> None:
    figures = [(1e-3, 0.005, 1e-2), (1e-4, 0.02, 1e-3), (1e-5, 0.001, 1e-6), (1e-6, 0.0, 1e-7)]
    rows = [{"tolerance": t, "ratio": r, "algebraic_error": e} for t, r, e in figures]
    assert loosest(rows) == (1e-5, 1e-5)
    assert loosest(rows, beside=-1.0, target=1.0) == (None, 1e-3)


def test_command_prints_a_table_and_writes_its_rows(bench, tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    code, out, _ = bench("tolerance", "--quick", "--family", "poisson", "--json", str(output))
    assert code == 0
    rows = json.loads(output.read_text())["rows"]
    assert len(rows) == 2 * len(tolerance.TOLERANCES)
    assert "| poisson |     33 | 1,089 |" in out


def test_an_unknown_family_is_named(bench) -> None:
    code, _, err = bench("tolerance", "--family", "poison")
    assert code == 1 and "--family 'poison' is not known: use one of darcy" in err
