# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tables of the pages are those of the committed rows."""

import json
import re
import runpy
from pathlib import Path

import pytest

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


def test_rows_are_used_and_say_where_they_come_from() -> None:
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
        assert (data["rows"] and "kryloset bench" in data["command"]) or name == "guesses", name
        assert re.match(r"[0-9a-f]{7}", data["commit"]), name


def test_what_pages_say_of_families_follows_from_the_rows() -> None:
    rows = json.loads((ROOT / DATA / "families.json").read_text("utf-8"))["rows"]
    auto = [row for row in rows if row["method"] == "f"]
    faster = sum(row["ratio"] < 1 for row in auto)
    twice = sum(row["ratio"] <= 0.5 for row in auto)
    words = {2: "two", 3: "three", 4: "four"}
    said = (
        f"on {faster} of {len(auto)} families and sizes, and half of it or less on {words[twice]}"
    )
    assert said in (ROOT / "README.md").read_text("utf-8")
    gmres = {(r["family"], r["points"]): r["median_seconds"] for r in rows if r["method"] == "a"}
    slow = [gmres[row["family"], row["points"]] for row in auto]
    times = [row["median_seconds"] for row in auto]
    tenfold = sum(a is None or own <= a / 10 for own, a in zip(times, slow, strict=True))
    yardstick = " ".join((ROOT / "docs/measurements/yardstick.md").read_text("utf-8").split())
    assert f"at least ten times as fast as (a) in {tenfold} of {len(auto)}" in yardstick
