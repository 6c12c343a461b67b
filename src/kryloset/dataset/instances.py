# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""By what instances of different files are compared: the digests of their parameters."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.integrity import DIGEST, digest_rows, table_path
from kryloset.dataset.opening import describable
from kryloset.dataset.reader import Dataset


def instance_digests(dataset: Dataset) -> NDArray[np.uint8]:
    """Return the digest of each instance's parameters, (instances, 32), as `digest_instance`.

    Where rows have digests in the file, those are read, and not the parameters.

    Raises:
        DataError: The file is damaged.
    """
    with describable(dataset.path):
        columns = []
        for name in dataset.parameters:
            array = dataset.array(name)
            table = table_path(array.name.removeprefix("/"))
            found = dataset.file[table][:].tobytes() if table in dataset.file else None
            octets = digest_rows(array[:]) if found is None else found
            columns.append(np.frombuffer(octets, np.uint8).reshape(-1, DIGEST))
        joined = np.concatenate(columns, axis=1)
        digests = b"".join(hashlib.sha256(row).digest() for row in joined)
    return np.frombuffer(digests, np.uint8).reshape(-1, DIGEST)
