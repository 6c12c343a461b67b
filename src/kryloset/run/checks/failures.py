# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a check says what is wrong."""

from collections.abc import Iterable, Sequence

from kryloset.errors import DataError

#: How many faults are named.
NAMED = 5


class Faults:
    """What is wrong with single instances, found some of them at a time.

    Args:
        what: What all of these have in common.
    """

    def __init__(self, what: str) -> None:
        """Begin without faults."""
        self._what = what
        self._named: list[str] = []
        self._count = 0

    def add(self, faults: Iterable[tuple[int, str]]) -> None:
        """Add faults of some instances, each the number of an instance and what is wrong."""
        for number, fault in sorted(faults, key=lambda fault: fault[0]):
            self._count += 1
            if len(self._named) < NAMED:
                self._named.append(f"instance {number}: {fault}")

    def refuse(self, others: Sequence[str] = ()) -> None:
        """Fail if anything is wrong, naming the first five.

        Args:
            others: What is wrong that concerns no single instance.

        Raises:
            DataError: Something is wrong.
        """
        named, count = [*self._named, *others][:NAMED], self._count + len(others)
        if count:
            more = f" and {count - len(named)} more" if count > len(named) else ""
            raise DataError(f"{self._what}: {'; '.join(named)}{more}")


def refuse(what: str, wrong: Sequence[str]) -> None:
    """Fail if anything is wrong, naming the first five.

    Args:
        what: What all of these have in common.
        wrong: What is wrong, one by one; perhaps nothing.

    Raises:
        DataError: Something is wrong.
    """
    Faults(what).refuse(wrong)
