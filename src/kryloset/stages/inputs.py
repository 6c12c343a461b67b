# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""What several stages read: files of earlier stages, with errors for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.config import DatasetConfig
from kryloset.errors import DataError
from kryloset.problems import Family


@contextmanager
def open_input(path: Path, config: DatasetConfig, name: str, group: str) -> Iterator[h5py.File]:
    """Open a file of an earlier stage for reading.

    Args:
        path: The file.
        config: The dataset, for the number of instances that `group` must hold.
        name: Name of the dataset, for the message.
        group: What the stage needs of the file.

    Raises:
        DataError: The file is missing, damaged, or of another size.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; make it again") from None
    with file:
        if group not in file:
            raise DataError(f"{path} has no {group!r}: it is no file of that stage")
        node = file[group]
        sizes = {len(d) for d in (node.values() if isinstance(node, h5py.Group) else [node])}
        if sizes != {config.count}:
            raise DataError(
                f"{path} holds {', '.join(map(str, sizes))} instances, dataset {name} has "
                f"{config.count}: make it again with this configuration"
            )
        try:
            yield file
        except OSError as error:
            raise DataError(f"{path} is damaged: {error}; make it again") from None


def read_instance(file: h5py.File, family: Family, index: int) -> dict[str, NDArray[np.float64]]:
    """Read the parameters of one instance from an open `parameters.h5`.

    Raises:
        DataError: A parameter of the family is not there.
    """
    instance = {}
    for variable in family.parameters:
        key = f"parameters/{variable.name}"
        if key not in file:
            raise DataError(f"{file.filename} has no {key}: it was drawn for another family")
        instance[variable.name] = np.asarray(file[key][index])
    return instance
