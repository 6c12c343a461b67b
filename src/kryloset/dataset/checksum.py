# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The checksum of HDF5 chunks, compiled at first use if there is a C compiler."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kryloset.compiler import Functions, open_functions

#: Bytes of the checksum at the end of an HDF5 chunk.
CHECKED = 4
#: Words that are summed at once, as a square matrix, such that single precision is exact.
_SIDE = 128
_ONES = np.ones(_SIDE, np.float32)
_SUMS = np.stack([np.ones(_SIDE), np.arange(_SIDE)], axis=1)

_DECLARATIONS = "uint32_t kryloset_fletcher32(int64_t, void *);"


@cache
def _compiled() -> Functions | None:
    source = Path(__file__).with_suffix(".c")
    return open_functions(source, _DECLARATIONS, "checksums are computed by NumPy")


def fletcher32(data: Any) -> bytes:
    """Return the Fletcher-32 checksum that HDF5 appends to a chunk, (low, high) sums.

    With words w_0 ... w_(n-1) of 16 bits, big-endian, the sums are those of w_i and of (n - i) w_i
    modulo 65535 (J. Fletcher, "An arithmetic checksum for serial transmissions", IEEE Trans.
    Commun. 30, 1982). Exchanging the bytes of a word multiplies it by 256 modulo 65535, so that the
    words are summed as they are in memory. As HDF5 folds its sums, a multiple of 65535 is 65535
    unless all words are zero.

    Args:
        data: Bytes, or anything with a buffer of them.
    """
    compiled = _compiled()
    if compiled is None:
        return fletcher32_by_numpy(np.frombuffer(data, np.uint8))
    octets = compiled.buffer(data)
    found: int = compiled.library.kryloset_fletcher32(len(octets), octets)
    return found.to_bytes(CHECKED, "little")


def fletcher32_by_numpy(octets: NDArray[np.uint8]) -> bytes:
    """Return what `fletcher32` returns, without a compiled function."""
    if len(octets) % 2:
        octets = np.append(octets, np.uint8(0))
    words = octets.view("<u2")
    count, plain, weighted = len(words), 0, 0
    for begin in range(0, count, _SIDE**2):
        part = words[begin : begin + _SIDE**2]
        if len(part) % _SIDE:
            part = np.append(part, np.zeros(-len(part) % _SIDE, part.dtype))
        matrix = part.astype(np.float32).reshape(-1, _SIDE)
        # Each is below 2^24.
        rows, columns = matrix @ _ONES, _ONES[: len(matrix)] @ matrix
        total, within = (int(each) for each in columns.astype(np.float64) @ _SUMS)
        before = int(_SUMS[: len(matrix), 1] @ rows.astype(np.float64))
        plain += total
        weighted += (count - begin) * total - _SIDE * before - within
    if not plain:
        return bytes(CHECKED)
    sums = ((256 * each % 65535) or 65535 for each in (plain, weighted))
    return b"".join(each.to_bytes(2, "little") for each in sums)
