# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench solvers`: its figures are consistent, and goals are judged by their limits."""

import json
import math
from statistics import fmean, median

from mpi4py import MPI

import numpy as np
import pytest

from kryloset.bench import solvers
from kryloset.bench.harness import Turn
from kryloset.bench.sequences import Operator, make_sequence
from kryloset.bench.solvers import choose_methods, judge, measure, measure_case
from kryloset.krylov import SequenceSolver
from kryloset.run.comparison import Method

FIGURES = (
    *("iterations_mean", "operator_applications_mean", "preconditioner_applications_mean"),
    *("ms", "ms_setup", "ms_rebuild", "ms_iterate", "us_iteration", "us_iteration_rebuild"),
)


@pytest.fixture(scope="module")
def case() -> list[dict]:
    """A case of two rounds, read back from JSON."""
    found = measure_case("darcy", "ilu", size=16, count=4, tolerance=1e-8, rounds=2)
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.fixture
def rows(case) -> dict:
    return {row["name"]: row for row in case}


# Measuring


def test_every_figure_is_a_finite_number(case):
    for row in case:
        assert all(0 <= row[key] < 1e9 for key in FIGURES), row["label"]
        assert row["ms"] > 0 and row["us_iteration"] > 0
        assert len(row["records"]["iterations"]) == 2 * 4


def test_our_methods_and_the_reliable_ones_reach_the_tolerance(rows):
    for name in ("gmres", "gcrodr", "unsorted", "gcrodr10", "own_gmres", "cg", "gamg", "direct"):
        assert rows[name]["failures"] == 0, name
        assert 0 < rows[name]["true_residual_max"] <= 1e-8


def test_means_are_over_all_systems_and_medians_without_the_first_of_a_round(rows):
    for row in rows.values():
        records = row["records"]
        assert row["iterations_mean"] == pytest.approx(fmean(records["iterations"]))
        later = [i for i in range(8) if i not in (0, 4)]
        for part in ("setup", "rebuild", "iterate"):
            seconds = [records[f"seconds_{part}"][i] for i in later]
            assert row[f"ms_{part}"] == pytest.approx(1e3 * median(seconds))
        each = [records["seconds_iterate"][i] / records["iterations"][i] for i in later]
        assert row["us_iteration"] == pytest.approx(1e6 * median(each))
        assert row["us_iteration_rebuild"] >= row["us_iteration"]


def test_ratios_are_those_of_the_columns_where_the_preconditioner_is_the_same(rows):
    base = rows["gmres"]["us_iteration"]
    assert rows["gmres"]["to_gmres"] == 1.0
    for name in ("gcrodr", "unsorted", "gcrodr10", "own_gmres"):
        for key in ("", "_rebuild"):
            expected = rows[name][f"us_iteration{key}"] / base
            assert rows[name][f"to_gmres{key}"] == pytest.approx(expected)
    for name in ("cg", "gamg", "direct"):
        assert rows[name]["to_gmres"] is None


def test_only_recycling_rebuilds_and_not_for_the_first_system_of_a_round(rows):
    seconds = rows["gcrodr"]["records"]["seconds_rebuild"]
    assert [value > 0 for value in seconds] == [False, True, True, True] * 2
    assert set(rows["gmres"]["records"]["seconds_rebuild"]) == {0.0}
    assert set(rows["own_gmres"]["records"]["seconds_rebuild"]) == {0.0}


def test_the_sorted_order_is_a_greedy_chain_and_the_given_one_counts(rows):
    chain = rows["gcrodr"]["records"]["instance"]
    assert sorted(chain[:4]) == [0, 1, 2, 3] and chain[:4] == chain[4:]
    a = make_sequence("darcy", 16, 4, drawn=solvers.DRAWN).parameters
    first = [np.linalg.norm(a[0] - a[i]) for i in (1, 2, 3)]
    assert chain[:2] == [0, 1 + int(np.argmin(first))]
    assert rows["unsorted"]["records"]["instance"] == [0, 1, 2, 3] * 2


def test_iterations_are_the_same_in_every_round(rows):
    for name in ("gmres", "gcrodr", "own_gmres", "cg"):
        counts = rows[name]["records"]["iterations"]
        assert counts[:4] == counts[4:], name


class Noted:
    """A substitute for a solver that records its calls."""

    def __init__(self, name: str, calls: list) -> None:
        """Keep the list."""
        self.name, self.calls = name, calls

    def init(self) -> int:
        """Return the number of systems so far."""
        return 0

    def solve(self, mat, rhs, state):
        """Note name, state and matrix."""
        self.calls.append((self.name, state, mat.norm()))
        result, _ = SequenceSolver("direct").solve(mat, rhs, SequenceSolver("direct").init())
        return result, state + 1


def test_methods_take_turns_at_beginning_and_each_carries_its_own_state():
    calls: list = []
    methods = [Method(name, name, Noted(name, calls), order="given") for name in "abc"]
    systems = make_sequence("wind", 5, 3, drawn=3)
    measure(systems, methods, rounds=2)
    warm, calls = calls[:3], calls[3:]
    assert [name for name, *_ in warm] == ["a", "b", "c"]
    assert "".join(name for name, *_ in calls) == "abc" + "bca" + "cab" + "bca" + "cab" + "abc"
    assert [state for _, state, _ in calls] == [0, 0, 0, 1, 1, 1, 2, 2, 2] * 2
    norms = [np.linalg.norm(matrix.data) for matrix in systems.matrices]
    assert [norm for *_, norm in calls] == pytest.approx(np.repeat(norms, 3).tolist() * 2)


def test_one_mat_is_refilled_with_the_requested_matrix():
    systems = make_sequence("wind", 6, 3, drawn=3)
    operator = Operator(systems, MPI.COMM_SELF)
    mat = operator.mat
    for number in (2, 0):
        operator.load(number)
        assert operator.mat is mat
        indptr, indices, values = mat.getValuesCSR()
        assert np.array_equal(indptr, systems.matrices[number].indptr)
        assert np.array_equal(indices, systems.matrices[number].indices)
        assert np.array_equal(values, systems.matrices[number].data)
    assert np.array_equal(operator.rhs.getArray(), systems.rhs)


def test_definite_matrices_add_cg_with_icc():
    for kind, preconditioner, expected in (
        ("darcy", "ilu", "icc"),
        ("darcy", "sor", "sor"),
        ("wind", "ilu", None),
    ):
        methods, _ = choose_methods(kind, preconditioner, 1e-6)
        found = {method.name: method.solver for method in methods}
        assert methods[0].name == "gmres"
        assert all(solver.tolerance == 1e-6 for solver in found.values())
        assert ("cg" in found) == (expected is not None)
        if expected is not None:
            assert found["cg"].preconditioner == expected
        assert found["gamg"].method == ("cg" if kind == "darcy" else "gmres")
        assert (found["own_gmres"].method, found["own_gmres"].recycle) == ("gcrodr", 0)


def test_methods_that_petsc_lacks_are_left_out_and_named(monkeypatch):
    def refuse(base, **fields):
        if fields.get("method") == "hpddm":
            raise ValueError("method 'hpddm' is not known")
        return base

    monkeypatch.setattr(solvers, "replace", refuse)
    methods, refused = choose_methods("wind", "ilu", 1e-8)
    assert refused == ["HPDDM GCRO-DR(40,20), sorted"]
    assert "hpddm" not in [method.name for method in methods]


def test_a_failed_system_counts_as_one_and_its_residual_is_kept_out_of_json():
    method = Method("gmres", "GMRES", SequenceSolver("gmres"))
    turns = [Turn(0, 1, 1, 5, 6, 6, 0.1, 0.0, 0.2, 1e-9), Turn(1, 1, 1, 0, 1, 0, 0.1, 0.0, 0.2)]
    turns[1].true_residual, turns[1].converged = math.nan, False
    (row,) = solvers.summarise([method], {"gmres": [turns]})
    assert row["failures"] == 1
    assert row["true_residual_max"] is None
    assert row["iterations_mean"] == 2.5
    json.dumps(row, allow_nan=False)


# Goals


def made_up(kind="darcy", preconditioner="ilu", size=100, **changes) -> list[dict]:
    """Return a case that meets every goal, exactly or with a margin.

    A dictionary changes the method of that name; other values change the case.
    """
    case = {
        "kind": kind,
        "preconditioner": preconditioner,
        "size": size,
        "unknowns": size**2,
        "systems": 20,
        "drawn": 40,
        "seed": 3,
        "tolerance": 1e-8,
        "processes": 1,
    } | {key: value for key, value in changes.items() if not isinstance(value, dict)}
    row = {"failures": 0, "to_gmres": 1.0, "to_gmres_rebuild": 1.0, "ms": 10.0}
    row["iterations_mean"] = solvers.HPDDM[kind, preconditioner]
    names = ("gmres", "gcrodr", "own_gmres", "rcg", "cg", "bicgstab")
    return [case | row | {"name": n, "label": n} | changes.get(n, {}) for n in names]


def test_all_goals_are_met_at_the_limit():
    case = made_up(
        gcrodr={"iterations_mean": 1.1 * 47.5, "to_gmres": 2.0, "to_gmres_rebuild": 2.0},
        own_gmres={"to_gmres": 1.15},
    )
    goals = judge(case)
    assert len(goals) == 5
    assert all(goal.met for goal in goals)
    assert [goal.limit for goal in goals] == [1.1, 2.0, 2.0, 1.15, 1.0]
    assert [goal.figure for goal in goals] == pytest.approx([1.1, 2.0, 2.0, 1.15, 1.0])


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, {"gcrodr": {"iterations_mean": 1.11 * 47.5}}),
        (0, {"gcrodr": {"failures": 1}}),
        (1, {"gcrodr": {"to_gmres": 2.01}}),
        (2, {"gcrodr": {"to_gmres_rebuild": 2.01}}),
        (3, {"own_gmres": {"to_gmres": 1.16}}),
        (4, {"rcg": {"ms": 10.1}}),
        (4, {"rcg": {"ms": 9.0, "failures": 1}}),
    ],
)
def test_each_goal_can_be_missed_alone(place, change):
    assert [goal.met for goal in judge(made_up(**change))] == [i != place for i in range(5)]


def test_on_wind_the_best_of_our_methods_that_never_fails_races_bicgstab():
    fast = {"own_gmres": {"ms": 5.0, "failures": 1}, "gcrodr": {"ms": 8.0}}
    goal = judge(made_up("wind", **fast))[-1]
    assert "gcrodr" in goal.text and goal.met
    assert goal.figure == pytest.approx(0.8)
    slow = {"own_gmres": {"ms": 12.0}, "gcrodr": {"ms": 11.0}, "rcg": {"ms": 13.0}}
    goal = judge(made_up("wind", **slow))[-1]
    assert goal.figure == pytest.approx(1.1) and not goal.met


def test_counts_are_compared_only_with_those_of_the_same_systems():
    for key, value in (
        ("systems", 19),
        ("drawn", 20),
        ("seed", 4),
        ("tolerance", 1e-6),
        ("size", 99),
    ):
        goals = judge(made_up(**{key: value}))
        assert not any("HPDDM" in goal.text for goal in goals), key


def test_small_systems_and_several_processes_are_not_judged():
    assert [goal.text for goal in judge(made_up("published", "sor", 50))] == [
        "iterations, GCRO-DR(40,20) / HPDDM"
    ]
    assert judge(made_up(processes=2)) == []


# The command

SMALL = ("solvers", "--quick", "--size", "12", "--count", "3")


def test_a_quick_run_shows_every_case_and_writes_what_it_shows(bench, tmp_path):
    output = tmp_path / "figures.json"
    code, out, _ = bench(*SMALL, "--json", str(output))
    assert code == 0
    result = json.loads(output.read_text())
    cases = list(dict.fromkeys((row["kind"], row["preconditioner"]) for row in result["rows"]))
    assert cases == [(k, p) for k in solvers.KINDS for p in ("none", "sor", "ilu")]
    for kind, preconditioner in cases:
        assert f"{kind}, n = 144, {preconditioner}" in out
    assert all(f"{row['label']} " in out for row in result["rows"])
    assert "benchmark only" in out
    assert result["goals"] == []
    assert "petsc" in result["versions"]


def test_all_rows_of_a_table_have_the_same_number_of_columns(bench):
    code, out, _ = bench(*SMALL, "--kind", "wind", "--preconditioner", "sor")
    assert code == 0
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == len(set(map(len, table))) == 1
    assert set(table[1]) == set("|-: ")
    assert table[2].startswith("| PETSc GMRES(40) ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kind", "water"), "darcy, scaled, published, published_helmholtz, wind"),
        (("--preconditioner", "magic"), "ilu"),
        (("--count", "1"), "--count must be at least 2"),
        (("--count", "0"), "--count must be at least 2"),
        (("--size", "0"), "--size must be at least 2"),
        (("--rounds", "0"), "--rounds must be at least 1"),
        (("--rtol", "2"), "--rtol must lie between 0 and 1"),
    ],
)
def test_a_wrong_option_is_named_before_any_work(bench, options, message):
    code, out, err = bench("solvers", "--quick", *options)
    assert code == 1
    assert message in err and out == ""
