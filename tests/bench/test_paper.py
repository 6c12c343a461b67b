# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset bench paper`: blocks of processes, consistent ratios, and a visible limit."""

import json
import math
from dataclasses import replace

from mpi4py import MPI

import numpy as np
import pytest

from kryloset.bench import paper, paper_systems, sequences
from kryloset.bench.harness import Turn
from kryloset.bench.paper import (
    PRECONDITIONERS,
    judge,
    make_rows,
    measure,
    measure_ablation,
    measure_set,
)
from kryloset.bench.paper_solvers import LIMIT, choose_methods, cut, divide
from kryloset.bench.paper_systems import PUBLISHED, SETS, make_source
from kryloset.krylov import SequenceSolver
from kryloset.krylov.workspace import Workspace
from kryloset.run.comparison import Method

KEYS = {
    *("set", "systems", "size", "preconditioner", "tolerance", "method", "median_seconds"),
    *("iterations", "true_residual", "ratio_time", "ratio_iterations"),
    *("published_ratio_time", "published_ratio_iterations"),
}


@pytest.fixture(scope="module")
def source():
    """The published Darcy systems, small."""
    return make_source(SETS["darcy"]["published"], 12, 4)


def dense(operator) -> np.ndarray:
    """Return the entries of a Mat, which stays as it is."""
    rows = np.arange(operator.getSize()[0], dtype=np.int32)
    return operator.getValues(rows, rows)


# What was published


@pytest.mark.parametrize("name", SETS)
def test_published_figures_are_there_for_every_cell(name):
    figures = PUBLISHED[name]
    assert list(figures.tolerances) == sorted(figures.tolerances, reverse=True)
    for table in (figures.time, figures.iterations):
        assert tuple(table) == PRECONDITIONERS
        assert all(len(row) == 3 and min(row) > 0 for row in table.values() if row is not None)
    # An iteration of SKR costs more than one of GMRES(40): no cell saves more time than iterations.
    for preconditioner, ratios in figures.iterations.items():
        if ratios is not None:
            assert all(np.less(figures.time[preconditioner], ratios))


def test_the_papers_best_ratios_are_among_them():
    best = max(max(row) for figures in PUBLISHED.values() for row in figures.time.values())
    assert best == paper.BEST_TIME == PUBLISHED["helmholtz"].time["asm"][2]


# Blocks


def make_workspace(operator, preconditioner, count) -> Workspace:
    """Return a KSP whose preconditioner acts within blocks, and is set up."""
    kind, options = divide(preconditioner, count)
    solver = SequenceSolver("gmres", kind, 1e-10, max_iterations=2, petsc_options=options)
    _, rhs = operator.createVecs()
    rhs.set(1.0)
    workspace = Workspace(solver, operator)
    solver.solve(operator, rhs, replace(solver.init(), workspace=workspace))
    return workspace


def apply_blocks(source, preconditioner, count) -> np.ndarray:
    """Return M^-1 as a matrix."""
    operator, _ = source.load(0)
    workspace = make_workspace(operator, preconditioner, count)
    pc = workspace.ksp.getPC()
    x, y = operator.createVecs()
    columns = []
    for i in range(source.unknowns):
        x.set(0)
        x.setValue(i, 1)
        x.assemble()
        pc.apply(x, y)
        columns.append(y.getArray().copy())
    return np.array(columns).T


@pytest.mark.parametrize("preconditioner", ["bjacobi", "sor"])
def test_blocks_of_one_row_are_jacobi(source, preconditioner):
    inverse = apply_blocks(source, preconditioner, source.unknowns)
    assert np.allclose(inverse, apply_blocks(source, "jacobi", 1))


@pytest.mark.parametrize("preconditioner", ["bjacobi", "sor"])
def test_blocks_of_a_preconditioner_are_independent(source, preconditioner):
    inverse = apply_blocks(source, preconditioner, 3)
    size = source.unknowns // 3
    block = np.arange(source.unknowns) // size
    assert not inverse[block[:, None] != block].any()
    # And within a block it is not the diagonal alone.
    assert np.count_nonzero(inverse[block[:, None] == block]) > source.unknowns


def test_additive_schwarz_overlaps_and_one_block_is_ilu(source):
    two, one = apply_blocks(source, "asm", 2), apply_blocks(source, "asm", 1)
    assert np.allclose(one, apply_blocks(source, "ilu", 1))
    # Exactly one layer of neighbours beyond a half has an influence.
    half = source.unknowns // 2
    assert two[:half, half:].any()
    assert not two[: half // 2, half + half // 2 :].any()


def test_one_process_and_the_global_preconditioners_have_no_blocks():
    assert all(divide(name, 1) == (name, {}) for name in PRECONDITIONERS)
    for name in ("none", "jacobi", "icc", "ilu"):
        assert divide(name, 72) == (name, {})
    options = {"pc_bjacobi_blocks": 72, "sub_pc_type": "sor"}
    assert divide("sor", 72) == ("bjacobi", options)


# Measuring


def test_a_looser_tolerance_is_a_part_of_one_run_of_gmres(source):
    tight, loose = (
        choose_methods("jacobi", tolerance, tightest=tolerance)[0] for tolerance in (1e-8, 1e-3)
    )
    turns = measure(source, [tight, loose], range(4))
    histories = tight.solver.histories
    for run, history, alone in zip(turns[tight], histories, turns[loose], strict=True):
        part = cut(run, history, 1e-3)
        assert part.iterations == alone.iterations < run.iterations
        assert part.operator_applications == pytest.approx(alone.operator_applications, abs=1)
        assert part.true_residual == pytest.approx(alone.true_residual, rel=1e-6)
        assert part.seconds_iterate < run.seconds_iterate
        assert cut(run, history, 1e-8).iterations == run.iterations


def test_a_run_cut_at_the_limit_fails_but_counts_for_looser_tolerances(source):
    methods = choose_methods("none", 1e-8, tightest=1e-8, limit=30)
    (run,) = measure(source, methods[:1], [0])[methods[0]]
    (history,) = methods[0].solver.histories
    assert (run.iterations, run.converged) == (30, False)
    assert cut(run, history, 1e-8) is run
    reached = float(history[10] / history[0])
    part = cut(run, history, reached)
    assert part.converged and part.iterations <= 10
    assert part.true_residual <= reached


def test_all_methods_meet_the_same_systems_and_what_recycles_is_warm(source):
    methods = choose_methods("ilu", 1e-6, tightest=1e-6)
    warm: list[tuple[str, bool]] = []

    def look(contestant, system, operator, before):
        warm.append((contestant.method.name, before is not None and before.space is not None))

    chain = [2, 0, 3, 1]
    given = Method("unsorted", "", methods[1].solver, order="given")
    runs = measure(source, [*methods, given], chain, warm_up=2, look=look)
    for method in methods:
        assert [run.instance for run in runs[method]] == [3, 1]
        assert all(run.converged and run.true_residual <= 1e-6 for run in runs[method])
    assert [run.instance for run in runs[given]] == [1, 3]
    assert [hot for name, hot in warm if name == "skr"] == [False, True, True, True]
    assert [hot for name, hot in warm if name == "gmresdr"] == [False, False]


def test_blocks_are_as_many_as_asked_for_and_last_beyond_a_failure(source):
    operator, _ = source.load(0)
    pc = make_workspace(operator, "bjacobi", 6).ksp.getPC()
    assert len(pc.getBJacobiSubKSP()) == 6
    cut_up, whole = (
        choose_methods("bjacobi", 1e-10, tightest=1e-10, processes=count, limit=2)[0]
        for count in (6, 1)
    )
    runs = measure(source, [cut_up, whole], [0, 1])
    assert [run.converged for run in runs[cut_up]] == [False, False]
    for with_blocks, without in zip(runs[cut_up], runs[whole], strict=True):
        assert with_blocks.true_residual > 1.01 * without.true_residual


# Figures


def made_up(iterations, seconds, *, converged=True, residual=1e-9) -> list[Turn]:
    return [
        Turn(i, 1, 1, its, its, its, 0.0, 0.0, s, residual, converged)
        for i, (its, s) in enumerate(zip(iterations, seconds, strict=True))
    ]


def test_ratios_are_of_medians_of_time_and_means_of_iterations():
    gmres, skr, gmresdr, direct = choose_methods("ilu", 1e-6, tightest=1e-8)[:4]
    rows = make_rows(
        [gmres, skr, gmresdr, direct],
        {
            gmres: made_up([100, 200, 600], [1.0, 2.0, 9.0]),
            skr: made_up([10, 20, 30], [0.5, 1.0, 8.0]),
            gmresdr: made_up([30, 30, 30], [0.1, 0.1, 0.1], converged=False, residual=math.nan),
            direct: made_up([1, 1, 1], [0.25, 0.25, 0.25]),
        },
        size=9,
    )
    assert [row["method"] for row in rows] == ["gmres", "skr", "gmresdr", "direct"]
    assert [row["ratio_time"] for row in rows] == [1, 2, 20, 8]
    assert [row["ratio_iterations"] for row in rows] == [1, 15, 10, None]
    assert [row["ratio_applications"] for row in rows] == [1, 15, 10, 300]
    assert [row["failures"] for row in rows] == [0, 0, 3, 0]
    assert rows[2]["true_residual"] is None
    assert all(row["size"] == 9 for row in rows)
    json.dumps(rows, allow_nan=False)


def cell(ratio_iterations=30.0, ratio_time=14.0, failures=0, **changes) -> list[dict]:
    """Return GMRES and SKR in the cell with the largest published ratios."""
    both = {
        "table": 1,
        "set": "helmholtz",
        "systems": "published",
        "size": 10_000,
        "preconditioner": "asm",
        "tolerance": changes.pop("tolerance", 1e-7),
        "systems_counted": 5,
        "iteration_limit": LIMIT,
    }
    gmres = both | {"method": "gmres", "failures": 0, "published_ratio_time": None}
    gmres |= {"iterations_least": 500, "iterations_most": 5000} | changes.pop("gmres", {})
    skr = both | {
        "method": "skr",
        "failures": failures,
        "iterations": 200.0,
        "ratio_iterations": ratio_iterations,
        "ratio_time": ratio_time,
        "published_ratio_time": 13.9,
        "published_ratio_iterations": 30.0,
    }
    return [gmres, skr | changes]


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, [True, True]),
        ({"ratio_iterations": 29.9}, [False, True]),
        ({"ratio_time": 13.8}, [True, False]),
        ({"failures": 1}, [False, False]),
        ({"published_ratio_iterations": None}, [True]),
    ],
)
def test_goals_are_the_papers_figures(changes, verdicts):
    goals = judge(cell(**changes))
    assert [goal.met for goal in goals] == verdicts


def test_right_systems_and_other_methods_are_not_judged():
    assert judge(cell(published_ratio_time=None, published_ratio_iterations=None)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failures": 2}, "SKR gave up 2 of 5"),
        # 10,000 iterations over SKR's 200.
        (
            {"gmres": {"failures": 3}},
            "GMRES gave up 3 of 5 systems, and 10,000 iterations show 50.0",
        ),
        ({"size": 4000}, "smaller system than the paper's 10,000"),
        ({}, "takes 500 to 5,000 iterations: the paper's mean is over 100"),
        ({"gmres": {"iterations_least": 4000}}, "on all systems, SKR 200"),
    ],
)
def test_a_miss_is_explained_by_what_was_measured(changes, said):
    assert said in judge(cell(ratio_iterations=3.0, **changes))[0].reason
    assert judge(cell(ratio_iterations=31.0))[0].met


def test_a_quick_run_is_not_judged():
    assert judge([row | {"iteration_limit": 500} for row in cell()]) == []


# The sets


@pytest.mark.parametrize(
    ("name", "role"), [("thermal", "published"), ("thermal", "right"), ("poisson", "published")]
)
def test_thermal_and_poisson_have_one_matrix(name, role):
    source = make_source(SETS[name][role], 9, 3)
    matrices, loads = [], []
    for number in range(3):
        operator, rhs = source.load(number)
        matrices.append(dense(operator))
        loads.append(rhs.getArray().copy())
    assert np.array_equal(matrices[0], matrices[1]) and np.array_equal(matrices[0], matrices[2])
    assert not np.allclose(loads[0], loads[1])
    assert np.linalg.eigvalsh(matrices[0])[0] > 0
    assert len(source.features) == 3


def test_published_thermal_has_one_temperature_and_a_flux_on_the_other_side():
    family = paper_systems.FAMILIES["published_thermal"](17)
    instance = family.draw(np.random.default_rng(0))
    assert instance["flux"] < 0 < instance["left"]
    discretisation = family.discretise(MPI.COMM_SELF)
    flux = np.array(-3.0)
    operator, rhs = discretisation.assemble(instance | {"left": np.array(0.0), "flux": flux})
    load = rhs.getArray()
    # All shape functions together are 1: the heat that comes in through a side 1.6 m high.
    assert load.sum() == pytest.approx(-3.0 * 1.6)
    x = np.linalg.solve(dense(operator), load)
    # Without the slot the right side, 1 m away, would be at -3; a hole does not conduct.
    assert x.max() == pytest.approx(0, abs=1e-9)
    assert x.min() < -3.0


@pytest.mark.parametrize("name", paper_systems.ELIMINATED)
def test_eliminating_prescribed_unknowns_keeps_the_solution(name):
    inside = paper_systems.draw_instances(name, 9, 2)
    family = paper_systems.FAMILIES[name](9)
    discretisation = family.discretise(MPI.COMM_SELF)
    for number in range(2):
        operator, rhs = discretisation.assemble(family.draw(paper_systems.generator(0, number)))
        matrix = dense(operator)
        x = np.linalg.solve(matrix, rhs.getArray())
        prescribed = (matrix == np.eye(len(matrix))).all(axis=1)
        operator, rhs = inside.load(number)
        assert 0 < inside.unknowns == len(matrix) - prescribed.sum() < len(matrix)
        assert np.allclose(np.linalg.solve(dense(operator), rhs.getArray()), x[~prescribed])


def test_fields_are_as_strong_as_the_scripts():
    # The script: real part of the inverse transform of s^2 sqrt(2) sigma (...)^(-alpha/2) z,
    # z complex with E|z|^2 = 1. Its variance is half the sum of the squares.
    points, alpha, tau = 50, 2.5, 7.0
    k = np.fft.fftfreq(points, 1 / points)
    square = k[:, None] ** 2 + k**2
    spectrum = np.sqrt(2) * tau ** (alpha - 1) * (4 * np.pi**2 * square + tau**2) ** (-alpha / 2)
    spectrum[0, 0] = 0
    systems = sequences.make_sequence(
        "published", 48, 40, drawn=40, strength=paper_systems.STRENGTH
    )
    found = np.log(systems.parameters).var(axis=(1, 2)).mean()
    assert found == pytest.approx((spectrum**2).sum() / 2, rel=0.2)


def test_published_matrices_are_indefinite_and_right_ones_definite():
    for role, definite in (("published", False), ("right", True)):
        source = make_source(SETS["darcy"][role], 24, 1)
        matrix = dense(source.load(0)[0])
        assert (np.linalg.eigvals(matrix).real.min() > 0) == definite


def test_a_full_set_has_its_cells_with_all_keys_and_marks_what_was_given_up():
    rows = measure_set("thermal", "published", size=11, count=1, limit=25)
    cells = dict.fromkeys((row["preconditioner"], row["tolerance"]) for row in rows)
    assert list(cells) == [(p, t) for p in PRECONDITIONERS for t in PUBLISHED["thermal"].tolerances]
    assert all(set(row) >= KEYS for row in rows)
    capped = next(row for row in rows if row["failures"] and row["method"] == "gmres")
    assert capped["iterations"] == 25
    text = paper.describe(rows)
    assert " >25" in text
    skr = [row for row in rows if row["method"] == "skr"]
    assert [row["published_ratio_time"] for row in skr[:3]] == [4.53, 5.35, 5.47]
    assert all(row["published_ratio_time"] is None for row in rows if row["method"] != "skr")
    assert all(row["ratio_iterations"] is None for row in rows if row["method"] == "direct")


def test_the_ablation_has_three_rows_and_a_sine():
    rows = measure_ablation(size=12, count=5)
    assert [row["method"] for row in rows] == ["gmresdr", "unsorted", "skr"]
    assert [row["failures"] for row in rows] == [0, 0, 0]
    assert rows[0]["delta"] == 1
    assert all(0 < row["delta"] < 1 for row in rows[1:])
    assert [row["published_iterations"] for row in rows] == [None, 202.5, 183.9]
    assert "nothing recycled" in paper.describe(rows)


# The command


@pytest.fixture
def tiny(monkeypatch):
    """Make quick runs quicker."""
    sets = {
        name: {role: replace(systems, quick=11) for role, systems in roles.items()}
        for name, roles in SETS.items()
        if name in ("darcy", "poisson")
    }
    monkeypatch.setattr(paper, "SETS", sets)
    monkeypatch.setattr(paper, "QUICK_COUNT", 1)


def test_a_quick_run_prints_its_tables_and_writes_a_flat_list(bench, tiny, tmp_path):
    output = tmp_path / "rows.json"
    options = "paper --quick --set darcy --set poisson --json"
    code, out, _ = bench(*options.split(), str(output))
    assert code == 0
    result = json.loads(output.read_text())
    rows = result["rows"]
    first = [row for row in rows if row["table"] == 1]
    assert all(set(row) >= KEYS for row in first)
    assert {(row["set"], row["systems"]) for row in first} == {
        ("darcy", "published"),
        ("darcy", "right"),
        ("poisson", "published"),
    }
    assert {row["method"] for row in first} >= {"gmres", "skr", "gmresdr", "direct"}
    assert [row["method"] for row in rows if row["table"] == 2] == ["gmresdr", "unsorted", "skr"]
    for heading in ("darcy, published systems, n = 121 (paper 6,400)", "poisson", "Table 2"):
        assert heading in out
    assert result["goals"] == []


def test_all_rows_of_a_table_have_the_same_number_of_columns(bench, tiny):
    chosen = ("--set", "poisson", "--preconditioner", "ilu", "--preconditioner", "none")
    code, out, _ = bench("paper", "--quick", *chosen)
    assert code == 0
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2 * 3
    assert len({line.count("|") for line in table}) == 1


@pytest.mark.slow
def test_every_set_runs_quickly(bench, tmp_path):
    output = tmp_path / "rows.json"
    code, _, _ = bench("paper", "--quick", "--json", str(output))
    assert code == 0
    rows = json.loads(output.read_text())["rows"]
    assert {row["set"] for row in rows} == set(SETS)
    assert all(row["iteration_limit"] < LIMIT for row in rows if row["table"] == 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "water"), "darcy, thermal, poisson, helmholtz"),
        (("--preconditioner", "gamg"), "none, jacobi, bjacobi, sor, asm, icc, ilu"),
        (("--count", "0"), "--count must be 1 to 98"),
        (("--count", "99"), "--count must be 1 to 98"),
    ],
)
def test_a_wrong_option_is_named_before_any_work(bench, options, message):
    code, out, err = bench("paper", "--quick", *options)
    assert code == 1
    assert message in err and out == ""
