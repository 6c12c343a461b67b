# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Seals: digests of everything that a dataset file says, stored in the file.

HDF5 notices a flipped bit in an array (Fletcher-32) and in its own structure (format 1.10), but
not in attributes and texts. The digests cover those, too, and show whether two files hold the
same data, whatever their compression.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.guard import progress
from kryloset.dataset.structure import read_structure
from kryloset.errors import DataError

#: Path of the text with the digests, a line each as `sha256sum` prints them. They are not
#: attributes, since netCDF allows no slash in the names of attributes.
SEALS = "provenance/digests"
#: The name of the digest of everything but the numbers, the other digests included.
STRUCTURE = "structure"
#: Characters that the digests may have, far more than those of a dataset.
_LONGEST = 2**24


class Digests:
    """SHA-256 digests of arrays while they are written, over their bytes in C order."""

    def __init__(self) -> None:
        """Begin without digests."""
        self._digests: dict[str, Any] = {}

    def add(self, path: str, values: NDArray[Any] | bytes) -> None:
        """Add a whole array or text, or the next part of an array along its first axis."""
        data = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        self._digests.setdefault(path, hashlib.sha256()).update(data)

    def finished(self) -> dict[str, str]:
        """Return the digests as hexadecimal digits, by path."""
        return {path: digest.hexdigest() for path, digest in sorted(self._digests.items())}

    def seal(self, file: h5py.File) -> None:
        """Write the digests, once everything else is in the file."""
        # What HDF5 still holds in memory would seem to be missing.
        file.flush()
        file.require_group(SEALS.rpartition("/")[0])
        seals = self.finished()
        seals[STRUCTURE] = digest_structure(read_structure(file), seals)
        file.create_dataset(SEALS, data=_write(seals), dtype=h5py.string_dtype())


def read_seals(file: h5py.File) -> dict[str, str]:
    """Return the digests that are stored in a file, by path.

    Raises:
        DataError: There are none, or they are not as `Digests.seal` writes them.
    """
    node = file.get(SEALS)
    if not isinstance(node, h5py.Dataset) or node.ndim or not h5py.check_string_dtype(node.dtype):
        raise DataError(f"it has no digests (/{SEALS}), so nothing in it can be trusted")
    text = node.asstr()[()]
    if len(text) > _LONGEST:
        raise DataError(f"/{SEALS} has {len(text)} characters")
    lines = [line.partition("  ") for line in text.splitlines()]
    seals = {path: digest for digest, _, path in lines}
    # The digests themselves are not sealed, so they must be exactly as they are written.
    if text != _write(seals) or len(node.attrs):
        raise DataError(f"/{SEALS} was changed: it is not the list of digests that was written")
    return seals


def _write(seals: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {path}\n" for path, digest in seals.items())


def damage(file: h5py.File) -> list[str]:
    """Read every array, text and attribute, and compare it with its digest.

    Returns:
        A line for each that cannot be read, was changed, is missing or is new; no lines if the
        file is what was written.
    """
    # HDF5 and h5py report damage by errors of a dozen types. All are findings here.
    try:
        structure = read_structure(file)
        seals = read_seals(file)
    except DataError as error:
        return [str(error)]
    except Exception as error:
        return [f"the structure of the file cannot be read: {error}"]
    found = []
    if seals.pop(STRUCTURE, None) != digest_structure(structure, seals):
        found.append("a group, an axis, a type or an attribute was changed")
    paths = [path for path, node in structure.items() if "shape" in node and path != SEALS]
    found += [f"{path} is missing" for path in seals if path not in paths]
    for path in paths:
        if path not in seals:
            found.append(f"{path} has no digest: it was added later")
            continue
        digests, read, dataset = Digests(), 0, file[path]
        try:
            progress(prod(dataset.chunks or ()) * dataset.dtype.itemsize)
            for part in _parts(dataset):
                digests.add(path, part)
                progress(len(part) if isinstance(part, bytes) else part.nbytes)
                read += 1
        except Exception as error:
            # Other arrays have several rows in an HDF5 chunk.
            where = f" at instance {read}" if dataset.ndim > 1 and dataset.chunks[0] == 1 else ""
            found.append(f"{path} cannot be read{where}: {error}")
            continue
        if digests.finished().get(path) != seals[path]:
            found.append(f"{path} was changed: its digest differs")
    return found


def _parts(dataset: h5py.Dataset) -> Iterator[NDArray[Any] | bytes]:
    """Yield an array in parts that fit in memory, each an HDF5 chunk long."""
    if dataset.ndim == 0:
        yield dataset[()]
        return
    step = dataset.chunks[0]
    for begin in range(0, len(dataset), step):
        yield dataset[begin : begin + step]


def digest_structure(structure: Mapping[str, Any], seals: Mapping[str, str]) -> str:
    """Return the digest of everything but the numbers in a file, the other digests included."""
    tree = {path: node for path, node in structure.items() if path != SEALS}
    return hashlib.sha256(json.dumps([tree, seals], sort_keys=True).encode()).hexdigest()
