# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that write no file over one that they read, nor two results into one file."""

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.models import OptionInfo

from kryloset.errors import ConfigError


class Commands(typer.Typer):
    """Commands whose written paths are those with `writable=True`; they read the others."""

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """Return what makes a function a command, which refuses a written path named twice."""
        add = super().command(name, **options)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(function)
            def checked(**given: Any) -> Any:
                _require_apart(get_type_hints(function, include_extras=True), given)
                return function(**given)

            add(checked)
            return function

        return decorate


def _require_apart(hints: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a path that is written and is named for something else, too.

    Raises:
        ConfigError: There is one.
    """
    found: dict[Path, tuple[str, bool]] = {}
    for name, value in given.items():
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, Path):
                continue
            (info,) = hints[name].__metadata__
            is_option = isinstance(info, OptionInfo)
            told = f"--{name.replace('_', '-')}" if is_option else f"`{name}`"
            other, written = found.setdefault(path.resolve(), (told, info.writable))
            if other != told and (written or info.writable):
                raise ConfigError(
                    f"{told} {path} is {other}, too: give what is written a name of its own"
                )
