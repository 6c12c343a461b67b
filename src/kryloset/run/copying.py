# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Copy the instances that a chunk keeps from an earlier dataset into its journal."""

from collections.abc import Sequence
from itertools import batched
from typing import Any

from mpi4py import MPI

from numpy.typing import NDArray

from kryloset.config import DatasetConfig, GridPoints
from kryloset.dataset.encoding import Encoded
from kryloset.dataset.journal import Journal
from kryloset.errors import DataError
from kryloset.fem.discretise import discretise
from kryloset.krylov.names import LANES
from kryloset.problems import Discretisation, Family
from kryloset.run.chunk import Chunk, Encoder, record_shared
from kryloset.run.further_grids import evaluate_further
from kryloset.run.kept import Kept
from kryloset.run.solve_record import Solution


def copy_kept(
    chunk: Chunk,
    journal: Journal,
    kept: Kept,
    config: DatasetConfig,
    family: Family,
    first_way: int,
) -> None:
    """Append the rows of kept instances as they are stored, and evaluate them on new grids.

    Args:
        chunk: The chunk.
        journal: Its journal, which has the instances that were solved.
        kept: The kept instances of the dataset.
        config: The dataset.
        family: Its family.
        first_way: Number of the first of `kept.ways()` among the strategies of the chunk.

    Raises:
        DataError: The earlier dataset is damaged, or cannot be evaluated on a new grid.
    """
    numbers = chunk.instances[len(chunk) :].tolist()
    new = [points for points in config.mesh.grids if points not in kept.grids]
    old = [points for points in config.mesh.grids if points in kept.grids]
    # What instances share is in the first record.
    unshared = not len(journal)
    discretisation = discretise(family, MPI.COMM_SELF) if new or unshared else None
    shared = record_shared(discretisation) if discretisation and unshared else {}
    encoder = Encoder(family, journal, config.storage)
    size = 1 if any(variable.ragged for variable in family.unknowns) else LANES[-1]
    for group in batched(numbers, size):
        try:
            found = kept.rows(group, old, first_way)
            rows = {path: encoder.stored(path, values) for path, values in found.items()}
            if discretisation and new:
                rows |= _evaluate(new, family, discretisation, kept, group, encoder)
        except DataError as error:
            raise DataError(
                f"instances {group[0]} to {group[-1]} cannot be kept: {error}, or move the earlier "
                f"dataset away and remove the order.h5 that was made from it"
            ) from None
        journal.append(rows | shared, len(group))
        shared = {}


def _evaluate(
    grids: Sequence[GridPoints],
    family: Family,
    discretisation: Discretisation,
    kept: Kept,
    group: Sequence[int],
    encoder: Encoder,
) -> dict[str, NDArray[Any] | Encoded]:
    """Return the rows of a group on new grids."""
    values: list[Solution] = []
    for index in group:
        instance, solution = kept.parameters(index), kept.solution(index)
        check = not values
        values.append(
            evaluate_further(grids, family, discretisation, instance, solution, check=check)
        )
    return encoder.fields(values)
