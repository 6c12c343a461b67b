# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An HDF5 file that takes rows as soon as they are computed, and is complete only in the end.

HDF5 writes encoded rows at once, and its own structure when the file is closed. The file of a
killed process cannot be opened, but its rows can be read by whoever knows their places.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.atomic import Sink
from kryloset.dataset.checksum import CHECKED
from kryloset.dataset.encoding import Encoded
from kryloset.dataset.layout import LIBVER


class GrowingFile:
    """A file whose arrays have a row for each of some instances, written in any order.

    Args:
        path: The file, which is made.
        count: Number of instances.

    Attributes:
        path: The file.
        file: The same, open.
    """

    def __init__(self, path: Path, count: int) -> None:
        """Begin an empty file."""
        self.path, self._count = path, count
        self._sink = Sink(path, "w+b")
        self.file = h5py.File(self._sink, "w", libver=LIBVER)
        # Finding an array by its name takes HDF5 as long as writing a field.
        self._arrays: dict[str, h5py.Dataset] = {}

    def write(self, name: str, rows: Encoded, first: int) -> tuple[NDArray[np.int64], bytes]:
        """Write rows of an array, from row `first` on.

        Returns:
            Where in the file each HDF5 chunk is, and its length, (HDF5 chunks, 2); and the
            checksum of each.
        """
        if name not in self._arrays:
            self._arrays[name] = rows.storage.create(self.file, name, self._count)
        write, sink = self._arrays[name].id.write_direct_chunk, self._sink
        places, checksums = [], []
        for corner, piece in zip(rows.places(first), rows.pieces, strict=True):
            # HDF5 itself would go through all HDF5 chunks to find the place of one.
            sink.places.clear()
            write(corner, piece)
            places.append((sink.places[len(piece)], len(piece)))
            checksums.append(bytes(piece[-CHECKED:]))
        return np.array(places, np.int64), b"".join(checksums)

    def shorten(self, count: int) -> None:
        """Leave the first `count` rows of each array, where fewer were written than expected."""
        for array in self._arrays.values():
            if len(array) > count:
                array.resize(count, axis=0)

    def deliver(self) -> None:
        """Hand all that was written to the system, so that it outlives the process.

        Raises:
            OSError: It could not be written.
        """
        self._sink.deliver()

    def close(self) -> None:
        """Write the structure of the file, and close it.

        Raises:
            OSError: It could not be written.
        """
        if not self._sink.closed:
            self.file.close()
            with self._sink:
                self._sink.deliver()
