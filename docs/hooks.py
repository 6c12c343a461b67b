# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What mkdocs cannot do by itself: formulas as MathML, and the page of the command line."""

import html
import re

import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from typer.main import get_command

from kryloset.cli import app

#: Formulas as `pymdownx.arithmatex` leaves them: \[ display \] and \( inline \).
FORMULA = re.compile(r"\\\[(?P<block>.+?)\\\]|\\\((?P<inline>.+?)\\\)", re.DOTALL)
ARITHMATEX = re.compile(r'(<(?P<tag>div|span) class="arithmatex">)(.*?)(</(?P=tag)>)', re.DOTALL)


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the formulas of a page into MathML, which browsers draw without a script."""
    return ARITHMATEX.sub(lambda match: match[1] + _draw(match[3]) + match[4], text)


def _draw(formula: str) -> str:
    match = FORMULA.search(formula)
    assert match, formula
    display = "block" if match["block"] else "inline"
    return convert(html.unescape(match["block"] or match["inline"]).strip(), display=display)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of the command line, which the commands write themselves."""
    command = get_command(app)
    context = typer.Context(command)
    content = get_docs_for_click(obj=command, ctx=context, name="kryloset", title="Command line")
    content = content.replace("[default:", r"\[default:")  # no link
    files.append(File.generated(config, "reference/command_line.md", content=content))
    return files
