# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Instances that failed as they were drawn or solved, and were drawn again or left out.

Each failure of an instance moves it to the next attempt (`kryloset.sampling.generator`), so the
failures alone say by which attempt an instance was drawn, and which numbers a dataset lacks.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kryloset.errors import DataError

logger = logging.getLogger(__name__)

type Stage = Literal["draw", "solve"]

#: What was done with an instance when it failed.
STAGES: tuple[Stage, ...] = ("draw", "solve")
#: Failures that a message names.
_NAMED = 10
#: What the JSON of a failure ends with, if the instance was left out.
_LEFT_OUT = "left out"


@dataclass(frozen=True, order=True)
class Failure:
    """An instance that failed.

    Attributes:
        instance: Its number.
        attempt: How often it had failed before.
        stage: `draw` or `solve`.
        reason: What was wrong.
        left_out: Whether the dataset has no instance of that number, instead of another attempt.
    """

    instance: int
    attempt: int
    stage: Stage
    reason: str
    left_out: bool = False

    def __str__(self) -> str:
        """Return the failure as a line for people."""
        doing = "drawn" if self.stage == "draw" else "solved"
        again = f", attempt {self.attempt}" if self.attempt else ""
        then = " (left out)" if self.left_out else ""
        return f"instance {self.instance}{again}, as it was {doing}: {self.reason}{then}"


class Failures:
    """The failures of a run so far, of which a few are allowed.

    Attributes:
        attempts: By instance how often it failed, and so which attempt is the next.
        left_out: The instances that are not drawn again.
    """

    def __init__(
        self, allowed: int = 0, known: Iterable[Failure] = (), *, leave_out: bool = False
    ) -> None:
        """Begin with what is known.

        Args:
            allowed: How many failures are allowed.
            known: Those that are known already.
            leave_out: Whether what fails from now on is left out, and not drawn again.

        Raises:
            DataError: There are more than are allowed.
        """
        self.attempts: Counter[int] = Counter()
        self.left_out: set[int] = set()
        self._leave_out = leave_out
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
            logger.warning(
                "the run stops; `on_failure: redraw` draws another instance instead, and "
                "`on_failure: skip` leaves this one out"
            )
            raise error
        reason = str(error).removeprefix(f"instance {instance}: ")
        self._append(Failure(instance, self.attempts[instance], stage, reason, self._leave_out))

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
        if failure.left_out:
            self.left_out.add(failure.instance)
        if len(self) > self._allowed:
            named = "".join(f"\n  {one}" for one in self._found[-_NAMED:])
            raise DataError(
                f"{len(self)} instances failed, and {self._allowed or 'none'} may (on_failure, "
                f"failure_limit): draw milder parameters, or raise the limit. The last ones:{named}"
            )


def count_attempts(failures: Iterable[Failure]) -> Counter[int]:
    """Return by instance how often it failed, and so which attempt is the one that is stored."""
    return Counter(failure.instance for failure in failures)


def stored_numbers(count: int, failures: Iterable[Failure]) -> NDArray[np.int64]:
    """Return the numbers of the instances that a dataset has, ascending.

    Args:
        count: How many instances are drawn.
        failures: Those that failed.
    """
    left_out = [failure.instance for failure in failures if failure.left_out]
    return np.setdiff1d(np.arange(count), np.array(left_out, np.int64))


def describe_failures(failures: Sequence[Failure]) -> str:
    """Say how many instances failed at which stage, and what was done."""
    left_out = {failure.instance for failure in failures if failure.left_out}
    again = len({failure.instance for failure in failures} - left_out)
    done = [f"{again} instances were drawn again"] if again else []
    done += [f"{len(left_out)} instances were left out"] if left_out else []
    drawn = sum(failure.stage == "draw" for failure in failures)
    return (
        f"{' and '.join(done)}: {drawn} failures in drawing and {len(failures) - drawn} in solving"
    )


def dump_failures(failures: Iterable[Failure]) -> str:
    """Return failures as JSON, ascending by instance and attempt."""
    return json.dumps([_row(failure) for failure in sorted(failures)])


def _row(failure: Failure) -> tuple[Any, ...]:
    """Return a failure as a list of four, or of five where the instance was left out."""
    *row, left_out = astuple(failure)
    return (*row, _LEFT_OUT) if left_out else (*row,)


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
    left_out: set[int] = set()
    for failure in failures:
        index = failure.instance
        if index >= count or failure.attempt != attempts[index] or index in left_out:
            raise DataError(f"there is no such attempt to fail: {failure}")
        attempts[index] += 1
        if failure.left_out:
            left_out.add(index)


def _failure(instance: Any, attempt: Any, stage: Any, reason: Any, *then: Any) -> Failure:
    numbers = all(type(number) is int and number >= 0 for number in (instance, attempt))
    told = isinstance(reason, str) and then in ((), (_LEFT_OUT,))
    if not numbers or stage not in STAGES or not told:
        raise ValueError(f"{instance!r}, {attempt!r}, {stage!r} is no failure")
    return Failure(instance, attempt, stage, reason, bool(then))
