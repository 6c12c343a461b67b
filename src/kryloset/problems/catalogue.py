# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The families in words, for the command line."""

from kryloset.problems.registry import FAMILIES, family_class


def list_families() -> str:
    """Return a line a family of the package."""
    width = max(map(len, FAMILIES))
    lines = [f"{name:{width}}  {family_class(name).summary}" for name in FAMILIES]
    return "\n".join([*lines, "", "A family of your own: family: path/to/file.py:Class"])


def describe_family(name: str) -> str:
    """Return what a family is: equation, parameters, fields, operator and settings.

    Raises:
        ConfigError: There is no such family.
    """
    family = family_class(name)
    lines = [f"{name}: {family.summary}", "", f"  {family.equation}", ""]
    for title, variables in (("draws", family.parameters), ("solves for", family.fields)):
        for variable in variables:
            axes = f" over {', '.join(variable.dimensions)}" if variable.dimensions else ""
            lines.append(
                f"  {title} {variable.name}: {variable.long_name}{axes} [{variable.units}]"
            )
    traits = vars(family.operator).items()
    known = [trait.replace("_", " ") for trait, holds in traits if holds not in (False, "none")]
    lines += [f"  operator: {', '.join(known) or 'nothing is known of it'}", "", "parameters:"]
    for key, field in family.Settings.model_fields.items():
        lines.append(
            f"  {key}: {field.get_default(call_default_factory=True)}    # {field.description}"
        )
    return "\n".join(lines)
