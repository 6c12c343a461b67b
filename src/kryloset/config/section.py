# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The base class of all parts of the configuration and of the settings of families."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

#: What the name of a dataset or a split may be: it names a folder or a group.
NAME = r"^[a-z][a-z0-9_]{0,99}$"


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
        # Sections look at their own keys.
        parts = (wanted, *get_args(wanted))
        section = any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts)
        if not section and _has_truth(value) and not _mentions(wanted, (bool, Any)):
            raise ValueError(
                "this key takes no true or false, which YAML also reads from yes, no, on and off: "
                "write a number or a quoted text"
            )
        return value


def _has_truth(value: Any) -> bool:
    """Return whether a value is a truth value, or a list or mapping that contains one."""
    inner = value.values() if isinstance(value, dict) else value
    parts = inner if isinstance(value, dict | list | tuple) else (value,)
    return any(isinstance(part, bool) for part in parts)


def _mentions(annotation: Any, types: tuple[Any, ...]) -> bool:
    return annotation in types or any(_mentions(part, types) for part in get_args(annotation))


def plain_text(text: str) -> str:
    """Return a text of one line; refuse one that HDF5 or a page could not hold."""
    if not text.strip() or not text.isprintable():
        raise ValueError("a text has one line, which is not blank: take out control characters")
    return text


def plain_path(path: str) -> str:
    """Return a path; refuse one that Snakemake or a command would interpret."""
    if not path or path.startswith("-") or not path.isprintable() or set(path) & set("{}<>"):
        raise ValueError(
            "a path must not begin with a hyphen or contain braces, angle brackets or control "
            "characters, which Snakemake and commands interpret: take another path"
        )
    parts = [len(part.encode(errors="replace")) for part in path.split("/")]
    if max(parts) > 255 or sum(parts) + len(parts) > 4096:
        raise ValueError(
            "file systems allow at most 255 bytes in a name and 4095 in a path: take a shorter path"
        )
    return path


def plain_class(name: str) -> str:
    """Return a name, or `path/to/file.py:Class`; refuse a file whose path is not plain."""
    path, colon, attribute = name.rpartition(":")
    if colon:
        plain_path(path)
        if not attribute.isidentifier():
            raise ValueError("what follows the last colon is no class: write path/to/file.py:Class")
    return name
