# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Read a configuration from YAML and write it, with messages for people."""

import difflib
import re
from collections.abc import Collection, Set
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from kryloset.config.instances import ARRAY
from kryloset.config.models import Config, DatasetConfig
from kryloset.config.section import NAME
from kryloset.config.solver import POLICY
from kryloset.errors import ConfigError
from kryloset.yaml_text import read_yaml

#: What each pattern requires, in words.
_IN_WORDS = {
    NAME: "a name consists of lower-case letters, digits and underscores, begins with a letter, "
    "and has at most 100 characters",
    POLICY: "take `measure`, or `replay FILE`",
    ARRAY: "write the name of an array, or name and place as in `tensor[0]`",
}


def parse_config(tree: object, source: str = "config") -> Config:
    """Check a configuration.

    Args:
        tree: The mapping from YAML or Snakemake.
        source: Where it comes from, as messages name it.

    Raises:
        ConfigError: Something is wrong. The message says for each key what was expected and what
            to do.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe(error, source, _KEYS)) from None


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the full names of all keys below a section."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _keys(field.annotation, f"{prefix}{name}.")
    return found


#: Parts of a location that say which of several types, or a key, was checked.
_TAG = re.compile(r"\[key\]|literal\[|tuple\[|constrained-|function-")

#: Characters of a value that a message shows.
_SHOWN = 100

_KEYS = (*_keys(Config), *_keys(DatasetConfig))


def describe(
    error: ValidationError,
    source: str,
    keys: Collection[str],
    command: str = "kryloset config",
) -> str:
    """Return a readable message for all errors that pydantic found.

    Args:
        error: The errors.
        source: Where the configuration comes from, as the message names it.
        keys: Full names of the existing keys.
        command: What lists them.
    """
    lines = [f"{source} cannot be run:"]
    for item in error.errors():
        parts = map(str, item["loc"])
        key = ".".join(_short(part) for part in parts if not _TAG.match(part)) or "(top level)"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            nearest = _find_nearest(str(item["loc"][-1]), key.rpartition(".")[0], keys)
            meant = f": is `{nearest}` meant?" if nearest else ""
            message = f"no such key{meant}; `{command}` lists all"
        if item["type"] == "string_pattern_mismatch":
            message = _IN_WORDS.get(item["ctx"]["pattern"], message)
        given = item["input"]
        shown = "" if isinstance(given, dict | BaseModel) else f" (found {_short(repr(given))})"
        lines.append(f"  {key}: {message}{shown}")
    return "\n".join(lines)


def _find_nearest(name: str, section: str, keys: Collection[str]) -> str:
    """Return the full name of the key whose short name is the nearest to one; "" if none is near.

    Of two keys with the same name, that of the same section is meant, or else the outer one.
    """
    names = [key.rpartition(".")[2] for key in keys]
    near = difflib.get_close_matches(name, names, n=1)

    def distance(key: str) -> tuple[bool, int]:
        of = key.rpartition(".")[0]
        return not (of and section.endswith(of)), key.count(".")

    same = [key for key, short in zip(keys, names, strict=True) if short in near]
    return min(same, key=distance, default="")


def _short(text: str) -> str:
    """Return a text, or its beginning if it is too long for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def load_config(path: Path) -> Config:
    """Read and check a YAML file.

    Raises:
        ConfigError: As `read_yaml`, or the configuration is invalid.
    """
    tree = read_yaml(path)
    return parse_config(tree if tree is not None else {}, str(path))


def load_dataset(path: Path, name: str) -> DatasetConfig:
    """Read one dataset of a YAML file.

    Raises:
        ConfigError: As `load_config`, or the file has no dataset of that name.
    """
    datasets = load_config(path).datasets
    if name not in datasets:
        raise ConfigError(f"{path} has no dataset {name!r}; it has {', '.join(datasets)}")
    return datasets[name]


def dump_dataset(name: str, dataset: DatasetConfig, keys: Set[str] | None = None) -> str:
    """Return the YAML text of a configuration with one dataset and all its defaults.

    Args:
        name: Name of the dataset.
        dataset: The dataset.
        keys: The keys to write; all by default.
    """
    include = None if keys is None else set(keys)
    tree = {"datasets": {name: dataset.model_dump(mode="json", include=include)}}
    return yaml.safe_dump(tree, sort_keys=False)
