# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""YAML read within bounds, whoever wrote it: the one way for configurations, also those in files.

A few lines of YAML can mean more than a machine's memory holds (aliases of aliases), or more
levels than a program can call itself; a key that comes twice silently loses the first.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from kryloset.errors import ConfigError

#: Characters of a text, levels of nesting, and values in all, aliases written out.
_CHARACTERS, _LEVELS, _VALUES = 2**20, 50, 100_000

# The parser in C is ten times as fast.
_Base: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: The file is missing, no text in UTF-8, no YAML, or beyond the bounds.
    """
    try:
        with path.open("rb") as file:
            data = file.read(4 * _CHARACTERS + 1)
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a YAML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8: byte {error.start} is part of no letter; save it as UTF-8"
        ) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return what a YAML text means: mappings, lists, texts, numbers, truth values, None.

    Args:
        text: The text.
        source: Where it comes from, for the message.

    Raises:
        ConfigError: It is no YAML, names a key twice, or is beyond the bounds.
    """
    if len(text) > _CHARACTERS:
        raise ConfigError(f"{source} is longer than {_CHARACTERS} characters")
    try:
        _measure(text)
        return yaml.load(text, Loader=_Loader)  # a safe one
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML calls any text so.
        told = str(error).replace('in "<unicode string>", ', "at ")
        raise ConfigError(f"{source} cannot be read as YAML: {told}") from None


def _measure(text: str) -> None:
    """Count levels and values without making any."""
    anchors: dict[str, int] = {}
    # For each level that is open: its anchor, and the number of values before it.
    levels: list[tuple[str | None, int]] = []
    values = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            # Of one that is not complete yet the text contains itself.
            values += anchors.get(str(event.anchor), _VALUES)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                anchors[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            levels.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = levels.pop()
            if anchor:
                anchors[anchor] = values - before
        if len(levels) > _LEVELS:
            raise yaml.YAMLError(f"it nests more than {_LEVELS} levels {_place(event)}")
        if values > _VALUES:
            raise yaml.YAMLError(f"it means more than {_VALUES} values, aliases written out")


def _place(item: Any) -> str:
    """Return where an event or a node begins."""
    return str(item.start_mark).strip()


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader that refuses a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        """Make a mapping."""
        seen: set[Hashable] = set()
        # Before keys of another mapping are merged in, which may come again.
        for key, _ in node.value:
            known = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if known is not None and known in seen:
                raise yaml.YAMLError(
                    f"the key {key.value!r} comes twice, again {_place(key)}; keep one of them"
                )
            seen.add(known)
        return super().construct_mapping(node, deep=deep)
