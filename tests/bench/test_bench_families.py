# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bench of the families, on small grids."""

import json
import math
from importlib.util import find_spec

import pytest

from kryloset.bench import families
from kryloset.problems import load_family
from kryloset.problems.registry import FAMILIES

#: Packages that some methods need.
PACKAGES = {"pardiso": "pydiso", "cholmod": "cvxopt"}


def test_the_larger_size_has_four_times_the_unknowns_of_the_default_one():
    for name in FAMILIES:
        grids = []
        for scale in (1, 4):
            family = load_family(families.choose_config(name, scale, 2))
            grids.append((family.mesh.points - 1) ** family.dimension)
        assert grids[1] == 4 * grids[0], name
    for name in set(families.FASTER) - set(FAMILIES):
        assert load_family(families.choose_config(name, 1, 2)).dimension == 3


def test_a_constant_operator_is_solved_by_all_methods_and_beside_a_block():
    rows = families.measure("poisson", families.choose_config("poisson", 1, 2, points=17), 20)
    *methods, auto, block = rows
    assert {row["method"] for row in [*methods, auto]} == set(families.SHORT)
    assert (auto["method"], block["method"]) == ("auto", "block")
    for row in [*methods, auto]:
        if row["method"] in PACKAGES and find_spec(PACKAGES[row["method"]]) is None:
            assert "`make peers` installs it" in row["note"] and row["instances"] == 0
            continue
        assert row["instances"] == 2 and row["true_residual"] <= families.TOLERANCE
        fastest = min(row["median_seconds"] or math.inf for row in methods)
        assert row["ratio"] == pytest.approx(row["median_seconds"] / fastest)
        assert row["mean_seconds"] == pytest.approx(sum(row["seconds"].values()))
    assert block["median_seconds"] > 0
    # JSON has no NaN.
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert len(families.describe(rows).splitlines()) == 4 + len(rows)
    assert len(families.conclude(rows).splitlines()) == 3


def test_newtons_method_by_hand_takes_every_factor_that_is_there():
    """PETSc's SNES locks the right-hand side while it is solved for."""
    config = families.choose_config("reaction_diffusion", 1, 2, points=17)
    for row in families.measure("reaction_diffusion", config, 20):
        missing = find_spec(PACKAGES.get(row["method"], "petsc4py")) is None
        assert row["instances"] == (0 if missing else 2), row["note"]


def test_a_saddle_point_is_left_to_a_factor_and_the_rows_say_so():
    config = families.choose_config("navier_stokes", 1, 2, points=17)
    brief = {"reynolds": 200, "final_time": 0.02, "steps": 4}
    config = config.model_copy(update={"parameters": brief})
    rows = {row["method"]: row for row in families.measure("navier_stokes", config, 20)}
    assert rows["mumps"]["instances"] == 2
    # ILU has no pivots in the block of zeros.
    assert rows["gmres"]["instances"] == 0 and rows["gmres"]["median_seconds"] is None
    assert rows["gmres"]["note"].startswith("fails: ")


def _row(method, median, instances=3, **more):
    parts = dict.fromkeys(families.PARTS, 0.0) | {"iterate": median or 0.0}
    row = {
        "family": "darcy",
        "points": 64,
        "unknowns": 4096,
        "method": method,
        "median_seconds": median,
        "median_without_writing": median,
        "instances": instances,
        "ratio": None,
        "ratio_mean": None,
        "seconds": parts,
        "note": "",
    }
    return row | more


@pytest.mark.parametrize(("median", "met"), [(0.9, True), (1.1, False)])
def test_goals_are_judged_by_the_fastest_peer_and_the_block(median, met):
    ratio = median / families.FASTER["darcy"]
    auto = _row("auto", median, ratio=ratio, ratio_mean=ratio)
    block = _row("block", 1 / families.AT_COST)
    goals = families.judge([_row("gmres", 10.0), _row("mumps", 6.0), auto, block])
    assert [goal.met for goal in goals] == [met] * 2
    assert all(goal.reason for goal in goals if not goal.met)


def test_a_failed_method_meets_no_goal():
    failed = _row("auto", None, 0, note="fails: it diverged")
    goals = families.judge([_row("gmres", 1.0), failed])
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
