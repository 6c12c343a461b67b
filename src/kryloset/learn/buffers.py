# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Buffers between what solves instances and what learns from them.

All but `Balanced` are those of Meyer et al., "Training deep surrogate models with large scale
online learning", ICML 2023, section 3 and algorithm 1. All random choices are of one generator, so
that the same pairs in the same order give the same batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

#: A pair, as an item of `FieldPairs`.
type Item = dict[str, Tensor]


class Buffer(ABC):
    """Pairs that may be learnt from.

    Args:
        capacity: Most pairs that it holds.
        threshold: Pairs that it must hold before a batch is taken, as long as more will come.
        generator: Makes the random choices.

    Attributes:
        over: Whether no more pairs will come.
    """

    def __init__(self, capacity: int, threshold: int, generator: torch.Generator) -> None:
        """Begin without pairs."""
        self.capacity = capacity
        self.threshold = threshold
        self.generator = generator
        self.over = False
        self._items: list[Item] = []

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Take a pair, unless there is no room before others are learnt from."""
        if len(self) == self.capacity:
            return False
        self._items.append(item)
        return True

    def is_ready(self, size: int) -> bool:
        """Return whether a batch of some pairs may be taken."""
        enough = 1 if self.over else min(max(size, self.threshold), self.capacity)
        return len(self) >= enough

    @abstractmethod
    def take(self, size: int) -> list[Item]:
        """Return a batch of at most some pairs."""

    def state(self) -> dict[str, Any]:
        """Return the content, with all pairs in one array for each of their keys."""
        keys = self._items[0] if self._items else ()
        items = {key: torch.stack([item[key] for item in self._items]) for key in keys}
        return {"items": items, "generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the content that `state` returned."""
        columns = state["items"]
        rows = zip(*columns.values(), strict=True)
        # Copied: a row would keep all others in memory.
        self._items = [
            {key: row.clone() for key, row in zip(columns, of_pair, strict=True)}
            for of_pair in rows
        ]
        self.generator.set_state(state["generator"])

    def _draw(self, size: int) -> list[int]:
        """Return the places of some pairs in random order."""
        places: list[int] = torch.randperm(len(self), generator=self.generator)[:size].tolist()
        return places


class FirstInFirstOut(Buffer):
    """Each pair is learnt from once, in the order in which it came."""

    def take(self, size: int) -> list[Item]:
        """Return the oldest pairs, which leave."""
        batch, self._items = self._items[:size], self._items[size:]
        return batch


class FirstInRandomOut(Buffer):
    """Each pair is learnt from once, in random order."""

    def take(self, size: int) -> list[Item]:
        """Return random pairs, which leave."""
        places = self._draw(size)
        batch = [self._items[place] for place in places]
        for place in sorted(places, reverse=True):
            del self._items[place]
        return batch


class Reservoir(Buffer):
    """Pairs are learnt from as often as they are drawn.

    A new pair takes the place of a random one that was learnt from.
    """

    def __init__(self, capacity: int, threshold: int, generator: torch.Generator) -> None:
        """Begin without pairs."""
        super().__init__(capacity, threshold, generator)
        self._times: list[int] = []  # that each pair was learnt from

    def put(self, item: Item) -> bool:
        """Take a pair, unless the buffer is full of pairs that were not learnt from."""
        if super().put(item):
            self._times.append(0)
            return True
        leaving = self._leaving()
        if not leaving:
            return False
        place = leaving[int(torch.randint(len(leaving), (), generator=self.generator))]
        self._items[place], self._times[place] = item, 0
        return True

    def take(self, size: int) -> list[Item]:
        """Return random pairs, which stay."""
        places = self._draw(size)
        for place in places:
            self._times[place] += 1
        return [self._items[place] for place in places]

    def state(self) -> dict[str, Any]:
        """Return the content."""
        return super().state() | {"times": self._times}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the content that `state` returned."""
        super().restore(state)
        self._times = list(state["times"])

    def _leaving(self) -> list[int]:
        """Return the places of the pairs one of which may leave."""
        return [place for place, times in enumerate(self._times) if times]


class Balanced(Reservoir):
    """A reservoir that makes up for the draws that later pairs have missed.

    A pair that was learnt from n times is drawn with a probability in proportion to 1 / (n + 1). A
    new pair takes the place of one of those that were learnt from most often.
    """

    def _draw(self, size: int) -> list[int]:
        weights = 1 / (1 + torch.tensor(self._times, dtype=torch.float64))
        count = min(size, len(self))
        places: list[int] = torch.multinomial(weights, count, generator=self.generator).tolist()
        return places

    def _leaving(self) -> list[int]:
        most = max(1, *self._times)
        return [place for place, times in enumerate(self._times) if times == most]


def make_buffer(
    name: Literal["balanced", "reservoir", "firo", "fifo"],
    *,
    capacity: int,
    threshold: int,
    generator: torch.Generator,
) -> Buffer:
    """Return a buffer by its name in the configuration."""
    kinds: dict[str, type[Any]] = {
        "balanced": Balanced,
        "reservoir": Reservoir,
        "firo": FirstInRandomOut,
        "fifo": FirstInFirstOut,
    }
    made: Buffer = kinds[name](capacity, threshold, generator)
    return made
