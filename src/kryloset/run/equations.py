# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Open the equations of a dataset, which its family assembles."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpi4py import MPI

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.fem.discretise import discretise
from kryloset.learn.equations import Equations
from kryloset.run.checks.family import load_same_family


@contextmanager
def open_equations(path: Path) -> Iterator[Equations]:
    """Open a dataset and yield the linear systems of its instances, by their rows.

    Args:
        path: The dataset's file. A family in a user's file is loaded from there.

    Raises:
        DataError: The file is missing, damaged or not a dataset; its family is not the one that
            made it; or as of `Equations`.
    """
    with Dataset(path) as data:
        family = load_same_family(data)
        discretisation = discretise(family, MPI.COMM_SELF, kernels=False)
        try:
            equations = Equations(discretisation, family.fields, data.grid, data.instance)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        yield equations
