# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where variables of a dataset are: along which axes of the grid, at its points or in cells."""

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.layout import PLACEMENT, WELL_GROUPS
from kryloset.dataset.reader import Dataset


def is_in_cells(dataset: Dataset, name: str) -> bool:
    """Return whether a variable has values in cells."""
    return bool(dataset.array(name).attrs.get(PLACEMENT) == "cells")


def is_on_grid(dataset: Dataset, name: str) -> bool:
    """Return whether a variable is a function on the grid or in its cells, or a number."""
    group = dataset.array(name).parent.name.removeprefix("/")
    return group in WELL_GROUPS or is_in_cells(dataset, name)


def cells_of_points(dataset: Dataset) -> tuple[NDArray[np.int64], ...]:
    """Return the cell of each point of the grid, the lower one between two.

    Returns:
        For each axis the numbers of the cells, in shapes that broadcast to the grid.
    """
    degree = dataset.config.mesh.degree
    return np.ix_(*(np.maximum(-(-np.arange(n) // degree) - 1, 0) for n in dataset.grid))


def axes_varying(dataset: Dataset, name: str) -> tuple[bool, ...]:
    """Return along which axes of the grid a variable varies; a number varies along none."""
    in_cells = np.full(len(dataset.grid), is_in_cells(dataset, name))
    return tuple(map(bool, dataset.array(name).attrs.get("dim_varying", in_cells)))
