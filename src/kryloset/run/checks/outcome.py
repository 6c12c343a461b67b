# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The outcome of checks, and one pass over instances for several checks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from kryloset.errors import KrylosetError
from kryloset.run.checks.group import Group


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        passed: Whether all was right.
        detail: What was found, or what is wrong.
    """

    name: str
    passed: bool
    detail: str


class Content(Protocol):
    """A check of the instances of a file, which sees a group of them at a time."""

    def add(self, group: Group) -> None:
        """See the next instances.

        Raises:
            KrylosetError: The check cannot go on.
        """

    def finish(self) -> str:
        """Return what was found in all instances.

        Raises:
            KrylosetError: Something is wrong.
        """


def attempt(name: str, work: Callable[[], str]) -> Check:
    """Return the outcome of a check that returns what it found, or raises an error."""
    try:
        return Check(name, True, work())
    except KrylosetError as error:
        return Check(name, False, str(error))


def examine_groups(groups: Iterable[Group], contents: Mapping[str, Content]) -> list[Check]:
    """Run several checks in one pass.

    Args:
        groups: The instances. They are read once.
        contents: The checks by name. One that raises an error sees no further group.

    Returns:
        The outcomes, in the order of the checks.
    """
    failed: dict[str, Check] = {}
    for group in groups:
        for name, content in contents.items():
            if name in failed:
                continue
            found = attempt(name, partial(_add, content, group))
            if not found.passed:
                failed[name] = found
    return [failed.get(name) or attempt(name, one.finish) for name, one in contents.items()]


def _add(content: Content, group: Group) -> str:
    content.add(group)
    return ""
