# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Vectors of an ensemble, (n, lanes): inner products and sums with a number for each lane.

Nothing passes from lane to lane. Each has the numbers that it would have alone, to the last bit,
whatever is in the others (lanes.c).
"""

import math
from typing import Any

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.native.kernels import load_kernels
from kryloset.krylov.scaling import LARGEST

_LINE = 64
"""Bytes of a line of the cache."""

type Numbers = NDArray[np.float64]
"""Vectors (n, lanes), C-contiguous, or numbers (lanes)."""


def as_lanes(vector: PETSc.Vec, lanes: int) -> Numbers:
    """Return the numbers of a vector as (n, lanes), to be read."""
    return np.asarray(vector.array_r).reshape(-1, lanes)


def zeros(*shape: int) -> Numbers:
    """Return an array of zeros that begins where a line of the cache does.

    Vectors of lanes then cross none. NumPy's own large arrays begin 16 bytes later.
    """
    size = math.prod(shape)
    raw = np.zeros(size + _LINE // 8)
    start = -raw.ctypes.data % _LINE // raw.itemsize
    return raw[start : start + size].reshape(shape)


class Vectors:
    """Vectors (n, lanes) by number, made when they are first used and then used again.

    New memory would cost more time than what is computed in it.
    """

    def __init__(self, rows: int, lanes: int) -> None:
        """Hold none yet."""
        self._shape = (rows, lanes)
        self._made: list[Numbers] = []

    def __getitem__(self, number: int) -> Numbers:
        """Return a vector, with any numbers in it."""
        while len(self._made) <= number:
            self._made.append(zeros(*self._shape))
        return self._made[number]


def address(array: NDArray[Any]) -> int:
    """Return where the numbers of an array begin."""
    return int(array.__array_interface__["data"][0])


def dot(x: Numbers, y: Numbers) -> Numbers:
    """Return the inner products x'y, (lanes)."""
    compiled = load_kernels()
    # C has no single lane.
    if compiled is None or x.shape[1] == 1:
        return np.asarray(np.einsum("il,il->l", x, y))
    dots = np.empty(x.shape[1])
    compiled.kryloset_lanes_dot(*x.shape, address(x), address(y), address(dots))
    return dots


def combine(a: Numbers, x: Numbers, c: Numbers, y: Numbers, z: Numbers) -> Numbers:
    """Set z to a x + c y and return the squares z'z, (lanes). z may be x or y."""
    squares = np.empty(len(a))
    kernels().kryloset_lanes_add(*x.shape, *map(address, (a, x, c, y, z, squares)))
    return squares


def norms_of(x: Numbers, squares: Numbers | None = None) -> Numbers:
    """Return the Euclidean norms of the lanes, (lanes), without overflow or underflow.

    Args:
        x: (n, lanes).
        squares: x'x, if they are known.
    """
    with np.errstate(all="ignore"):
        norms = np.sqrt(dot(x, x) if squares is None else squares)
        for lane in np.flatnonzero(~((norms > 1 / LARGEST) & (norms < LARGEST))):
            size = float(np.abs(x[:, lane]).max(initial=0.0))
            if size == 0.0 or not np.isfinite(size):
                norms[lane] = size
            else:
                exponent = int(np.frexp(size)[1])
                norms[lane] = np.ldexp(np.linalg.norm(np.ldexp(x[:, lane], -exponent)), exponent)
    return np.asarray(norms)


def kernels() -> Any:
    """Return the compiled kernels, without which ensembles are not solved together."""
    compiled = load_kernels()
    assert compiled is not None
    return compiled
