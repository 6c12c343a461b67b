# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What all parts of the configuration have in common, including the settings of families."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `yes` where a number is expected, since Python would read it as 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        section = isinstance(wanted, type) and issubclass(wanted, BaseModel)
        if not section and _has_truth(value) and not _mentions(wanted, (bool, Any)):
            raise ValueError(
                "true or false (also yes, no, on, off) is not a value of this key: write a number "
                "or a text"
            )
        return value


def _has_truth(value: Any) -> bool:
    """Return whether a value is a truth value, or a list or mapping that contains one."""
    inner = value.values() if isinstance(value, dict) else value
    parts = inner if isinstance(value, dict | list | tuple) else (value,)
    return any(isinstance(part, bool) for part in parts)


def _mentions(annotation: Any, types: tuple[Any, ...]) -> bool:
    return annotation in types or any(_mentions(part, types) for part in get_args(annotation))


def plain_path(path: str) -> str:
    """Refuse a path that means something else to Snakemake or to a command."""
    if not path or path.startswith("-") or not path.isprintable() or set(path) & set("{}<>"):
        raise ValueError(
            "a path here must not begin with a hyphen, and have no braces, angle brackets or "
            "control characters, which mean something to Snakemake or to commands: take another"
        )
    parts = [len(part.encode(errors="replace")) for part in path.split("/")]
    if max(parts) > 255 or sum(parts) + len(parts) > 4096:
        raise ValueError(
            "no file system has names of more than 255 bytes, or paths of more than 4095: take a "
            "shorter one"
        )
    return path
