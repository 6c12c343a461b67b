# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A tuple of numbers that grows by one number at a time, in constant time."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Self, overload


class GrowingTuple(Sequence[int]):
    """An immutable sequence of ints. A copy with one more number is made in constant time.

    Sequences that grew from one another share storage; each uses the beginning of it.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        """Hold these numbers."""
        self._shared = array("q", numbers)
        self._length = len(self._shared)

    def plus(self, number: int) -> Self:
        """Return the numbers with one more at the end."""
        grown = type(self).__new__(type(self))
        # If another sequence has already grown from this one, the storage is copied.
        fresh = len(self._shared) == self._length
        grown._shared = self._shared if fresh else self._shared[: self._length]
        grown._shared.append(number)
        grown._length = self._length + 1
        return grown

    def __len__(self) -> int:
        """Return the number of ints."""
        return self._length

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[int, ...]: ...
    def __getitem__(self, place: int | slice) -> int | tuple[int, ...]:
        """Return the number there, or several of them."""
        places = range(self._length)[place]
        if isinstance(places, range):
            return tuple(self._shared[i] for i in places)
        return self._shared[places]

    def __eq__(self, other: Any) -> bool:
        """Return whether the other sequence has the same numbers."""
        return isinstance(other, GrowingTuple | tuple) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        """Return the expression that makes it."""
        return f"GrowingTuple({tuple(self)})"
