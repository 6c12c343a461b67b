# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a network learns from: pairs of functions on the grid of a dataset, or on its meshes."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from kryloset.config import GridPoints, TrainingConfig
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.learn.data import FieldPairs
from kryloset.learn.grid_batch import GridBatch
from kryloset.learn.march import STEADY, March
from kryloset.learn.mesh_data import MeshPairs, find_fault, has_own_nodes
from kryloset.learn.models.base import Network, Task
from kryloset.learn.models.registry import on_points
from kryloset.learn.point_batch import PointBatch

type Batch = GridBatch | PointBatch
type Pairs = FieldPairs | MeshPairs
type Place = Literal["grid", "mesh"]


def open_pairs(
    path: Path,
    split: str,
    place: Place,
    *,
    points: GridPoints | None = None,
    march: March = STEADY,
    steps: int = 1,
) -> Pairs:
    """Return the pairs of one split on a grid or on the meshes of a dataset.

    Args:
        path: The dataset's file.
        split: One of its splits.
        place: Where functions are.
        points: A further grid, by its points; by default the dataset's own grid.
        march: How pairs go along trajectories; by default they end with the last state.
        steps: Steps of each pair.

    Raises:
        DataError: As `FieldPairs` and `MeshPairs`.
    """
    if place == "mesh":
        return MeshPairs(path, split, **asdict(march), steps=steps)
    return FieldPairs(path, split, **asdict(march), steps=steps, points=points)


def open_trajectories[T: Pairs](task: Task, path: Path, kind: type[T]) -> Callable[..., T]:
    """Return what opens the pairs on which a predictor is measured.

    Args:
        task: What it maps between. If it goes along trajectories, pairs are whole ones.
        path: The dataset's file.
        kind: The class of the pairs.

    Raises:
        DataError: The file cannot be read, or has no trajectories for its time step.
    """
    if task.time_step is None:
        return kind
    with Dataset(path) as dataset:
        try:
            march = March.along(dataset.times, task.window, task.bundle, task.time_step)
        except DataError as error:
            raise DataError(f"{path} does not fit: {error}") from None
    return partial(kind, **asdict(march), steps=None)


def find_march(path: Path, training: TrainingConfig) -> March:
    """Return how a network goes along the trajectories of a dataset, if it does.

    Args:
        path: The dataset's file.
        training: The configuration of the training.

    Raises:
        ConfigError: As `March.choose`.
        DataError: The file cannot be read.
    """
    with Dataset(path) as dataset:
        return March.choose(
            dataset.times, training.window, training.stride, training.bundle, steps=training.steps
        )


def find_place(path: Path, kind: type[Network], training: TrainingConfig) -> Place:
    """Return where a network learns.

    By default it learns at the nodes of meshes if it is one on points and if there are nodes that
    are not the points of the grid.

    Args:
        path: The dataset's file.
        kind: Class of the network.
        training: The configuration of the training, which suits it (`check_training`).

    Raises:
        DataError: The file cannot be read.
    """
    if training.where != "auto" or not on_points(kind):
        return "mesh" if training.where == "mesh" else "grid"
    if training.grid is not None:
        return "grid"
    with Dataset(path) as dataset:
        return "mesh" if has_own_nodes(dataset) and find_fault(dataset) is None else "grid"
