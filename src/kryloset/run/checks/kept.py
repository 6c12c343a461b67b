# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Checks of instances that a chunk keeps from an earlier dataset."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig, GridPoints
from kryloset.dataset.layout import SOLVER
from kryloset.dataset.staged import StagedFile
from kryloset.problems import Family
from kryloset.problems.checks.coverage import INSIDE
from kryloset.run import files
from kryloset.run.checks.failures import Faults
from kryloset.run.checks.group import Group
from kryloset.run.checks.outcome import Content
from kryloset.run.kept import digest_parts, kept_quantities, solution_keys


class OnlySolved:
    """A check of the instances that were solved, and not of those that are kept.

    Args:
        content: The check.
        kept: How many instances of the dataset are kept: those with the smallest numbers.
    """

    def __init__(self, content: Content, kept: int) -> None:
        """Begin without instances."""
        self._content = content
        self._kept = kept

    def add(self, group: Group) -> None:
        """See the next instances."""
        solved = group.of(np.flatnonzero(group.numbers >= self._kept))
        if len(solved):
            self._content.add(solved)

    def finish(self) -> str:
        """Return what was found."""
        return self._content.finish()


def check_kept(
    chunk: StagedFile,
    order: StagedFile,
    family: Family,
    config: DatasetConfig,
    grids: Sequence[GridPoints | None],
    kept: int,
) -> str:
    """Check that kept instances are those of the earlier dataset, by their digests.

    Args:
        chunk: The chunk, whose rows were compared with their digests.
        order: `order.h5`, which has the digests of parameters and of what is kept.
        family: The family.
        config: The dataset.
        grids: Grids of which it has them, None for the dataset's own.
        kept: How many instances of the dataset are kept: those with the smallest numbers.
    """
    numbers = chunk.array(files.INSTANCE)
    rows = np.flatnonzero(numbers < kept).tolist()
    faults = Faults("instances that are not those that were kept")

    def compare(told: str, paths: Sequence[str], columns: Sequence[NDArray[Any]] = ()) -> None:
        digests = order.array(told)
        for row in rows:
            found = digest_parts(chunk, paths, [column[row] for column in columns], row)
            if found != digests[numbers[row]].tobytes():
                faults.add([(int(numbers[row]), "its digest differs")])

    compare(files.DRAWN, [files.parameter(variable.name) for variable in family.parameters])
    own = files.field(INSIDE.name) in chunk
    for points in grids:
        names = chunk.names(files.fields_on_grid(points)) if points else []
        paths = [files.field(key) for key in solution_keys(family, own, points, names)]
        columns = [] if points else [_column(chunk, name) for name in kept_quantities(config)]
        compare(files.kept(points), paths, columns)
    faults.refuse()
    return f"{len(rows)} instances kept as they were, by their digests"


def _column(chunk: StagedFile, quantity: str) -> NDArray[np.generic]:
    return chunk.array(files.solver(quantity)).astype(SOLVER[quantity][0])
