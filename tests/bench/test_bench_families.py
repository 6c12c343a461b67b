# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of the families, on small grids."""

import json

import pytest

from kryloset.bench import families
from kryloset.problems import load_family
from kryloset.problems.registry import FAMILIES


def test_the_larger_size_has_four_times_the_unknowns_of_the_default_one():
    for name in FAMILIES:
        grids = []
        for scale in (1, 4):
            family = load_family(families.choose_config(name, scale, 2))
            grids.append((family.mesh.points - 1) ** family.dimension)
        assert grids[1] == 4 * grids[0], name


def test_a_constant_operator_is_solved_by_all_methods_and_beside_a_block():
    rows = families.measure(families.choose_config("poisson", 1, 2, points=17), 20)
    assert [row["method"] for row in rows] == [*"abcdef", "block"]
    assert all(row["instances"] == 2 for row in rows[:6])
    assert all(row["true_residual"] <= families.TOLERANCE for row in rows[:6])
    fastest = min(row["median_seconds"] for row in rows[:5])
    for row in rows[:6]:
        assert row["ratio"] == pytest.approx(row["median_seconds"] / fastest)
        assert row["mean_seconds"] == pytest.approx(sum(row["seconds"].values()))
    assert rows[6]["median_seconds"] > 0
    # What is written has no NaN, which JSON has not.
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert len(families.describe(rows).splitlines()) == 4 + len(rows)
    assert len(families.conclude(rows).splitlines()) == 3


def test_a_saddle_point_is_left_to_a_factor_and_the_rows_say_so():
    config = families.choose_config("navier_stokes", 1, 2, points=17)
    brief = {"reynolds": 200, "final_time": 0.02, "steps": 4}
    config = config.model_copy(update={"parameters": brief})
    rows = {row["method"]: row for row in families.measure(config, 20)}
    assert rows["b"]["instances"] == 2
    # ILU has no pivot where the block of zeros is.
    assert rows["a"]["instances"] == 0 and rows["a"]["median_seconds"] is None
    assert rows["a"]["note"].startswith("fails: ")


def _row(method, median, instances=3, **more):
    parts = dict.fromkeys(families.PARTS, 0.0) | {"iterate": median or 0.0}
    row = {
        "family": "darcy",
        "points": 64,
        "unknowns": 4096,
        "method": method,
        "median_seconds": median,
        "instances": instances,
        "ratio": None,
        "ratio_mean": None,
        "seconds": parts,
        "note": "",
    }
    return row | more


@pytest.mark.parametrize(("median", "met"), [(0.9, True), (1.1, False)])
def test_goals_are_judged_by_the_fastest_peer_gmres_and_the_block(median, met):
    ratio = median / 2
    auto = _row("f", median, ratio=ratio, ratio_mean=ratio)
    block = _row("block", 1 / families.AT_COST)
    goals = families.judge([_row("a", 10.0), _row("b", 2.0), auto, block])
    assert [goal.met for goal in goals] == [met] * 4
    assert all(goal.reason for goal in goals[:3] if not goal.met)


def test_any_time_beats_a_failed_method():
    auto = _row("f", 5.0, ratio=0.4, ratio_mean=0.4)
    assert families.judge([_row("a", None, 0), auto])[-1].met


def test_a_failed_method_meets_no_goal():
    failed = _row("f", None, 0, note="fails: it diverged")
    goals = families.judge([_row("a", 1.0), failed])
    assert not any(goal.met for goal in goals)
    assert goals[0].reason == "fails: it diverged"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("darci", "family 'darci' is not known"),
        ("--count 1", "--count must be at least 2"),
        ("--budget 0", "--budget must be at least 0.1"),
    ],
)
def test_options_that_cannot_be_measured_are_refused(bench, options, message):
    code, out, err = bench("families", *options.split())
    assert (code, out) == (1, "") and message in err


def test_quick_grids_are_fine_enough_for_their_families():
    for name in families.QUICK_FAMILIES:
        for scale in (1, 4):
            load_family(families.choose_config(name, scale, 2, families.QUICK_POINTS))
