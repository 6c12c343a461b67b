# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Descriptions of the families for the command line."""

from textwrap import wrap

from pydantic import BaseModel

from kryloset.problems.base import Family
from kryloset.problems.registry import FAMILIES, family_class


def list_families() -> str:
    """Return one line for each family of the package."""
    width = max(map(len, FAMILIES))
    lines = [f"{name:{width}}  {family_class(name).summary}" for name in FAMILIES]
    return "\n".join([*lines, "", "A family of your own: family: path/to/file.py:Class"])


def describe_family(name: str) -> str:
    """Describe a family: equation, parameters, fields, operator and settings.

    Raises:
        ConfigError: There is no such family.
    """
    family = family_class(name)
    lines = [f"{name}: {family.summary}", "", f"  {family.equation}", ""]
    lines += [*describe_variables(family), "", "parameters:"]
    for key, field in family.Settings.model_fields.items():
        lines.append(
            f"  {key}: {field.get_default(call_default_factory=True)}    # {field.description}"
        )
    return "\n".join(lines)


def describe_variables(family: Family | type[Family]) -> list[str]:
    """Return lines that say what a family draws and solves for, and what its operator is."""
    lines = []
    for title, variables in (("draws", family.parameters), ("solves for", family.fields)):
        for variable in variables:
            axes = f" over {', '.join(variable.dimensions)}" if variable.dimensions else ""
            lines.append(
                f"  {title} {variable.name}: {variable.long_name}{axes} [{variable.units}]"
            )
    traits = vars(family.operator).items()
    known = [trait.replace("_", " ") for trait, holds in traits if holds not in (False, "none")]
    lines.append(f"  operator: {', '.join(known) or 'nothing is known of it'}")
    if family.may_be_periodic:
        lines.append(f"  may be periodic along {', '.join(family.may_be_periodic)}")
    return lines


def describe_settings(settings: BaseModel) -> list[str]:
    """Return lines that list settings with values, defaults and descriptions, units included."""
    lines, indent = [], " " * 6
    for key, field in type(settings).model_fields.items():
        value, default = getattr(settings, key), field.get_default(call_default_factory=True)
        other = "" if value == default else f" (default {default!r})"
        lines.append(f"  {key} = {value!r}{other}")
        text = field.description or ""
        lines += wrap(text, 92, initial_indent=indent, subsequent_indent=indent)
    return lines
