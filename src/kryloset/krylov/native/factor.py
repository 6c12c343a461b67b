# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A sparse factor in single precision, made once and applied thousands of times (factor.c).

Memory bandwidth limits how fast a factor is applied. This one has half the bytes per number of
PETSc's, one index per row of a dense block instead of one per entry, and only one half of a
symmetric factor, which both sweeps read.

A = L S U is a block factorisation over supernodes, found by the multifrontal method (I. Duff and
J. Reid, ACM Trans. Math. Software 9, 1983) in double precision. The inverses of the diagonal
blocks S are kept, so that both sweeps are dense products, without a recurrence within a block.
Small supernodes are merged where that makes the factor cheaper to apply (C. Ashcraft and
R. Grimes, ACM Trans. Math. Software 15, 1989). There is no pivoting. A test finds the matrices for
which that, or single precision, is not good enough; they are left to PETSc's factors.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.native.kernels import load_kernels

if TYPE_CHECKING:
    import scipy.sparse as sp

WIDTH = 8
"""Numbers in a pack, as in factor.c."""

WEIGHTS = (WIDTH, 10, 100, 0)
"""What nodes cost: see cost() in factor.c."""

ACCURATE = 1e-2
"""Largest relative error in the solution of a random system at which a factor is used."""


@dataclass(frozen=True, eq=False)
class Supernodes:
    """The part of a factor that the pattern determines: which unknowns are eliminated together.

    Attributes:
        order: (n), old numbers in the order of elimination.
        place: (n), the new number of each.
        starts: (count + 1), new number of the first unknown of each supernode.
        parents: (count), the supernode of its first row; -1 if it has no rows.
        row_offsets: (count + 1), where in `rows` its rows begin.
        rows: new numbers of the later unknowns that its elimination touches, ascending.
    """

    order: NDArray[np.int32]
    place: NDArray[np.int32]
    starts: NDArray[np.int32]
    parents: NDArray[np.int32]
    row_offsets: NDArray[np.int64]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, matrix: "sp.csr_array") -> Self:
        """Order the unknowns by PETSc's nested dissection, and find the supernodes.

        Args:
            matrix: (n, n), its entries do not matter.
        """
        pattern = symmetric_pattern(matrix.indptr, matrix.indices)
        return cls.ordered(*pattern, order_of(*pattern), WEIGHTS)

    @classmethod
    def ordered(
        cls,
        offsets: NDArray[np.int32],
        columns: NDArray[np.int32],
        order: NDArray[np.int32],
        weights: tuple[int, ...],
    ) -> Self:
        """Find the supernodes of an order that reduces fill.

        Args:
            offsets: (n + 1), where each row of a structurally symmetric matrix begins.
            columns: (nnz), the columns of its entries.
            order: (n), old numbers in the order of elimination.
            weights: What nodes cost: see cost() in factor.c.
        """
        kernels = load_kernels()
        assert kernels is not None
        n = len(order)
        order = order.copy()
        starts, parents = np.empty(n + 1, dtype=np.int32), np.empty(n, dtype=np.int32)
        row_offsets = np.empty(n + 1, dtype=np.int64)
        csr = (offsets, columns)
        arrays = (*csr, np.array(weights, np.int32), order, starts, row_offsets, parents)
        count = kernels.kryloset_analyse(n, *(array.ctypes.data for array in arrays))
        if count < 0:
            raise MemoryError("no memory to analyse the pattern of a factor")
        place = np.empty(n, dtype=np.int32)
        place[order] = np.arange(n, dtype=np.int32)
        # Copied, since the arrays of n numbers are longer than needed.
        starts, parents = starts[: count + 1].copy(), parents[:count].copy()
        row_offsets = row_offsets[: count + 1].copy()
        rows = np.empty(row_offsets[-1], dtype=np.int32)
        given = [array.ctypes.data for array in (*csr, order, place)]
        found = [array.ctypes.data for array in (starts, row_offsets, parents, rows)]
        if kernels.kryloset_rows(n, *given, count, *found):
            raise MemoryError("no memory to analyse the pattern of a factor")
        return cls(order, place, starts, parents, row_offsets, rows)


def symmetric_pattern(
    offsets: NDArray[np.int32], columns: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the pattern of A + A', in compressed rows as that of A is given.

    Args:
        offsets: (n + 1), where the entries of each row of A begin.
        columns: (nnz), the column of each.
    """
    n = len(offsets) - 1
    rows = np.repeat(np.arange(n), np.diff(offsets))
    keys = np.unique(np.concatenate((rows * n + columns, columns * np.int64(n) + rows)))
    ends = np.searchsorted(keys, np.arange(n + 1) * n)
    return ends.astype(np.int32), (keys % n).astype(np.int32)


def order_of(offsets: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return PETSc's nested dissection of a structurally symmetric pattern, (n) old numbers.

    Args:
        offsets: (n + 1), where the entries of each row begin.
        columns: (nnz), the column of each.
    """
    n, csr = len(offsets) - 1, (offsets, columns, np.ones(len(columns)))
    mat = PETSc.Mat().createAIJ((n, n), csr=csr, comm=PETSc.COMM_SELF)
    order = np.array(mat.getOrdering("nd")[0].getIndices(), dtype=np.int32)
    mat.destroy()
    return order


class Factor:
    """A factor of T A T with T = |diag A|^(-1/2), and its application.

    With this scaling, entries and pivots are within the range of single precision.
    """

    def __init__(
        self,
        supernodes: Supernodes,
        block_offsets: NDArray[np.int64],
        blocks: NDArray[np.float32],
        scale: NDArray[np.float64],
        *,
        symmetric: bool,
    ) -> None:
        """Take what `make_factor` computed.

        Args:
            supernodes: of the pattern.
            block_offsets: (count + 1), where in `blocks` those of a supernode begin.
            blocks: of all supernodes.
            scale: (n), the diagonal of T.
            symmetric: whether U is L', and not kept.
        """
        self._own, self._symmetric = scale, symmetric
        self._scale = scale.copy()
        n, s = len(scale), supernodes
        widest = max(np.diff(s.row_offsets).max(initial=0), np.diff(s.starts).max(initial=0))
        work = _aligned(int(_padded(n) + _padded(widest)))
        # Kept alive, since C is given only addresses.
        self._held = (supernodes, block_offsets, blocks, work)
        before = (self._scale, s.order)
        nodes = (s.starts, s.row_offsets, s.rows, block_offsets)
        self._arguments = (
            *(array.ctypes.data for array in before),
            len(s.starts) - 1,
            *(array.ctypes.data for array in nodes),
            int(symmetric),
            blocks.ctypes.data,
            work.ctypes.data,
        )
        self._apply = load_kernels().kryloset_apply  # type: ignore[union-attr]

    def fit(self, scale: NDArray[np.float64]) -> None:
        """Apply D A^-1 D from now on, D the diagonal matrix of (n) numbers."""
        np.multiply(self._own, scale, out=self._scale)

    def apply(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Set y (n) to A^-1 x, to single precision relative to the largest entry of T x.

        For a symmetric matrix the operator is symmetric, to the same precision.
        """
        self._apply(
            len(x),
            x.__array_interface__["data"][0],
            y.__array_interface__["data"][0],
            *self._arguments,
        )


def can_factor(comm: PETSc.Comm) -> bool:
    """Return whether these factors can be made: real numbers, one rank and a C compiler."""
    return comm.size == 1 and PETSc.ScalarType is np.float64 and load_kernels() is not None


def make_factor(
    matrix: "sp.csr_array", supernodes: Supernodes, *, symmetric: bool
) -> Factor | None:
    """Factor a matrix, or return None if the factor is not accurate enough.

    That is so if a pivot is zero, or if single precision or the lack of pivoting leaves a relative
    error of more than `ACCURATE` in the solution of a random system.

    Args:
        matrix: (n, n), with int32 indices.
        supernodes: of its pattern.
        symmetric: whether it equals its transpose; it may be indefinite.
    """
    kernels = load_kernels()
    assert kernels is not None
    n, s = matrix.shape[0], supernodes
    diagonal = np.abs(matrix.diagonal())
    known = (diagonal > 0) & np.isfinite(diagonal)
    scale = 1 / np.sqrt(np.where(known, diagonal, 1.0))
    widths, rows = np.diff(s.starts).astype(np.int64), np.diff(s.row_offsets)
    sizes = widths * (_padded(widths) + _padded(rows) * (1 if symmetric else 2))
    block_offsets = np.concatenate([[0], np.cumsum(sizes)])
    blocks = _aligned(int(block_offsets[-1]))
    transposed = matrix if symmetric else matrix.T.tocsr()
    entries = [array for m in (matrix, transposed) for array in (m.indptr, m.indices, m.data)]
    given = [array.ctypes.data for array in (*entries, scale, s.order, s.place)]
    nodes = (s.starts, s.row_offsets, s.rows, s.parents, block_offsets)
    status = kernels.kryloset_factorise(
        n,
        *given,
        len(widths),
        *(array.ctypes.data for array in nodes),
        int(symmetric),
        blocks.ctypes.data,
    )
    if status == 2:
        raise MemoryError("no memory for a factor")
    if status:
        return None
    factor = Factor(supernodes, block_offsets, blocks, scale, symmetric=symmetric)
    expected = np.random.default_rng(0).standard_normal(n)
    solution = np.empty(n)
    factor.apply(matrix @ (scale * expected), solution)
    error = np.linalg.norm(solution / scale - expected)
    # Written so that NaN gives None.
    return factor if error <= ACCURATE * np.linalg.norm(expected) else None


def _padded(rows: Any) -> Any:
    return -(-rows // WIDTH) * WIDTH


def _aligned(size: int) -> NDArray[np.float32]:
    """Return zeros whose address is aligned for a pack."""
    raw = np.zeros(size + WIDTH, dtype=np.float32)
    start = -raw.ctypes.data // raw.itemsize % WIDTH
    return raw[start : start + size]
