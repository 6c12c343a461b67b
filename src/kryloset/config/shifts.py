# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The part of a dataset's configuration that declares splits out of its distribution."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from kryloset.config.section import NAME, Section

#: The name of a shift that has none: that of the key.
OOD = "ood"


class ShiftConfig(Section):
    """Instances that are drawn with other settings of the family, in a split of their own."""

    count: int = Field(ge=1, le=10**9, description="Number of instances.")
    parameters: dict[str, Any] = Field(
        min_length=1, description="The settings that differ from `parameters` of the dataset."
    )


def _name_shifts(given: Any) -> Any:
    """Return shifts by name, each with its settings under `parameters`."""
    if not isinstance(given, dict):
        return given
    settings = [key for key, value in given.items() if not isinstance(value, dict | ShiftConfig)]
    if settings and "count" not in settings:
        raise ValueError(
            f"it has no count: write {{{settings[0]}: {given[settings[0]]}, count: 200}}, or for "
            "several shifts their names, each with settings and a count"
        )
    shifts = {OOD: given} if settings else given
    return {name: _gather_settings(shift) for name, shift in shifts.items()}


def _gather_settings(shift: Any) -> Any:
    """Return a shift whose settings may stand beside `count`."""
    if not isinstance(shift, dict):
        return shift
    beside = {key: value for key, value in shift.items() if key not in ShiftConfig.model_fields}
    if not beside:
        return shift
    inner = shift.get("parameters", {})
    both = {**beside, **inner} if isinstance(inner, dict) else inner
    return {key: value for key, value in shift.items() if key not in beside} | {"parameters": both}


#: Shifts by the names of their splits. Settings may stand beside `count`; one shift needs no name.
Shifts = Annotated[
    dict[Annotated[str, Field(pattern=NAME)], ShiftConfig],
    BeforeValidator(_name_shifts),
    WithJsonSchema({"type": "object"}),
]
