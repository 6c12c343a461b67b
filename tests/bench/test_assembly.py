# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench assembly`: all ways assemble the same, and goals are judged by their limits."""

import json

import pytest

from kryloset.bench.assembly import CASES, Case, judge, measure_case

FIGURES = {"ms_dolfinx", "ms_sixteen", "ms_one", "ratio", "difference", "seconds_setup"}


@pytest.mark.parametrize("case", CASES)
def test_figures_are_there_and_all_assemble_the_same(case):
    found = json.loads(json.dumps(measure_case(case, size=8, repeats=2), allow_nan=False))
    assert (found["kind"], found["dimension"], found["degree"]) == (
        case.kind,
        case.dimension,
        case.degree,
    )
    for part in (found["matrix"], found["vector"]):
        assert set(part) == FIGURES
        assert min(part[name] for name in FIGURES - {"difference"}) > 0
        assert part["ratio"] == pytest.approx(part["ms_dolfinx"] / part["ms_sixteen"])
        assert part["difference"] <= 1e-13


def test_unknowns_are_the_nodes():
    assert measure_case(Case("darcy", 2, 1), size=9, repeats=1)["unknowns"] == 9**2
    assert measure_case(Case("darcy", 2, 2), size=9, repeats=1)["unknowns"] == 9**2
    assert measure_case(Case("darcy", 3, 1), size=8, repeats=1)["unknowns"] == 4**3
    assert measure_case(Case("elasticity", 2, 1), size=9, repeats=1)["unknowns"] == 2 * 9**2


def made_up(*, unknowns: int = 10_000, degree: int = 1, ratio: float = 20.0, off: float = 1e-13):
    """Return a P1 Darcy case that meets every goal at its limit, or another."""
    part = {"ratio": ratio, "difference": off}
    where = {"kind": "darcy", "dimension": 2, "degree": degree, "unknowns": unknowns}
    return where | {"matrix": part, "vector": part}


def test_goals_are_met_at_their_limits_and_missed_beyond():
    assert [goal.met for goal in judge([made_up()])] == [True, True, True]
    assert [goal.met for goal in judge([made_up(ratio=19.9)])] == [False, True, True]
    assert [goal.met for goal in judge([made_up(off=1.1e-13)])] == [True, False, False]


def test_the_ratio_is_judged_only_where_the_goal_was_set():
    for case in (made_up(unknowns=9801), made_up(degree=2)):
        assert not any("assemble_matrix" in goal.text for goal in judge([case]))


# The command


def test_a_quick_run_shows_every_case_and_writes_what_it_shows(bench, tmp_path):
    output = tmp_path / "figures.json"
    code, out, _ = bench("assembly", "--quick", "--size", "8", "--json", str(output))
    assert code == 0
    result = json.loads(output.read_text())
    assert len(result["rows"]) == len(CASES)
    for case in result["rows"]:
        assert case["repeats"] == 5
        for part in ("matrix", "vector"):
            assert f"P{case['degree']} {case['kind']} in {case['dimension']}-D, {part}" in out
    assert len(result["goals"]) == 2 * len(CASES)
    assert out.count("≤ 1e-13") == 2 * len(CASES)


def test_degree_and_dimension_choose_the_cases(bench, tmp_path):
    output = tmp_path / "figures.json"
    options = "--quick --size 8 --degree 2 --dimension 2 --json"
    assert bench("assembly", *options.split(), str(output))[0] == 0
    cases = json.loads(output.read_text())["rows"]
    assert [(c["kind"], c["dimension"], c["degree"]) for c in cases] == [
        ("darcy", 2, 2),
        ("elasticity", 2, 2),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--degree", "3"), "--degree '3' is not known: use one of 1, 2"),
        (("--dimension", "1"), "--dimension '1' is not known: use one of 2, 3"),
        (("--size", "5"), "--size must be at least 6"),
        (("--repeats", "0"), "--repeats must be at least 1"),
    ],
)
def test_a_wrong_option_is_named_before_any_work(bench, options, message):
    code, out, err = bench("assembly", "--quick", *options)
    assert code == 1
    assert message in err and out == ""
