# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The layout of a dataset file; docs/dataset.md shows it as a table.

One HDF5 file is at once a file of The Well, a tree that xarray labels, and plain
arrays for h5py. Dimension scales are at the root, where xarray looks for them;
`/dimensions`, where The Well looks, holds hard links to them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.problems.base import Variable
from kryloset.sampling import split_generator

#: The HDF5 format of 2016 (HDF5 1.10): the first with checksums on its own structure
#: too, and fixed, so that the same data are the same bytes with a later library.
LIBVER = ("v110", "v110")

#: Filters of every array. Fletcher-32 makes a flipped bit an error instead of a number.
FILTERS: Mapping[str, Any] = MappingProxyType(
    {"shuffle": True, "compression": "gzip", "compression_opts": 4, "fletcher32": True}
)

#: Solutions are stored as they were computed: rounded to float32 they would have a
#: relative residual of about 1e-7 times the condition number, and nobody could verify
#: from the file alone that they solve their equations.
FLOAT = np.dtype("<f8")
INTEGER = np.dtype("<i8")

#: What /solver holds of each instance: name -> (type, what it is).
SOLVER: Mapping[str, tuple[np.dtype[Any], str]] = MappingProxyType(
    {
        "true_residual": (FLOAT, "true relative residual ||b - A x|| / ||b||"),
        "iterations": (INTEGER, "Krylov iterations"),
        "operator_applications": (INTEGER, "products with A, rebuilding included"),
        "preconditioner_applications": (INTEGER, "applications of the preconditioner"),
        "systems": (INTEGER, "linear systems solved"),
        "escalations": (INTEGER, "methods that failed before one succeeded"),
        "reason": (INTEGER, "why the solver stopped"),
        "predecessor": (INTEGER, "instance whose recycled space was used, -1 for none"),
        "chunk": (INTEGER, "chunk in which it was solved, counted from 0"),
        "position": (INTEGER, "place in the solving order, counted from 0"),
    }
)
#: Those of them that merging adds; the others come from the chunks' files.
PLACES = ("chunk", "position")


def place(variable: Variable) -> str:
    """Return the path of a parameter or field in the file."""
    return f"t0_fields/{variable.name}" if variable.dimensions else f"scalars/{variable.name}"


def split_indices(config: DatasetConfig) -> dict[str, NDArray[np.int64]]:
    """Return the instances of each split, ascending.

    The order of N raw 64-bit numbers of Philox keyed with the seed is a uniformly
    random permutation; its consecutive parts are the splits. The raw stream is
    the one thing of NumPy's generators that is promised never to change.
    """
    keys = split_generator(config.seed).bit_generator.random_raw(config.count)
    permutation = np.argsort(keys, kind="stable").astype(INTEGER)
    sizes = config.split_sizes()
    parts = np.split(permutation, np.cumsum(list(sizes.values()))[:-1])
    return {name: np.sort(part) for name, part in zip(sizes, parts, strict=True)}
