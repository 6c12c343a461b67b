# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shuffled batches, which several processes share."""

from collections.abc import Iterator
from itertools import batched, chain, cycle, islice

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler


class Batches(Sampler[list[int]]):  # type: ignore[misc]
    """The items of each batch of an epoch, in random order, or one process's share of them.

    The shares of a batch have the same size, so that the mean over the shares is the mean over the
    batch. Where the size of a batch is no multiple of the number of processes, a few of its items
    are in two shares.

    Args:
        items: Number of items, on each grid.
        size: Items of a batch. The last one of an epoch may have fewer.
        generator: Draws the order of each epoch. It is the same in all processes.
        draws: Items that an epoch draws of them; all by default.
        grids: Number of grids, whose items come one after another. A batch is of one of them, and
            the next one of the next.
        process: Number of this process.
        processes: Number of processes.
    """

    def __init__(
        self,
        items: int,
        size: int,
        generator: torch.Generator,
        *,
        draws: int | None = None,
        grids: int = 1,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        """Keep the arguments."""
        self.generator = generator
        self.orders = {
            grid * items: RandomSampler(range(items), num_samples=draws, generator=generator)
            for grid in range(grids)
        }
        self.size = size
        self.process = process
        self.processes = processes

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return sum(-(-len(order) // self.size) for order in self.orders.values())

    def __iter__(self) -> Iterator[list[int]]:
        """Shuffle the items and return the batches of an epoch."""
        # The number that a shuffling loader of torch draws before the order, for its workers. It
        # does so once for all epochs if they stay; then their number would change the order.
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        each = (
            batched(map(first.__add__, order), self.size) for first, order in self.orders.items()
        )
        for batch in chain.from_iterable(zip(*each, strict=True)):
            share = -(-len(batch) // self.processes)
            yield list(islice(cycle(batch), self.process, share * self.processes, self.processes))


def spread(items: int, most: int) -> list[int]:
    """Return the numbers of evenly spaced items, if there are more than so many; or of all."""
    found: list[int] = np.linspace(0, items - 1, min(items, most)).round().astype(int).tolist()
    return found
