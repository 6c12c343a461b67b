# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Seals: digests of all that a dataset file says, kept in the file.

HDF5 notices a flipped bit in an array (Fletcher-32) and in its own structure
(format 1.10), but not in attributes and texts. The digests cover those too, and
tell whether two files hold the same data whatever the compression.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

#: Where the digests are, as attributes named by the datasets' paths.
SEALS = "provenance/digests"
#: The name of the digest of all attributes.
ATTRIBUTES = "attributes"
#: The hard links of The Well to what is sealed under its own name, and the seals themselves.
_SKIPPED = ("dimensions", SEALS)
#: Attributes of the HDF5 library: references between dimension scales and arrays.
_INTERNAL = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST")


class Digests:
    """SHA-256 of arrays as they are written, over their bytes in C order."""

    def __init__(self) -> None:
        """Begin with none."""
        self._digests: dict[str, Any] = {}

    def add(self, path: str, values: NDArray[Any] | bytes) -> None:
        """Add the whole of a dataset, or its next part along the first axis."""
        data = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        self._digests.setdefault(path, hashlib.sha256()).update(data)

    def finished(self) -> dict[str, str]:
        """Return the digests as hexadecimal digits, by path."""
        return {path: digest.hexdigest() for path, digest in sorted(self._digests.items())}

    def seal(self, file: h5py.File) -> None:
        """Write the digests, when all else is in the file."""
        group = file.create_group(SEALS)
        for path, digest in self.finished().items():
            group.attrs[path] = digest
        group.attrs[ATTRIBUTES] = digest_attributes(file)


def read_seals(file: h5py.File) -> dict[str, str]:
    """Return the digests that the file carries, by path."""
    return {path: str(digest) for path, digest in file[SEALS].attrs.items()}


def damage(file: h5py.File) -> list[str]:
    """Read every array, text and attribute, and compare it with its seal.

    Returns:
        A line for each that cannot be read, was changed, is missing or is new;
        none where the file is what was written.
    """
    # HDF5 and h5py raise errors of a dozen types for damage; all of them are findings here.
    try:
        if SEALS not in file:
            return [f"it is no dataset of Kryloset: it has no /{SEALS}"]
        seals = read_seals(file)
        paths = dict(_datasets(file))
        found = [] if digest_attributes(file) == seals[ATTRIBUTES] else ["an attribute was changed"]
    except Exception as error:
        return [f"the structure of the file cannot be read: {error}"]
    found += [f"{path} is missing" for path in seals if path not in {*paths, ATTRIBUTES}]
    for path, dataset in paths.items():
        if path not in seals:
            found.append(f"{path} has no digest: it was added later")
            continue
        digests, read = Digests(), 0
        try:
            for part in _parts(dataset):
                digests.add(path, part)
                read += 1
        except Exception as error:
            # Arrays that have not an HDF5 chunk for each instance have many rows in one.
            where = f" at instance {read}" if dataset.ndim > 1 and dataset.chunks[0] == 1 else ""
            found.append(f"{path} cannot be read{where}: {error}")
            continue
        if digests.finished()[path] != seals[path]:
            found.append(f"{path} was changed: its digest differs")
    return found


def _datasets(group: h5py.Group, base: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    for name in group:
        path = base + name
        if path in _SKIPPED:
            continue
        node = group[name]
        if isinstance(node, h5py.Dataset):
            yield path, node
        else:
            yield from _datasets(node, path + "/")


def _parts(dataset: h5py.Dataset) -> Iterator[NDArray[Any] | bytes]:
    """Yield a dataset in pieces that fit in memory: an HDF5 chunk along the first axis."""
    if dataset.ndim == 0:
        yield dataset[()]
        return
    step = dataset.chunks[0]
    for begin in range(0, len(dataset), step):
        yield dataset[begin : begin + step]


def digest_attributes(file: h5py.File) -> str:
    """Return the digest of all attributes of a file, but for the seals."""
    nodes: dict[str, Any] = {"/": file}
    file.visititems(lambda path, node: nodes.update({path: node}))
    tree = {
        path: {key: _plain(node.attrs[key]) for key in node.attrs if key not in _INTERNAL}
        for path, node in nodes.items()
        if path != SEALS
    }
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return an attribute as JSON can write it, without loss."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
