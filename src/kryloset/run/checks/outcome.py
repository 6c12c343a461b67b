# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The outcome of checks, and one pass over instances for several checks."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kryloset.dataset.atomic import write_text_whole
from kryloset.dataset.failures import Failure
from kryloset.errors import DataError, KrylosetError
from kryloset.run.checks.group import Group

if TYPE_CHECKING:
    from kryloset.fem.accuracy import Accuracy

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class CheckReport:
    """The outcome of all checks of a dataset.

    Attributes:
        checks: The checks in their order.
        residual_max: Largest true relative residual, recomputed; None if that was impossible.
        digests: SHA-256 by path, as stored in the file; empty if the file is damaged.
        accuracy: What the tolerance means for the error, measured; None if it was not.
        failures: What failed and was drawn again or left out.
    """

    checks: tuple[Check, ...]
    residual_max: float | None
    digests: dict[str, str]
    accuracy: "Accuracy | None" = None
    failures: tuple[Failure, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def write(self, path: Path) -> None:
        """Write the outcome as JSON, `check.json`."""
        tree: dict[str, Any] = {"passed": self.passed, **asdict(self)}
        if self.accuracy is not None:
            tree["accuracy"] = self.accuracy.as_json()
        if not self.failures:
            del tree["failures"]
        write_text_whole(path, json.dumps(tree, indent=2) + "\n")


def require_passed(path: Path, checks: Sequence[Check]) -> None:
    """Log the checks of a file that passed, and raise an error about the others.

    Raises:
        DataError: Checks failed, and the message names them all.
    """
    for check in checks:
        if check.passed:  # The error names the others.
            logger.info("passed %s: %s", check.name, check.detail)
    failed = [f"  {check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise DataError("\n".join([f"{path} failed {len(failed)} of its checks:", *failed]))


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


class Failed:
    """A check that failed before it saw an instance.

    Args:
        error: Why.
    """

    def __init__(self, error: KrylosetError) -> None:
        """Keep the error."""
        self._error = error

    def add(self, group: Group) -> None:
        """Fail.

        Raises:
            KrylosetError: Always.
        """
        raise self._error

    def finish(self) -> str:
        """Fail.

        Raises:
            KrylosetError: Always.
        """
        raise self._error


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
