# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read YAML safely, whoever wrote it; all configurations are read here.

A few lines of YAML can expand to more than fits in memory (aliases of aliases), or nest deeper than
recursion can follow. Of a duplicate key, plain PyYAML silently drops the first value.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from kryloset.errors import ConfigError

#: Bounds on the characters of a text, levels of nesting, and values with aliases expanded.
_CHARACTERS, _LEVELS, _VALUES = 2**20, 50, 100_000

# The parser in C is ten times as fast.
_Base: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: The file is missing, not UTF-8 text, not YAML, or exceeds the bounds.
    """
    try:
        with path.open("rb") as file:
            data = file.read(4 * _CHARACTERS + 1)
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a YAML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text: byte {error.start} cannot be decoded; save it as UTF-8"
        ) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Parse a YAML text into mappings, lists, strings, numbers, booleans and None.

    Args:
        text: The text.
        source: Where it comes from, for messages.

    Raises:
        ConfigError: It is not YAML, has a duplicate key, or exceeds the bounds.
    """
    if len(text) > _CHARACTERS:
        raise ConfigError(f"{source} is longer than {_CHARACTERS} characters")
    try:
        _measure(text)
        return yaml.load(text, Loader=_Loader)  # a safe one
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The name that PyYAML gives to any text.
        told = str(error).replace('in "<unicode string>", ', "at ")
        raise ConfigError(f"{source} cannot be read as YAML: {told}") from None


def _measure(text: str) -> None:
    """Count levels and values without constructing them."""
    anchors: dict[str, int] = {}
    # For each open level, its anchor and the number of values before it.
    levels: list[tuple[str | None, int]] = []
    values = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            # An anchor that is not complete yet means that the text contains itself.
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
            raise yaml.YAMLError(f"it has more than {_VALUES} values with aliases expanded")


def _place(item: Any) -> str:
    """Return where an event or a node begins."""
    return str(item.start_mark).strip()


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        """Construct a mapping."""
        seen: set[Hashable] = set()
        # Checked before keys of another mapping are merged in, which may occur again.
        for key, _ in node.value:
            known = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if known is not None and known in seen:
                raise yaml.YAMLError(
                    f"the key {key.value!r} comes twice, again {_place(key)}; keep one of them"
                )
            seen.add(known)
        return super().construct_mapping(node, deep=deep)
