# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Grids and splits of a dataset by their names, as commands and results tell them apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kryloset.config import GridPoints, name_points, points_of
from kryloset.dataset.layout import grid_group
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError


def name_grids(dataset: Dataset) -> dict[str, GridPoints | None]:
    """Return the points of each further grid by its name, and None for the dataset's own grid.

    The name of a grid is its points, such as `33`. An equidistant grid with as many points as the
    dataset's own has the name of its group, such as `grid_65`.
    """
    own = name_points(points_of(dataset.grid))
    found: dict[str, GridPoints | None] = {own: None}
    for points in dataset.config.mesh.grids:
        name = name_points(points)
        found[grid_group(points) if name == own else name] = points
    return found


def choose_grids(dataset: Dataset, named: Sequence[str]) -> dict[str, GridPoints | None]:
    """Return some grids of a dataset in the same way, in the given order; all if none is named.

    A further grid is also known by the name of its group, which no other grid has.

    Raises:
        DataError: The dataset has no grid of such a name.
    """
    there = name_grids(dataset)
    groups = {grid_group(points): name for name, points in there.items() if points is not None}
    named = [groups.get(name, name) for name in named]
    for name in named:
        if name not in there:
            raise DataError(
                f"{dataset.path} has no grid of {name} points: it has {', '.join(there)}; "
                "name another by --grid, or add this one to mesh.grids in the configuration"
            )
    return {name: there[name] for name in named or there}


def rows_of_split(dataset: Dataset, name: str) -> NDArray[np.int64]:
    """Return the rows of the instances of a split.

    Raises:
        DataError: There is no such split.
    """
    splits = dataset.splits()
    if name not in splits:
        raise DataError(
            f"{dataset.path} has no split `{name}`: it has {', '.join(splits)}; "
            "add it under `splits` and make the dataset again"
        )
    return splits[name]
