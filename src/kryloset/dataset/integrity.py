# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Seals: digests of everything that a dataset file says, stored in the file.

HDF5 notices a flipped bit in an array (Fletcher-32) and in its own structure (format 1.10), but
not in attributes and texts. The digests cover those, too, and show whether two files hold the
same data, whatever their compression.

An array with several numbers for each instance has a digest for each instance's row, in a table
beside the seals. The digest of the array is that of the table, so that a changed instance is named,
and rows can be moved from file to file without being read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from kryloset.dataset.guard import progress
from kryloset.dataset.ragged import offsets_path, read_rows
from kryloset.dataset.structure import read_structure
from kryloset.errors import DataError

#: Path of the text with the digests, a line each as `sha256sum` prints them. They are not
#: attributes, since netCDF allows no slash in the names of attributes.
SEALS = "provenance/digests"
#: The name of the digest of everything but the numbers, the other digests included.
STRUCTURE = "structure"
#: The group of the tables of row digests, which have the paths of their arrays in it.
TABLES = "provenance/rows"
#: Bytes of a SHA-256 digest.
DIGEST = hashlib.sha256().digest_size
#: Characters that the digests may have, far more than those of a dataset.
_LONGEST = 2**24
#: Bytes that are read at once, or one row.
_PART = 2**22


def digest_row(values: NDArray[Any]) -> bytes:
    """Return the SHA-256 of a row of an array: of its bytes in C order, as they are stored."""
    return hashlib.sha256(np.ascontiguousarray(values)).digest()


def digest_rows(rows: Iterable[NDArray[Any]]) -> bytes:
    """Return the digests of several rows, one after the other."""
    return b"".join(map(digest_row, rows))


def digest_instance(parameters: Iterable[NDArray[Any]]) -> bytes:
    """Return the digest of an instance: that of the digests of its parameters.

    Args:
        parameters: Its parameters, in the order of its family.
    """
    return hashlib.sha256(digest_rows(parameters)).digest()


def table_path(path: str) -> str:
    """Return the path of the table with the digests of an array's rows."""
    return f"{TABLES}/{path}"


class Digests:
    """SHA-256 digests of arrays while they are written, over their bytes in C order."""

    def __init__(self) -> None:
        """Begin without digests."""
        self._digests: dict[str, Any] = {}
        self._rows: dict[str, bytearray] = {}

    def add(self, path: str, values: NDArray[Any] | bytes) -> None:
        """Add a whole array or text, or the next part of an array along its first axis."""
        data = values if isinstance(values, bytes) else np.ascontiguousarray(values)
        self._digests.setdefault(path, hashlib.sha256()).update(data)

    def add_rows(self, path: str, digests: bytes) -> None:
        """Add the digests of the next rows of an array, a row an instance, from `digest_rows`."""
        self._rows.setdefault(path, bytearray()).extend(digests)

    def tables(self) -> dict[str, NDArray[np.uint8]]:
        """Return the digests of all rows, shape (rows, `DIGEST`), by the paths of the arrays.

        They belong into the file, at `table_path`, before it is sealed.
        """
        return {
            path: np.frombuffer(bytes(rows), np.uint8).reshape(-1, DIGEST)
            for path, rows in self._rows.items()
        }

    def finished(self) -> dict[str, str]:
        """Return the digests as hexadecimal digits, by path; for rows that of their digests."""
        found = {path: digest.hexdigest() for path, digest in self._digests.items()}
        found |= {path: hashlib.sha256(rows).hexdigest() for path, rows in self._rows.items()}
        return dict(sorted(found.items()))

    def seal(self, file: h5py.File) -> None:
        """Write the digests, once everything else is in the file."""
        # What HDF5 still holds in memory would seem to be missing.
        file.flush()
        file.require_group(SEALS.rpartition("/")[0])
        seals = self.finished()
        seals[STRUCTURE] = digest_structure(read_structure(file), seals)
        file.create_dataset(SEALS, data=fixed_text(_write(seals)))


def fixed_text(text: str) -> NDArray[np.bytes_]:
    """Return a text, which is not empty, as HDF5 stores it with a fixed length.

    Texts of any length are in a heap, and a flipped bit in a heap can let HDF5 search it for ever.
    """
    data = text.encode()
    return np.array(data, h5py.string_dtype("utf-8", len(data)))


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


def identity(file: h5py.File) -> str:
    """Return the SHA-256 of the digests of everything in a file, which names its content.

    Raises:
        DataError: As `read_seals`.
    """
    return hashlib.sha256(json.dumps(read_seals(file), sort_keys=True).encode()).hexdigest()


def _write(seals: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {path}\n" for path, digest in seals.items())


def damage(file: h5py.File, *, moved: bool = False) -> list[str]:
    """Read every array, text and attribute, and compare it with its digest.

    Args:
        file: The file.
        moved: Whether rows that have digests moved into the file as they were stored. Then they are
            not read: it is enough that all are there, since each has its checksum.

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
    arrays = [path for path, node in structure.items() if "shape" in node and path != SEALS]
    tables = {table_path(path) for path in seals}
    paths = [path for path in arrays if path not in tables]
    found += [f"{path} is missing" for path in seals if path not in paths]
    for path in paths:
        own_rows = table_path(path) in file and offsets_path(path) not in file
        if path in seals and moved and own_rows:
            found += _compare_table(file, path, seals[path])
        elif path in seals:
            found += _compare(file, path, seals[path])
        else:
            found.append(f"{path} has no digest: it was added later")
    return found


def _compare(file: h5py.File, path: str, seal: str) -> Iterator[str]:
    """Yield what is wrong with an array or a text, by its digest."""
    table = table_path(path) if table_path(path) in file else ""
    rows = bytearray()
    try:
        found = digest_array(file, path, rows)
    except Exception as error:
        where = f" at instance {len(rows) // DIGEST}" if table else ""
        yield f"{path} cannot be read{where}: {error}"
        return
    try:
        told = _read_table(file[table]) if table else b""
    except Exception as error:
        yield f"{table} cannot be read: {error}"
        return
    if found != seal:
        # A table that is not the sealed one would accuse the wrong instances.
        right = hashlib.sha256(told).hexdigest() == seal and len(told) == len(rows)
        yield f"{path} was changed: {_name(differing(bytes(rows), told) if right else [])}"
    elif told != rows:
        yield f"{table} was changed: its digest differs"


def _compare_table(file: h5py.File, path: str, seal: str) -> Iterator[str]:
    """Yield what is wrong with the digests of an array's rows, and whether rows are missing."""
    array = file[path]
    if hashlib.sha256(_read_table(file[table_path(path)])).hexdigest() != seal:
        yield f"{table_path(path)} was changed: its digest differs"
    pieces = [-(-n // chunk) for n, chunk in zip(array.shape, array.chunks, strict=True)]
    if array.id.get_num_chunks() != prod(pieces):
        yield f"{path} lacks rows"


def changed_rows(file: h5py.File, instance: int) -> tuple[list[str], int]:
    """Compare the rows of one instance with their digests.

    Returns:
        The paths of the arrays whose row is not the sealed one, and how many rows were compared.

    Raises:
        DataError: As `read_seals`.
        Exception: One of a dozen types of HDF5 and h5py: a row cannot be read.
    """
    tables = {path: table_path(path) for path in read_seals(file) if table_path(path) in file}
    found = []
    for path, table in tables.items():
        ragged = offsets_path(path) in file
        row = read_rows(file, path, instance) if ragged else np.asarray(file[path][instance])
        if digest_row(row) != np.asarray(file[table][instance], np.uint8).tobytes():
            found.append(path)
    return found, len(tables)


def differing(digests: bytes, others: bytes) -> list[int]:
    """Return which of some rows have other digests, of as many from `digest_rows`."""
    one, other = (np.frombuffer(every, np.uint8).reshape(-1, DIGEST) for every in (digests, others))
    return np.flatnonzero((one != other).any(axis=1)).tolist()


def _name(instances: Sequence[int]) -> str:
    """Return what is said of instances whose digests differ; perhaps it is not known which."""
    if not instances:
        return "its digest differs"
    more = f" and {len(instances) - 5} more" if len(instances) > 5 else ""
    several = "instances" if len(instances) > 1 else "instance"
    return f"the digest differs of {several} {', '.join(map(str, instances[:5]))}{more}"


def digest_array(file: h5py.File, path: str, rows: bytearray) -> str:
    """Read an array or a text, and return its digest as hexadecimal digits.

    Args:
        file: The file. An array that has a table of row digests in it is digested by rows.
        path: Path of the array.
        rows: Takes the digests of the rows, as they are read.

    Raises:
        Exception: One of a dozen types of HDF5 and h5py: it cannot be read.
    """
    array = file[path]
    if table_path(path) in file:
        for row in _rows(file, path):
            rows += digest_row(row)
        return hashlib.sha256(rows).hexdigest()
    digest = hashlib.sha256()
    for part in _parts(array):
        digest.update(part)
    return digest.hexdigest()


def _rows(file: h5py.File, path: str) -> Iterator[NDArray[Any]]:
    """Yield the rows of instances of an array, which may be ragged."""
    array, size = file[path], file[path].dtype.itemsize * prod(file[path].shape[1:])
    if offsets_path(path) in file:
        ends = file[offsets_path(path)][:].tolist()
        for begin, end in pairwise(ends):
            progress((end - begin) * size)
            yield array[begin:end]
        return
    step = max(1, _PART // max(1, size))
    for begin in range(0, len(array), step):
        progress(step * size)
        try:
            part = array[begin : begin + step]
        except Exception:  # Read one by one, so that the caller knows which one it is.
            part = (array[number] for number in range(begin, min(begin + step, len(array))))
        yield from part


def _read_table(table: h5py.Dataset) -> bytes:
    """Return the row digests of a table, one after the other."""
    progress(table.size)
    return np.asarray(table[:], np.uint8).tobytes()


def _parts(array: h5py.Dataset) -> Iterator[NDArray[Any] | bytes]:
    """Yield an array in parts that fit in memory, each an HDF5 chunk long; or a text."""
    if array.ndim == 0:
        progress()
        yield array[()]
        return
    step = array.chunks[0]
    for begin in range(0, len(array), step):
        progress(prod(array.chunks) * array.dtype.itemsize)
        yield np.ascontiguousarray(array[begin : begin + step])


def digest_structure(structure: Mapping[str, Any], seals: Mapping[str, str]) -> str:
    """Return the digest of everything but the numbers in a file, the other digests included."""
    tree = {path: node for path, node in structure.items() if path != SEALS}
    return hashlib.sha256(json.dumps([tree, seals], sort_keys=True).encode()).hexdigest()
