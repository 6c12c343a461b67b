# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shuffled batches, which several processes share."""

from collections.abc import Iterator
from itertools import batched, cycle, islice

import torch
from torch.utils.data import RandomSampler, Sampler


class Batches(Sampler[list[int]]):  # type: ignore[misc]
    """The items of each batch of an epoch, in random order, or one process's share of them.

    The shares of a batch have the same size, so that the mean over the shares is the mean over the
    batch. Where the size of a batch is no multiple of the number of processes, a few of its items
    are in two shares.

    Args:
        items: Number of items.
        size: Items of a batch. The last one of an epoch may have fewer.
        generator: Draws the order of each epoch. It is the same in all processes.
        process: Number of this process.
        processes: Number of processes.
    """

    def __init__(
        self,
        items: int,
        size: int,
        generator: torch.Generator,
        *,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        """Keep the arguments."""
        self.order = RandomSampler(range(items), generator=generator)
        self.size = size
        self.process = process
        self.processes = processes

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.order) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        """Shuffle the items and return the batches of an epoch."""
        # The number that a shuffling loader of torch draws before the order, for its workers. It
        # does so once for all epochs if they stay; then their number would change the order.
        torch.empty((), dtype=torch.int64).random_(generator=self.order.generator)
        for batch in batched(self.order, self.size):
            share = -(-len(batch) // self.processes)
            yield list(islice(cycle(batch), self.process, share * self.processes, self.processes))
