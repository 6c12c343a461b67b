# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The structure of a file: groups, types, shapes, axes and attributes, without its numbers.

It is a tree that JSON can represent. It has a digest, and is compared with the structure that
follows from a configuration and a family.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.guard import progress
from kryloset.errors import DataError

#: Attributes by which HDF5 links dimension scales and arrays.
_REFERENCES = ("REFERENCE_LIST", "DIMENSION_LIST")
#: The attribute of the file with the time when it was made, by the conventions of ACDD. It is no
#: part of the structure, so that files made at different times have the same digests.
CREATED = "date_created"
#: Limits of what is read into memory, far above those of a dataset: nodes, and bytes of attributes.
_NODES, _ATTRIBUTES = 10_000, 2**24
#: The largest number of bytes that gzip can expand one byte to, rounded up.
_EXPANSION = 1100


def nodes(file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | str]]:
    """Yield all paths in a file, breadth first.

    Yields:
        A path and its group or array; for a further path of the same node, the first path instead.

    Raises:
        DataError: A link is not a hard link, or there are too many nodes.
    """
    yield from _walk(file, {})


def _walk(
    file: h5py.File, places: dict[int, str]
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | str]]:
    """Yield what `nodes` yields, and fill in the first path of each node by its address."""
    root = file["/"]
    places[h5py.h5o.get_info(root.id).addr] = "/"
    groups = deque([("", root)])
    yield "/", root
    while groups:
        base, group = groups.popleft()
        for name in group:
            progress()
            path = base + name
            if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                raise DataError(
                    f"{path} is a link to something else, perhaps in another file; a dataset "
                    "has no such links"
                )
            node = _open(group, name)
            first = places.setdefault(h5py.h5o.get_info(node.id).addr, path)
            if len(places) > _NODES:
                raise DataError(f"{path}: there are more groups and arrays than a dataset has")
            yield path, node if first == path else first
            if first == path and isinstance(node, h5py.Group):
                groups.append((path + "/", node))


def _open(group: h5py.Group, name: str) -> h5py.HLObject:
    """Return `group[name]`, which asks for the mode of the file again for each array."""
    opened = h5py.h5o.open(group.id, name.encode())
    if isinstance(opened, h5py.h5d.DatasetID):
        return h5py.Dataset(opened, readonly=True)  # Its shape and type are read once.
    return h5py.Group(opened) if isinstance(opened, h5py.h5g.GroupID) else group[name]


def read_structure(file: h5py.File, *, hollow: bool = False) -> dict[str, Any]:
    """Return the structure of a file by path.

    Args:
        file: The file.
        hollow: Whether arrays may have no stored values.

    Raises:
        DataError: As `nodes`; or a dimension scale of an array is missing; or an array claims to be
            larger than the file can hold; or attributes are too large.
    """
    places: dict[int, str] = {}
    found = dict(_walk(file, places))
    tree: dict[str, Any] = {}
    for path, node in found.items():
        if isinstance(node, str):
            tree[path] = {"same as": node}
            continue
        names = [*node.attrs]
        tree[path] = {"attributes": _attributes(node, path, names)}
        if isinstance(node, h5py.Dataset):
            if not hollow:
                _require_stored(node, path, file)
            tree[path] |= {
                "type": repr(node.dtype),
                "shape": list(node.shape),
                "axes": _axes(node, path, places, found) if "DIMENSION_LIST" in names else [],
                "axis of": _axis_of(node, places) if "REFERENCE_LIST" in names else [],
            }
        elif not isinstance(node, h5py.Group):
            raise DataError(f"{path} is neither a group nor an array")
    return tree


def _require_stored(array: h5py.Dataset, path: str, file: h5py.File) -> None:
    """Refuse an array that claims more bytes than the file can hold.

    Raises:
        DataError: It claims more, or it is stored in another file.
    """
    if array.external or array.is_virtual:
        raise DataError(f"{path} is stored in another file; a dataset is one file")
    try:
        stored, claimed = array.id.get_storage_size(), array.size * array.dtype.itemsize
    except Exception as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if claimed > _EXPANSION * min(stored, file.id.get_filesize()):
        raise DataError(
            f"{path} claims the shape {array.shape}, {claimed} bytes, of which {stored} are stored"
        )
    if array.chunks is not None and any(
        chunk > max(1, length) and limit is not None
        for chunk, length, limit in zip(array.chunks, array.shape, array.maxshape, strict=True)
    ):
        raise DataError(f"{path} has HDF5 chunks of the shape {array.chunks}, beyond its own")


def _attributes(node: h5py.HLObject, path: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a node, without loss, in a form that JSON can represent."""
    opened = {name: _Attribute(node, name) for name in names if name not in _REFERENCES}
    size = sum(attribute.size for attribute in opened.values())
    if size > _ATTRIBUTES:
        raise DataError(f"{path} has {size} bytes of attributes")
    found = {name: _plain(attribute.read()) for name, attribute in opened.items()}
    if path == "/":
        found.pop(CREATED, None)
    return found


class _Attribute:
    """An open attribute, whose shape and type are read once: a check reads hundreds."""

    def __init__(self, node: h5py.HLObject, name: str) -> None:
        self._node, self._name = node, name
        self._opened = h5py.h5a.open(node.id, name.encode())
        self._shape, self._dtype = self._opened.shape, self._opened.dtype
        self.size = prod(self._shape) * self._dtype.itemsize

    def read(self) -> Any:
        """Return `node.attrs[name]`."""
        text = h5py.check_string_dtype(self._dtype)
        kind = self._dtype.kind
        if kind not in "biufSO" or (kind == "O" and text is None):
            return self._node.attrs[self._name]
        values = np.zeros(self._shape, self._dtype)
        self._opened.read(values)
        if text is not None and text.length is None:
            decoded = [word.decode("utf-8", "surrogateescape") for word in values.flat]
            values = np.array(decoded, object).reshape(values.shape)
        return values[()]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufS":
        values: NDArray[Any] = np.asarray(value)
        return {values.dtype.str: values.astype(str).tolist()}
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _axes(
    array: h5py.Dataset, path: str, places: Mapping[int, str], found: Mapping[str, Any]
) -> list[list[str]]:
    """Return the paths of the dimension scales of each axis of an array that has some.

    Args:
        array: The array.
        path: Its path.
        places: The first path of each node by its address.
        found: The nodes by path.

    Raises:
        DataError: A dimension scale is missing, or its length differs from that of the axis.
    """
    axes: list[list[str]] = []
    for number, references in enumerate(array.attrs["DIMENSION_LIST"]):
        where = f"axis {number} of {path}"
        try:
            scales = [h5py.h5r.dereference(reference, array.id) for reference in references]
            names = [places[h5py.h5o.get_info(scale).addr] for scale in scales]
            lengths = [found[name].shape for name in names]
        except Exception as error:
            raise DataError(
                f"{where}: its dimension scale cannot be found (DIMENSION_LIST): {error}"
            ) from None
        if any(length != (array.shape[number],) for length in lengths):
            raise DataError(f"{where} has another length than its dimension scale {names}")
        axes.append(names)
    return axes


def _axis_of(array: h5py.Dataset, places: Mapping[int, str]) -> list[str]:
    """Return the arrays to which a dimension scale belongs, each with the number of the axis."""
    found = []
    for reference, number in array.attrs["REFERENCE_LIST"]:
        try:
            address = h5py.h5o.get_info(h5py.h5r.dereference(reference, array.id)).addr
            found.append(f"{places[address]} {number}")
        except Exception:  # of a dozen types
            found.append(f"nothing {number}")
    return sorted(found)
