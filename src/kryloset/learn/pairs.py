# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a network learns from: pairs of functions on the grid of a dataset, or on its meshes."""

from pathlib import Path
from typing import Literal

from kryloset.config import GridPoints
from kryloset.dataset.reader import Dataset
from kryloset.learn.data import FieldPairs
from kryloset.learn.grid_batch import GridBatch
from kryloset.learn.mesh_data import MeshPairs, find_fault, has_own_nodes
from kryloset.learn.models.base import Network
from kryloset.learn.models.registry import on_points
from kryloset.learn.point_batch import PointBatch

type Batch = GridBatch | PointBatch
type Pairs = FieldPairs | MeshPairs
type Place = Literal["grid", "mesh"]


def open_pairs(path: Path, split: str, place: Place, *, points: GridPoints | None = None) -> Pairs:
    """Return the pairs of one split on a grid or on the meshes of a dataset.

    Args:
        path: The dataset's file.
        split: One of its splits.
        place: Where functions are.
        points: A further grid, by its points; by default the dataset's own grid.

    Raises:
        DataError: As `FieldPairs` and `MeshPairs`.
    """
    return MeshPairs(path, split) if place == "mesh" else FieldPairs(path, split, points=points)


def find_place(path: Path, kind: type[Network], asked: Literal["auto", "grid", "mesh"]) -> Place:
    """Return where a network learns.

    By default it learns at the nodes of meshes if it is one on points and if there are nodes that
    are not the points of the grid.

    Args:
        path: The dataset's file.
        kind: Class of the network.
        asked: The key `training.where`, which suits it (`check_training`).

    Raises:
        DataError: The file cannot be read.
    """
    if asked != "auto" or not on_points(kind):
        return "mesh" if asked == "mesh" else "grid"
    with Dataset(path) as dataset:
        return "mesh" if has_own_nodes(dataset) and find_fault(dataset) is None else "grid"
