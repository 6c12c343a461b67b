# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Descriptions of the networks for the command line."""

from inspect import getdoc

from kryloset.learn.models.registry import MODELS, model_class, on_points


def list_models() -> str:
    """Return one line for each network of the package.

    Raises:
        MissingLibraryError: torch is not installed.
    """
    width = max(map(len, MODELS))
    lines = [f"{name:{width}}  {_paragraphs(name)[0]}" for name in MODELS]
    return "\n".join([*lines, "", "A model of your own: model: path/to/file.py:Class"])


def describe_model(name: str) -> str:
    """Describe a network: what it is, what it learns on, and its settings.

    Raises:
        ConfigError: There is no such network.
        MissingLibraryError: torch is not installed.
    """
    kind = model_class(name)
    where = "a grid or a mesh" if on_points(kind) else "a grid"
    lines = [f"{name}: {_paragraphs(name)[0]}", "", *_paragraphs(name)[1:], ""]
    lines += [f"  works on {where}", f"  learning_rate: {kind.learning_rate:g}", "", "settings:"]
    for key, field in kind.Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        lines.append(f"  {key}: {default}    # {field.description}")
    return "\n".join(lines)


def _paragraphs(name: str) -> list[str]:
    """Return the docstring of a network as its first line and the lines after it."""
    summary, _, rest = (getdoc(model_class(name)) or "").partition("\n")
    return [summary, *rest.strip().splitlines()]
