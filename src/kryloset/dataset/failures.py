# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances that failed as they were drawn or solved, and were drawn again.

Each failure of an instance moves it to the next attempt (`kryloset.sampling.generator`), so the
failures alone say by which attempt an instance was drawn.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

from kryloset.errors import DataError

logger = logging.getLogger(__name__)

type Stage = Literal["draw", "solve"]

#: What was done with an instance when it failed.
STAGES: tuple[Stage, ...] = ("draw", "solve")
#: Failures that a message names.
_NAMED = 10


@dataclass(frozen=True, order=True)
class Failure:
    """An instance that failed.

    Attributes:
        instance: Its number.
        attempt: How often it had failed before.
        stage: `draw` or `solve`.
        reason: What was wrong.
    """

    instance: int
    attempt: int
    stage: Stage
    reason: str

    def __str__(self) -> str:
        """Return the failure as a line for people."""
        doing = "drawn" if self.stage == "draw" else "solved"
        again = f", attempt {self.attempt}" if self.attempt else ""
        return f"instance {self.instance}{again}, as it was {doing}: {self.reason}"


class Failures:
    """The failures of a run so far, of which a few are allowed.

    Attributes:
        attempts: By instance how often it failed, and so which attempt is the next.
    """

    def __init__(self, allowed: int = 0, known: Iterable[Failure] = ()) -> None:
        """Begin with what is known.

        Args:
            allowed: How many failures are allowed.
            known: Those that are known already.

        Raises:
            DataError: There are more than are allowed.
        """
        self.attempts: Counter[int] = Counter()
        self._allowed = allowed
        self._found: list[Failure] = []
        self.update(known)

    def __len__(self) -> int:
        """Return the number of failures."""
        return len(self._found)

    def __iter__(self) -> Iterator[Failure]:
        """Yield the failures as they were found."""
        return iter(self._found)

    def since(self, count: int) -> list[Failure]:
        """Return the failures after the first ones."""
        return self._found[count:]

    def add(self, instance: int, stage: Stage, error: Exception) -> None:
        """Add the failure of the present attempt of an instance.

        Raises:
            DataError: There are now more than are allowed.
            Exception: The error itself, if none is allowed.
        """
        if not self._allowed:
            logger.warning("the run stops; `on_failure: redraw` draws another instance instead")
            raise error
        reason = str(error).removeprefix(f"instance {instance}: ")
        self._append(Failure(instance, self.attempts[instance], stage, reason))

    def update(self, failures: Iterable[Failure]) -> None:
        """Add failures that another process or an earlier one found, each attempt once.

        Raises:
            DataError: There are now more than are allowed.
        """
        for failure in failures:
            if failure.attempt == self.attempts[failure.instance]:
                self._append(failure)

    def _append(self, failure: Failure) -> None:
        self._found.append(failure)
        self.attempts[failure.instance] += 1
        if len(self) > self._allowed:
            named = "".join(f"\n  {one}" for one in self._found[-_NAMED:])
            raise DataError(
                f"{len(self)} instances failed, and {self._allowed or 'none'} may (on_failure, "
                f"failure_limit): draw milder parameters, or raise the limit. The last ones:{named}"
            )


def count_attempts(failures: Iterable[Failure]) -> Counter[int]:
    """Return by instance how often it failed, and so which attempt is the one that is stored."""
    return Counter(failure.instance for failure in failures)


def describe_failures(failures: Sequence[Failure]) -> str:
    """Say how many instances failed at which stage."""
    drawn = sum(failure.stage == "draw" for failure in failures)
    return (
        f"{len({failure.instance for failure in failures})} instances were drawn again: {drawn} "
        f"failures in drawing and {len(failures) - drawn} in solving"
    )


def dump_failures(failures: Iterable[Failure]) -> str:
    """Return failures as JSON, ascending by instance and attempt."""
    return json.dumps([astuple(failure) for failure in sorted(failures)])


def parse_failures(text: str, source: str) -> tuple[Failure, ...]:
    """Return what `dump_failures` was given.

    Args:
        text: The JSON.
        source: Where it comes from, as the message names it.

    Raises:
        DataError: It is something else.
    """
    try:
        found = tuple(_failure(*row) for row in json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{source} is not a list of failures: {error}") from None
    return found


def require_consecutive(failures: Sequence[Failure], count: int) -> None:
    """Refuse failures of no instance, or of an attempt that was not the next.

    Raises:
        DataError: There are any.
    """
    attempts: Counter[int] = Counter()
    for failure in failures:
        if failure.instance >= count or failure.attempt != attempts[failure.instance]:
            raise DataError(f"there is no such attempt to fail: {failure}")
        attempts[failure.instance] += 1


def _failure(instance: Any, attempt: Any, stage: Any, reason: Any) -> Failure:
    numbers = all(type(number) is int and number >= 0 for number in (instance, attempt))
    if not numbers or stage not in STAGES or not isinstance(reason, str):
        raise ValueError(f"{instance!r}, {attempt!r}, {stage!r} is no failure")
    return Failure(instance, attempt, stage, reason)
