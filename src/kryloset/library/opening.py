# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Opening a dataset that the workflow made."""

import os
from pathlib import Path

import xarray

from kryloset.dataset.reader import Dataset


def open(path: str | os.PathLike[str]) -> xarray.DataTree:
    """Open a dataset file of the workflow.

    The structure of the file is verified first, in a process of its own, since a damaged file can
    keep HDF5 busy for ever. Arrays are read when they are used; `kryloset check` verifies them.

    Args:
        path: The file, such as `results/darcy/dataset.h5`.

    Returns:
        A tree of labelled arrays, laid out as docs/reference/dataset.md says:
        `tree["t0_fields/u"]` has the dimensions sample, time, x, y. Close it, or use it in a
        `with` statement.

    Raises:
        DataError: The file is missing or damaged, or is not a dataset of Kryloset.
    """
    with Dataset(Path(path)):
        pass
    return xarray.open_datatree(path, engine="h5netcdf")
