# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""From YAML to the models of a configuration and back, with messages for people."""

import difflib
from collections.abc import Mapping, Set
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from kryloset.config.models import NAME, POLICY, Config, DatasetConfig
from kryloset.errors import ConfigError
from kryloset.yaml_text import read_yaml

#: What a pattern asks for, in words.
_IN_WORDS = {
    NAME: "a name has small letters, digits and underscores, begins with a letter, and is no "
    "longer than 100",
    POLICY: "take `measure`, or `replay FILE`",
}


def parse_config(tree: object, source: str = "config") -> Config:
    """Check a configuration.

    Args:
        tree: The mapping that YAML or Snakemake gives.
        source: Where it comes from, for the message.

    Raises:
        ConfigError: What is wrong by key, what was expected and what to do.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe(error, source, _KEYS)) from None


def _keys(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return all keys below a section, from the name alone to the full one."""
    found = {}
    for name, field in model.model_fields.items():
        found[name] = prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            # Of two keys of one name the outer one is likelier to be meant.
            found = _keys(field.annotation, f"{prefix}{name}.") | found
    return found


#: Characters of what was found that a message shows.
_SHOWN = 100

_KEYS = _keys(Config) | _keys(DatasetConfig)


def describe(error: ValidationError, source: str, keys: Mapping[str, str]) -> str:
    """Return one readable message for all that pydantic found.

    Args:
        error: What was found.
        source: Where the configuration comes from.
        keys: The keys there are, from the name alone to the full one.
    """
    lines = [f"{source} cannot be run:"]
    for item in error.errors():
        key = (
            ".".join(_short(str(part)) for part in item["loc"] if part != "[key]") or "(top level)"
        )
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(str(item["loc"][-1]), keys, n=1)
            meant = f": is `{keys[nearest[0]]}` meant?" if nearest else ""
            message = f"no such key{meant}; `kryloset config` lists all"
        if item["type"] == "string_pattern_mismatch":
            message = _IN_WORDS.get(item["ctx"]["pattern"], message)
        given = item["input"]
        shown = "" if isinstance(given, dict | BaseModel) else f" (found {_short(repr(given))})"
        lines.append(f"  {key}: {message}{shown}")
    return "\n".join(lines)


def _short(text: str) -> str:
    """Return the beginning of a text that is too long for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def load_config(path: Path) -> Config:
    """Read and check a YAML file.

    Raises:
        ConfigError: As `read_yaml`, or the configuration cannot be run.
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
    """Return one dataset with all its defaults as the YAML text of a configuration.

    Args:
        name: Name of the dataset.
        dataset: The dataset.
        keys: The keys to write; all by default.
    """
    include = None if keys is None else set(keys)
    tree = {"datasets": {name: dataset.model_dump(mode="json", include=include)}}
    return yaml.safe_dump(tree, sort_keys=False)
