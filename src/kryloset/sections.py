# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The help of a group of commands: by section, with whole sentences, and as plain text.

Typer's own help in boxes starts four libraries for it, which takes longer than the command.
"""

from typing import Any

from typer.core import TyperGroup


class Sections(TyperGroup):
    """A group of commands whose help lists them under the titles given as `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, in the order in which they were added."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            title = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(title, []).append((name, command.get_short_help_str(limit=1000)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
