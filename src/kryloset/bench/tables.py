# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Rows as Markdown tables that are read well in a terminal, too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

type Row = dict[str, Any]
"""Figures by name, ready for JSON."""

type Columns = Mapping[str, str | Callable[[Mapping[str, Any]], str]]
"""By heading a key and a format, such as "ms:.2f", or a function of the row.

A key may go down into a row in a row: "matrix.ratio:.1f". A factor may follow the format, as in
"seconds:.2f*1000".
"""


def tabulate(rows: Sequence[Mapping[str, Any]], columns: Columns) -> str:
    """Return rows as a table; a last column in which nothing stands is left out."""
    lines = [[cell(row, column) for column in columns.values()] for row in rows]
    header = list(columns)
    while header and not any(line[-1] for line in lines):
        header, lines = header[:-1], [line[:-1] for line in lines]
    return table(header, lines)


def cell(row: Mapping[str, Any], column: str | Callable[[Mapping[str, Any]], str]) -> str:
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
    columns = list(zip(header, *rows, strict=True))
    right = [all(map(_is_number, column[1:])) for column in columns]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = [
        f"{'-' * (width - 1)}:" if to_right else "-" * width
        for width, to_right in zip(widths, right, strict=True)
    ]
    lines = [
        [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        for line in (header, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _is_number(text: str) -> bool:
    plain = text.replace("**", "").lstrip("<>≤≥−- ")
    return plain[:1].isdigit() or plain in ("", "–")
