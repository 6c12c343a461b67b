# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Seal a changed file again, so that only its content is wrong."""

from pathlib import Path

import h5py
import numpy as np

from kryloset.dataset.integrity import (
    DIGEST,
    SEALS,
    STRUCTURE,
    Digests,
    digest_array,
    read_seals,
    table_path,
)  # fmt: skip

#: Entries of the largest array that is digested.
_LARGEST = 10**7


def seal_again(path: Path) -> None:
    """Recompute the digests of all arrays of a file that are still there."""
    with h5py.File(path, "r+") as file:
        arrays = [array for array in read_seals(file) if array != STRUCTURE]
        del file[SEALS]
        for array in arrays:
            if array not in file and table_path(array) in file:
                del file[table_path(array)]
    # Opened anew, since HDF5 may fail where what it just deleted was.
    with h5py.File(path, "r+") as file:
        digests = Digests()
        for array in arrays:
            if array in file and file[array].size <= _LARGEST:
                _add(digests, file, array)
        digests.seal(file)


def _add(digests: Digests, file: h5py.File, path: str) -> None:
    """Add the digest of an array, and renew the table of those of its rows."""
    table = table_path(path)
    if table not in file:
        digests.add(path, file[path][()])
        return
    rows = bytearray()
    digest_array(file, path, rows)
    digests.add_rows(path, bytes(rows))
    found = np.frombuffer(bytes(rows), np.uint8).reshape(-1, DIGEST)
    if len(found) != len(file[table]):
        del file[table]
        file[table] = found
    file[table][:] = found
