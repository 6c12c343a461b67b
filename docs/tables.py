# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Writes measured rows into the pages: `python docs/tables.py`, which `make docs` calls.

A page marks the place of a table by comments:

    <!-- table: automatic_40 automatic sequence=wind -->
    <!-- end of table -->

What stands between them is made from `docs/measurements/data/automatic_40.json`, which is a file
that a bench wrote (`kryloset bench automatic --json ...`): its rows, those with `sequence` wind, in
the columns `automatic` of `bench/columns.toml`. In the place of columns there may be a function of
the bench that describes rows, or `goals`. A file of figures that no bench prints has its own
`columns`, and the marker names none.
"""

import json
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kryloset.bench.tables import COLUMNS, Row, tabulate
from kryloset.errors import KrylosetError

DATA = Path("docs/measurements/data")

TABLE = re.compile(r"(<!-- table: ([^>]+?) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def render_page(text: str, folder: Path) -> str:
    """Return a page with its tables made anew from the data in a folder.

    Raises:
        KrylosetError: A marker asks for what is not there.
    """
    return TABLE.sub(lambda match: f"{match[1]}\n{render(match[2], folder)}\n\n{match[3]}", text)


def render(marker: str, folder: Path) -> str:
    """Return the table that a marker asks for."""
    name, *words = marker.split()
    file = folder / f"{name}.json"
    if not file.is_file():
        raise KrylosetError(f"table {marker!r}: there is no {file}")
    data = json.loads(file.read_text("utf-8"))
    chosen = dict(word.split("=") for word in words if "=" in word)
    shown = [word for word in words if "=" not in word]
    rows = [row for row in data["rows"] if _has(row, chosen)]
    if not rows:
        raise KrylosetError(f"table {marker!r}: {file} has no such rows")
    if not shown:
        return tabulate(rows, data["columns"])
    if shown == ["goals"]:
        return tabulate(data["goals"], import_module("kryloset.bench.goals").GOAL_COLUMNS)
    if shown[0] in COLUMNS:
        return tabulate(rows, COLUMNS[shown[0]])
    describe = getattr(import_module(f"kryloset.bench.{data['bench']}"), shown[0])
    return str(describe(rows))


def _has(row: Row, chosen: Mapping[str, Any]) -> bool:
    return all(str(row.get(key)) == value for key, value in chosen.items())


def main(root: Path = Path()) -> None:
    """Write the tables into README.md and the pages below docs/."""
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        text = page.read_text("utf-8")
        rendered = render_page(text, root / DATA)
        if rendered != text:
            page.write_text(rendered, "utf-8")
            print(f"{page}: tables renewed", file=sys.stderr)


if __name__ == "__main__":
    main()
