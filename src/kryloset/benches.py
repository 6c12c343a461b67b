# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The group `kryloset bench`, whose commands are made where one is asked for."""

from collections.abc import MutableMapping
from functools import cached_property
from typing import Any

import typer

from kryloset.sections import Sections


class Benches(Sections):
    """The commands of `kryloset bench`, made when they are looked at: no stage waits for them."""

    def __init__(self, **settings: Any) -> None:
        """Make the group without its commands."""
        super().__init__(**settings)
        # What the group was given, which is nothing, would hide the property.
        del self.commands

    @cached_property
    def commands(self) -> MutableMapping[str, Any]:  # type: ignore[override]  # of an attribute
        """Commands by name."""
        from typer.main import get_group

        from kryloset.bench.command_line import bench

        return get_group(bench).commands


benches = typer.Typer(
    help="Measurements of what the package promises.",
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Benches,
)
