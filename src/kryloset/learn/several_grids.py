# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pairs of a split on several grids, from which one network learns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from kryloset.config import name_points, points_of
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.grid_batch import GridBatch
from kryloset.learn.models.base import Task, divides_alike


class SeveralGrids(torch.utils.data.Dataset[dict[str, Any]]):  # type: ignore[misc]
    """All pairs on one grid, then the same pairs on the next one.

    The items of a batch are of one grid.

    Args:
        grids: The pairs on each grid, of one split.

    Attributes:
        grids: The same. What a network maps between is told by the first of them.
        path: The dataset's file.
        split: The split.
        instances: The rows of the instances of the split in the file.
        digest: SHA-256 of the digests of everything in the file.

    Raises:
        DataError: The grids have other channels, as for a profile along an axis, or a mask on one
            of them alone; or points of one lie otherwise along an axis than those of another.
    """

    #: Where functions are.
    place: Final = "grid"

    def __init__(self, grids: Sequence[FieldPairs]) -> None:
        """Compare the grids."""
        self.grids = tuple(grids)
        first, *others = grids
        self.path: Path = first.path
        self.split, self.instances, self.digest = first.split, first.instances, first.digest
        for other in others:
            told = f"{first.path} on {_name(other)} points and on {_name(first)}"
            if other.inputs != first.inputs:
                names = (", ".join(pairs.inputs) for pairs in (other, first))
                raise DataError(
                    "{}: one network has the same inputs on all grids, and they are {}, and {}; "
                    "leave out one of training.grids".format(told, *names)
                )
            if not divides_alike(first.task, other.coordinates):
                raise DataError(
                    f"{told}: points lie otherwise along an axis, as equidistant and Chebyshev "
                    "points do; leave out one of training.grids"
                )

    @property
    def task(self) -> Task:
        """What a network maps between that learns from these pairs, on the first grid."""
        return self.grids[0].task

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.grids) * len(self.grids[0])

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Any]]:
        """Return several pairs of one grid, whose number is `grid` of each."""
        count = len(self.grids[0])
        (grid,) = {item // count for item in items}
        found = self.grids[grid].__getitems__([item % count for item in items])
        return [pair | {"grid": grid} for pair in found]

    def __getitem__(self, item: int) -> dict[str, Any]:
        """Return one pair."""
        return self.__getitems__([item])[0]

    def join(self, items: Sequence[dict[str, Any]]) -> GridBatch:
        """Return a batch of items: the `collate_fn` of a `DataLoader`."""
        grid: FieldPairs = self.grids[items[0]["grid"]]
        return grid.join(items)


def _name(pairs: FieldPairs) -> str:
    return name_points(points_of(pairs.grid))
