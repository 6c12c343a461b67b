# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tables and figures of the pages follow from the committed rows."""

import json
import math
import re
import runpy
from operator import itemgetter
from pathlib import Path

import pytest

from kryloset.bench.validity import find_enough
from kryloset.errors import KrylosetError

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "docs/tables.py"))
DATA, TABLE, render_page = (SCRIPT[name] for name in ("DATA", "TABLE", "render_page"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MEASURED = [page for page in PAGES if TABLE.search(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: page.stem)
def test_a_page_has_the_tables_of_its_rows(page: Path) -> None:
    text = page.read_text("utf-8")
    assert render_page(text, ROOT / DATA) == text, "run `make docs`"
    assert text.count("<!-- table:") == text.count("<!-- end of table -->")


def test_a_table_that_differs_from_its_rows_is_found(tmp_path: Path) -> None:
    rows = {"columns": {"n": "n:,", "ms": "ms:.1f"}, "rows": [{"n": 4096, "ms": 2.5}]}
    (tmp_path / "made_up.json").write_text(json.dumps(rows))
    table = "|     n |  ms |\n| ----: | --: |\n| 4,096 | 2.6 |"
    page = f"<!-- table: made_up -->\n\n{table}\n\n<!-- end of table -->"
    rendered = render_page(page, tmp_path)
    assert "| 4,096 | 2.5 |" in rendered and render_page(rendered, tmp_path) == rendered
    with pytest.raises(KrylosetError, match=r"there is no .*lost.json"):
        render_page(page.replace("made_up", "lost"), tmp_path)
    with pytest.raises(KrylosetError, match="has no such rows"):
        render_page(page.replace("made_up", "made_up n=5"), tmp_path)


def test_rows_are_used_and_name_their_command_and_commit() -> None:
    used = {
        match[2].split()[0]
        for page in MEASURED
        for match in TABLE.finditer(page.read_text("utf-8"))
    }
    files = {
        path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / DATA).glob("*.json")
    }
    assert set(files) == used
    for name, data in files.items():
        assert data["rows"] and re.match(r"kryloset |python |make ", data["command"]), name
        assert " /" not in data["command"], f"{name} names a place of one machine"
        assert re.match(r"[0-9a-f]{7}", data["commit"]), name


def rows_of(name: str) -> list[dict]:
    """Return committed rows."""
    return json.loads((ROOT / DATA / f"{name}.json").read_text("utf-8"))["rows"]


def test_figures_of_solvers_in_the_readme_follow_from_the_rows() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    row = {row["method"]: row for row in rows_of("default_set")}
    gcrodr, gmres = row["recycled"], row["gmres"]
    assert f"needs {gcrodr['iterations']:g} iterations where GMRES(40) needs" in text
    assert f"needs {gmres['iterations']:g} with the same ILU" in text
    assert f"takes {gcrodr['to_gmres']:.1f} times as long" in text
    assert f"CG with ICC takes {row['cg']['to_gmres']:.1f} of the time of GMRES" in text
    assert row["unsorted"]["iterations"] - gcrodr["iterations"] == 0.5
    ms = {
        (row["kind"], row["preconditioner"], row["label"]): row["ms"] for row in rows_of("solvers")
    }
    darcy = {label: ms for (kind, pc, label), ms in ms.items() if (kind, pc) == ("darcy", "ilu")}
    wind = {label: ms for (kind, pc, label), ms in ms.items() if (kind, pc) == ("wind", "ilu")}
    for times in (darcy, wind):
        assert times["GCRO-DR(40,20), sorted"] < times["PETSc GMRES(40)"]
    assert darcy["recycling CG(80,20) + ICC, sorted"] < darcy["PETSc CG + ICC"]
    assert wind["recycling BiCGStab(2), k = 20, sorted"] < wind["PETSc BiCGStab(2)"]


def test_figures_of_large_sets_in_the_readme_follow_from_the_rows() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    *_, sorting = (row for row in rows_of("ordering") if row["table"] == "stage")
    seconds, memory = sorting["seconds_all"], sorting["memory_mb"] / 1000
    assert f"in {seconds:.0f} s and {memory:.1f} GB" in text
    linear = rows_of("assembly")[0]
    assert f"{linear['matrix']['ratio']:.0f} times faster" in text


def test_figures_of_whole_runs_in_the_readme_follow_from_the_rows() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    rows = [row for row in rows_of("whole") if row["table"] == "set"]
    case = "{ratio_seconds:.2g} for {instances:,} of {points} x {points}"
    assert f"on two cores: {', '.join(case.format(**row) for row in rows)}." in text


def test_figures_of_whole_runs_on_their_page_follow_from_the_rows() -> None:
    page = " ".join((ROOT / "docs/measurements/whole.md").read_text("utf-8").split())
    rows = {(r["instances"], r["points"]): r for r in rows_of("whole") if r["table"] == "set"}
    few, many, fine = rows[64, 64], rows[10_000, 64], rows[1_000, 128]
    ways = ("seconds_script", "seconds_workflow", "processor_script", "processor_workflow")
    slopes = [(many[way] - few[way]) / (many["instances"] - few["instances"]) for way in ways]
    script, workflow, by_hand, ours = slopes
    equal = few["instances"] + (few[ways[1]] - few[ways[0]]) / (script - workflow)
    assert f"64 instances of 64 x 64 take {few[ways[1]]:.1f} s" in page
    assert f"an instance more takes {1e3 * ours:.1f} ms of the processor in the workflow" in page
    assert f"and {1e3 * by_hand:.1f} ms in the script" in page
    assert f"at some {round(equal, -3):,.0f} instances of 64 x 64" in page
    assert fine["ratio_seconds"] < 1 and "below 1,000 of 128 x 128" in page


def test_figures_of_large_runs_on_their_page_follow_from_the_rows() -> None:
    tree = json.loads((DATA / "scale.json").read_text())
    jobs, whole, *_ = (goal["figure"] for goal in tree["goals"])
    model = [row for row in tree["rows"] if row["table"] == "model"]
    seconds = sum(row.get("seconds", 0) for row in model)
    page = " ".join((ROOT / "docs/measurements/scale.md").read_text("utf-8").split())
    text = (
        f"the jobs of chunks take {jobs:.1f} times less, and the whole run {whole:.1f} times",
        f"A million instances of 10,000 unknowns would take {seconds:.0f} s on 1,000 cores",
        f"one process moves {model[-1]['bytes'] / 1e12:.2f} TB",
    )
    assert all(part in page for part in text)
    assert f"expects {seconds:.0f} s for a million" in (ROOT / "README.md").read_text("utf-8")
    assert 0.45 < model[0]["share"] < 0.55 and model[0]["part"] == "merge"


def test_figures_of_families_on_the_pages_follow_from_the_rows() -> None:
    rows = rows_of("families")
    auto = [row for row in rows if row["method"] == "auto"]
    faster = sum(row["ratio"] < 1 for row in auto)
    twice = sum(row["ratio"] <= 0.5 for row in auto)
    said = f"on {faster} of {len(auto)} families and sizes, and half of it or less on {twice}."
    assert said in (ROOT / "README.md").read_text("utf-8")
    gmres = {
        (r["family"], r["points"]): r["median_seconds"] for r in rows if r["method"] == "gmres"
    }
    slow = [gmres[row["family"], row["points"]] for row in auto]
    times = [row["median_seconds"] for row in auto]
    tenfold = sum(a is None or own <= a / 10 for own, a in zip(times, slow, strict=True))
    yardstick = " ".join((ROOT / "docs/measurements/yardstick.md").read_text("utf-8").split())
    assert f"at least ten times as fast as GMRES(40) in {tenfold} of {len(auto)}" in yardstick


def page_of(family: str) -> str:
    """Return the page of a family on one line."""
    return " ".join((ROOT / f"docs/families/{family}.md").read_text("utf-8").split())


def test_figures_on_the_pages_of_families_follow_from_the_rows() -> None:
    saved = [round(100 * (1 - row["rcg"] / row["cg"])) for row in rows_of("darcy_iterations")]
    darcy = page_of("darcy")
    assert f"Recycling saves {min(saved)} to {max(saved)} % of the iterations" in darcy
    k, u = (
        [float(row[key].partition(" ")[0]) for key in ("published", "here")]
        for row in rows_of("darcy_statistics")
    )
    assert f"Their mean of u is {100 * (u[0] / u[1] - 1):.1f} % larger" in darcy
    assert f"the mean of k in their sample is {100 * (1 - k[0] / k[1]):.1f} % smaller" in darcy
    gamg = rows_of("elasticity_multigrid")
    assert all(0.55 <= row["gamg"] / row["gamg_without"] < 0.65 for row in gamg)
    assert "about 0.6 times as many iterations" in page_of("elasticity")
    cg, recycling, *_ = rows_of("reaction_diffusion_solvers")
    assert 0.45 < recycling["iterations"] / cg["iterations"] < 0.55
    assert cg["seconds"] <= recycling["seconds"]
    assert "about half of the iterations of CG" in page_of("reaction_diffusion")


def test_methods_that_fail_on_absorbed_waves_fail_in_the_rows() -> None:
    seconds = {
        (row["family"], row["points"], row["method"]): row["median_seconds"]
        for row in rows_of("families")
    }
    for points in ("default", "finer"):
        for method in ("gmres", "incomplete", "skr"):
            assert seconds["helmholtz_absorbing", points, method] is None
    assert "BiCGStab(2) nor GCRO-DR(40, 20) with ILU reached the" in page_of("helmholtz_absorbing")


def test_figures_of_training_in_the_readme_follow_from_the_rows() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    operator, linear, mean = (row["relative_l2"] for row in rows_of("training_1000"))
    assert f"relative L2 error of {operator:.3f} on the 100 test instances" in text
    assert f"the linear model has {linear:.3g} and the mean solution {mean:.3g}" in text
    page = " ".join((ROOT / "docs/how-to/training.md").read_text("utf-8").split())
    row = rows_of("training_1000")[0]
    assert f"The training takes {row['minutes']} minutes" in page
    assert f"the operator has {row['weights']:,} weights" in page
    assert f"its relative L² error is {row['relative_l2_train']}" in page


def test_figures_of_validity_on_their_page_follow_from_the_rows() -> None:
    page = " ".join((ROOT / "docs/measurements/validity.md").read_text("utf-8").split())
    exact, *rows = (row for row in rows_of("validity") if row["table"] == "set")
    loose, accurate = (max(rows, key=itemgetter("tolerance")), rows[0])
    both = math.hypot(exact["error"], loose["data_error"])
    assert loose["tolerance"] == 0.1 and accurate["tolerance"] == 1e-8
    assert (
        f"leaves δ = {loose['data_error']:.3f}, and with ε = {exact['error']:.4f} this makes "
        f"√(ε² + δ²) = {both:.4f}; measured is {loose['error']:.4f}"
    ) in page
    assert find_enough(rows) == 1e-2 and "10⁻² is enough for this operator on this set" in page
    assert all(row["apart"] < 1e-3 for row in rows if row["tolerance"] == 1e-8)
    assert round(accurate["iterations"] / loose["iterations"]) == 4
    assert "GMRES takes four times as many iterations as to 10⁻¹" in page


#: Tables outside of markers whose numbers are not measured, by their first headings.
NOT_MEASURED = {
    ("matrix", "strategies"): "options of solvers",
    ("`features`", "a parameter field becomes"): "definitions, a section of a source",
    ("name", "what"): "distributions and units of what a family draws",
    ("setting", "what"): "defaults",
    ("`scheme`", "θ"): "orders in theory",
    ("`outline`", "domain"): "corners of a domain",
    ("model", "what it is for"): "numbers of weights, which settings decide",
}


def measured_tables(text: str) -> list[str]:
    """Return the headers of tables outside of markers whose cells may hold measured numbers.

    These are cells of digits alone, decimal fractions, and numbers with a unit of time, memory or
    per cent; code and addresses of links are not read.
    """
    outside = re.sub(r"```.*?```", "", TABLE.sub("", text), flags=re.DOTALL)
    found = []
    for table in re.finditer(r"(?:^ *\|.*\n?)+", outside, re.MULTILINE):
        header, _, *rows = table[0].splitlines()
        cells = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", "|".join(rows)).split("|")
        figures = r"[^a-zA-Z]*\d[^a-zA-Z]*(e-?\d+.*)?"
        fraction_or_unit = r"\d\.\d|\d ?(%|µs|ms|s|MB|GB|GiB)\b|\d ?%|at most \d"
        if any(re.fullmatch(figures, c) or re.search(fraction_or_unit, c) for c in cells):
            found.append(header)
    return found


def headings(header: str) -> tuple[str, str]:
    """Return the first two headings, up to a comma."""
    first, second, *_ = header.strip("| ").split("|")
    return first.strip(), second.strip().partition(",")[0]


def test_every_measured_table_stands_between_markers() -> None:
    found = {
        (page.name, headings(header))
        for page in PAGES
        for header in measured_tables(page.read_text("utf-8"))
    }
    assert {table for table in found if table[1] not in NOT_MEASURED} == set()
    assert {header for _, header in found} == set(NOT_MEASURED), "an exception is not needed"


@pytest.mark.parametrize("cell", ["12", "**4.1**", "0.2 to 0.6 %", "5.7e-3 ± 3.9e-3", "about 3 ms"])
def test_a_measured_table_outside_of_markers_is_found(cell: str) -> None:
    table = f"| set | what |\n| --- | --- |\n| `darcy` | {cell} |"
    assert measured_tables(f"Before.\n\n{table}\n\nAfter.") == ["| set | what |"]
    assert not measured_tables(f"<!-- table: made_up -->\n\n{table}\n\n<!-- end of table -->")
    assert not measured_tables(table.replace(cell, "of [degree 2](page.md#section-4.6), `0.5`"))


def test_figures_of_learned_help_on_its_page_follow_from_the_rows() -> None:
    page = " ".join((ROOT / "docs/measurements/learned.md").read_text("utf-8").split())
    figures = {"times": [], "one": [], "free": [], "less": []}
    for kind in ("darcy", "wind"):
        rows = [row for row in rows_of(f"learned_{kind}") if row["table"] == "help"]
        fastest = min((row for row in rows if row.get("learning")), key=lambda row: row["ms"])
        (alone,) = (row["ms"] for row in rows if row["method"] == "auto, one by one")
        figures["times"].append(fastest["to_auto"])
        figures["one"].append(fastest["ms"] / alone)
        # The network of directions is used in each iteration.
        free = [row["ms"] - row["help_ms"] for row in rows if row.get("quality")]
        figures["free"].append(min(free) / rows[0]["ms"])
        spaces = [row for row in rows if row["method"] == "gcrodr + ilu"]
        recycled, predicted, exact = (row["iterations"] for row in spaces)
        (none,) = (row["iterations"] for row in rows if row["method"] == "gmresdr + ilu")
        assert recycled < exact <= predicted < exact + 1 and 0.5 < predicted / none < 0.65
        found = [row for row in rows_of(f"learned_{kind}") if row["table"] == "policy"]
        ms = {row["policy"]: row["ms"] for row in found}
        assert ms["LinUCB without statistics"] < ms["LinUCB with statistics"]
        best = min(value for policy, value in ms.items() if "+" in policy)
        figures["less"].append(1 - ms["the fastest for each system"] / best)
    texts = (
        f"{min(figures['times']):.0f} times the time of automatic selection",
        f"{min(figures['one']):.0f} times that of automatic selection that solves one by one",
        f"still {min(figures['free']):.0f} times those of automatic selection",
        f"would take at most {max(figures['less']):.0%} less".replace("%", " %"),
    )
    for text in texts:
        assert text in page, text
    readme = (ROOT / "README.md").read_text("utf-8")
    fine = [row for row in rows_of("learned_64") if row["table"] == "help"]
    least = min(row["to_auto"] for row in fine if row.get("learning"))
    span = f"{least:.0f} to {min(figures['times']):.0f} times as long as automatic selection"
    assert span in readme and f"the fastest help takes {least:.0f} times the time" in page
    rows = [row for row in rows_of("learned_darcy") if row["table"] == "help"]
    guess, directions = (
        next(row for row in rows if row["help"] == help and row["method"] == method)
        for help, method in (("guess", "cg + icc"), ("predicted directions", "flexible cg"))
    )
    plain = next(row for row in rows if row["method"] == "cg + icc" and row["help"] == "none")
    saved = plain["iterations"] - guess["iterations"]
    assert round(saved) == 1 and f"saves one iteration of {plain['iterations']:.0f}" in page
    assert f"with an error of {100 * guess['quality']:.0f} %" in page
    assert f"take {directions['iterations']:.0f} iterations, a third of those of CG" in page
    each = [row["ms"] / row["iterations"] for row in (directions, plain)]
    assert 100 < each[0] / each[1] < 130
