# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a network learns from: pairs of functions on the grid of a dataset, or on its meshes."""

from collections.abc import Callable, Sequence
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
from kryloset.learn.several_grids import SeveralGrids

type Batch = GridBatch | PointBatch
type Pairs = FieldPairs | SeveralGrids | MeshPairs
type Place = Literal["grid", "mesh"]

#: Pairs of states that an epoch goes over, unless the configuration says how many.
USUAL_PAIRS = 4000


def open_pairs(
    path: Path,
    split: str,
    place: Place,
    *,
    grids: Sequence[GridPoints] = (),
    march: March = STEADY,
    steps: int = 1,
) -> Pairs:
    """Return the pairs of one split on grids or on the meshes of a dataset.

    Args:
        path: The dataset's file.
        split: One of its splits.
        place: Where functions are.
        grids: The grids, by their points; by default the dataset's own.
        march: How pairs go along trajectories; by default they end with the last state.
        steps: Steps of each pair.

    Raises:
        DataError: As `FieldPairs`, `SeveralGrids` and `MeshPairs`.
    """
    if place == "mesh":
        return MeshPairs(path, split, **asdict(march), steps=steps)
    parts = [
        FieldPairs(path, split, **asdict(march), steps=steps, points=points)
        for points in grids or (None,)
    ]
    return parts[0] if len(parts) == 1 else SeveralGrids(parts)


def parts_of(pairs: Pairs) -> tuple[FieldPairs | MeshPairs, ...]:
    """Return the pairs on each grid, or those on meshes."""
    return pairs.grids if isinstance(pairs, SeveralGrids) else (pairs,)


def count_pairs(training: TrainingConfig, pairs: Pairs) -> int:
    """Return how many of the pairs on each grid an epoch goes over.

    Args:
        training: The configuration of the training.
        pairs: The pairs of a split.
    """
    there, *_ = parts_of(pairs)
    usual = max(USUAL_PAIRS, len(pairs.instances)) if there.states else len(there)
    return min(training.pairs or usual, len(there))


def open_trajectories[T: FieldPairs | MeshPairs](
    task: Task, path: Path, kind: type[T]
) -> Callable[..., T]:
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
    if training.grids:
        return "grid"
    with Dataset(path) as dataset:
        return "mesh" if has_own_nodes(dataset) and find_fault(dataset) is None else "grid"
