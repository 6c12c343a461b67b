# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Render the files that are generated from the models of the configuration.

`python -m kryloset.config.render` writes them. A test fails if they are out of date.
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kryloset.config.models import Config, DatasetConfig
from kryloset.problems.registry import FAMILIES, family_class

#: The dataset of the default configuration.
DEFAULT = ("darcy", DatasetConfig())


def render_files() -> dict[Path, str]:
    """Return the text of each generated file, by its path from the repository's root."""
    return {
        Path("config/config.yaml"): default_config(),
        Path("config/README.md"): config_readme(),
        Path("workflow/schemas/config.schema.json"): schema(),
    }


def schema() -> str:
    """Return the JSON schema of the configuration, including the settings of families."""
    tree = Config.model_json_schema()
    definitions = tree["$defs"]
    for name in FAMILIES:
        settings = family_class(name).Settings
        schema = settings.model_json_schema()
        # JSON resolves references from the root.
        definitions.update(schema.pop("$defs", {}))
        definitions[settings.__name__] = schema
    parameters = definitions["DatasetConfig"]["properties"]["parameters"]
    parameters["anyOf"] = [
        *({"$ref": f"#/$defs/{family_class(name).Settings.__name__}"} for name in FAMILIES),
        {"type": "object", "description": "Settings of your own family."},
    ]
    tree["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    tree["title"] = "Configuration of Kryloset"
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def default_config() -> str:
    """Return the default configuration as YAML, with a comment above each key."""
    name, dataset = DEFAULT
    lines = [
        "# yaml-language-server: $schema=../workflow/schemas/config.schema.json",
        "# All keys with their defaults; `make config` writes them from src/kryloset/config/.",
        "# Your own configuration needs only the keys that differ, as in config/examples/.",
        "",
        *_comment(Config.model_fields["datasets"].description, ""),
        "datasets:",
        f"  {name}:",
        *_yaml_lines(dataset, "    "),
    ]
    return "\n".join(lines) + "\n"


def _yaml_lines(section: BaseModel, indent: str) -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        yield from _comment(field.description, indent)
        value = getattr(section, key)
        if key == "parameters" and isinstance(section, DatasetConfig):
            value = family_class(section.family).Settings.model_validate(value)
        if isinstance(value, BaseModel):
            yield f"{indent}{key}:"
            yield from _yaml_lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def _comment(text: str | None, indent: str) -> list[str]:
    mark = indent + "# "
    return textwrap.wrap(text or "", 88, initial_indent=mark, subsequent_indent=mark)


def config_readme() -> str:
    """Return `config/README.md`, which explains configurations and lists all keys."""
    parts = [
        Path(__file__).with_suffix(".md").read_text().rstrip(),
        "## All keys",
        "Written by `make config` from `src/kryloset/config/models.py`.",
        _table(_rows(Config, "")),
    ]
    for name in FAMILIES:
        settings = family_class(name).Settings
        parts += [
            f"### `parameters` of the family `{name}`",
            family_class(name).equation + ".",
            _table(_rows(settings, "")),
        ]
    return "\n\n".join(parts) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, field in model.model_fields.items():
        name = prefix + key
        if name == "datasets":
            yield f"`{name}`", "", field.description or ""
            yield from _rows(DatasetConfig, "datasets.NAME.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"`{name}`", "", field.description or ""
            yield from _rows(field.annotation, f"{name}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield f"`{name}`", f"`{_flow(default)}`", f"{field.description}{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [
        f"{sign} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, sign in signs.items()
        if isinstance(getattr(constraint, name, None), int | float)
    ]
    return f" ({', '.join(found)})" if found else ""


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    lines = ["| key | default | description |", "| --- | --- | --- |"]
    # A bar would end the cell.
    cells = ((cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in cells])


def main() -> None:
    """Write the files into the repository, which must be the working directory."""
    for path, text in render_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
