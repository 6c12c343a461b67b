# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Rows as Markdown tables that are read well in a terminal, too."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

type Row = dict[str, Any]
"""Figures by name, ready for JSON."""

type Columns = Mapping[str, str | Callable[[Row], str]]
"""By heading a key and a format, such as "ms:.2f", or a function of the row.

A key may go down into a row in a row: "matrix.ratio:.1f". A factor may follow the format, as in
"seconds:.2f*1000".
"""

COLUMNS: Mapping[str, Columns] = tomllib.loads(
    Path(__file__).with_name("columns.toml").read_text("utf-8")
)
"""The columns in which the rows of a bench are shown."""


def grouped(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return rows by the values of some keys, in the order in which these first appear."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def tabulate(rows: Sequence[Row], columns: Columns) -> str:
    """Return rows as a table; a last column in which nothing stands is left out."""
    lines = [[cell(row, column) for column in columns.values()] for row in rows]
    header = list(columns)
    while header and not any(line[-1] for line in lines):
        header, lines = header[:-1], [line[:-1] for line in lines]
    return table(header, lines)


def cell(row: Row, column: str | Callable[[Row], str]) -> str:
    """Return what stands in a column."""
    if callable(column):
        return column(row)
    path, _, form = column.partition(":")
    form, _, factor = form.partition("*")
    value: Any = row
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return number(value, form, float(factor)) if factor else number(value, form)


def number(value: Any, form: str, factor: float | None = None) -> str:
    """Return a value as people read it, or a dash where there is none."""
    if value is None:
        return "–"
    return format(value if factor is None else factor * value, form)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up; columns of numbers are to the right."""
    aligned = []
    for column in zip(header, *rows, strict=True):
        right = all(map(_is_number, column[1:]))
        width = max(3, *map(len, column))
        rule = "-" * (width - 1) + (":" if right else "-")
        texts = [text.rjust(width) if right else text.ljust(width) for text in column]
        aligned.append([texts[0], rule, *texts[1:]])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*aligned, strict=True))


def _is_number(text: str) -> bool:
    plain = text.replace("**", "").lstrip("<>≤≥−- ")
    return plain[:1].isdigit() or plain in ("", "–")
