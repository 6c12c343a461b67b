# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Open the equations of a dataset, which its family assembles."""

from pathlib import Path

from mpi4py import MPI

from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.fem.discretise import discretise
from kryloset.learn.equations import Equations
from kryloset.problems import Instance
from kryloset.problems.populations import load_populations
from kryloset.run.checks.family import load_same_family
from kryloset.run.discretised import discretise_each


def open_equations(path: Path) -> Equations:
    """Return the linear systems of the instances of a dataset, by their rows.

    Shifted instances have those of their settings.

    Args:
        path: The dataset's file. A family in a user's file is loaded from there.

    Raises:
        DataError: The file is missing, damaged or not a dataset; its family is not the one that
            made it; or as of `Equations`.
    """
    with Dataset(path) as data:
        family, grid, numbers = load_same_family(data), data.grid, data.numbers.tolist()
        populations = load_populations(data.config)

    def read(row: int) -> Instance:
        with Dataset(path) as data:
            return data.instance(row)

    own = discretise(family, MPI.COMM_SELF, kernels=False)
    discretised = discretise_each(populations, own, kernels=False)
    try:
        return Equations(own, lambda row: discretised(numbers[row]), family.fields, grid, read)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
