# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Factors of an ensemble: A = L D L' or L D U of all lanes at once, without pivoting.

Each number of a factor is a vector with one lane a matrix (ensemble.c). The pattern is analysed
once: an order of little fill, and supernodes, in which products are dense. The factor is one
of T A T with a unit diagonal, so that its numbers are within the range of single precision:
T = |diag A|^(-1/2). Rows with a zero diagonal, of the constraint of a saddle point, are scaled to
norm 1 and get a small diagonal of the other sign: the matrix is quasidefinite then, and has a
factor in any order (R. Vanderbei, SIAM J. Optim. 5, 1995). Refinement outside takes the shift and
the rounding away again. A matrix that needs pivoting shows by a residual that does not fall.
"""

from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.compiler import compile_library
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import address
from kryloset.krylov.native import factor
from kryloset.krylov.native.factor import Supernodes
from kryloset.krylov.native.kernels import FLAGS, load_kernels, open_library

SHIFTS = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-8}
"""The diagonal that a row of norm 1 gets in place of zero: above the rounding that it amplifies."""

WEIGHTS = (1, 0, 20, 0)
"""What nodes cost: see cost() in factor.c."""

NARROW = 8
"""Largest bandwidth at which unknowns keep their order, as on a line. Nested dissection of a line
has more than twice the operations."""

AHEAD = 8
"""Entries that C fetches before they are needed."""

ALIGNMENT = 64
"""Bytes to whose multiples C wants its vectors."""


def can_factor() -> bool:
    """Return whether ensembles have factors: real numbers and a C compiler."""
    return PETSc.ScalarType is np.float64 and load_kernels() is not None


@cache
def load_lanes(real: str, lanes: int, *, shared: bool) -> Any:
    """Return ensemble.c compiled for a precision and a number of lanes in a register."""
    bits = "int32_t" if real == "float" else "int64_t"
    macros = {"REAL": real, "BITS": bits, "LANES": lanes, "SHARED": int(shared)}
    flags = (*FLAGS, *(f"-D{name}={value}" for name, value in macros.items()))
    texts = [Path(factor.__file__).with_name("ensemble.c").read_text()]
    return open_library(compile_library("ensemble", texts, flags, lambda: texts), texts)


class Elimination:
    """What the pattern of a matrix determines of its factor.

    Attributes:
        pattern: of the matrix.
        symmetric: whether the matrices are.
        nodes: which unknowns are eliminated together, subtree by subtree.
        blocks: (count + 1), where in the factor the numbers of each node begin.
        fronts: (count), where in the room for fronts that of a node begins.
        room: numbers of the fronts of nodes with children, as many as are there at once.
        node: numbers of the panels and pivots of the largest node at work.
        flops: of one factorisation of one matrix, without zeros that supernodes add.
    """

    def __init__(self, pattern: Pattern, *, symmetric: bool) -> None:
        """Analyse a pattern.

        Args:
            pattern: of the matrices.
            symmetric: whether the matrices are. They may be indefinite.
        """
        both = factor.symmetric_pattern(pattern.offsets, pattern.columns)
        self.pattern, self.symmetric = pattern, symmetric
        order = _choose_order(*both)
        self.flops = self._postorder(*both, order)
        self.nodes = s = Supernodes.ordered(*both, order, WEIGHTS)
        widths, rows = np.diff(s.starts).astype(np.int64), np.diff(s.row_offsets)
        halves = 1 if symmetric else 2
        self.blocks = np.concatenate(
            [[0], np.cumsum(halves * (widths * (widths + 1) // 2 + widths * rows))]
        )
        self.node = int((2 * widths * (widths + rows) + widths).max(initial=0))
        all_rows = widths + rows
        self.fronts, self.room = stack(s.parents, halves * all_rows * (all_rows + 1) // 2)
        self._widths, self._rows = widths, rows

    def _postorder(
        self, offsets: NDArray[np.int32], columns: NDArray[np.int32], order: NDArray[np.int32]
    ) -> int:
        """Put an order subtree by subtree, and return the operations of a factorisation in it."""
        kernels = load_kernels()
        assert kernels is not None
        below = np.empty(len(order), dtype=np.int32)
        arrays = (offsets, columns, order, below)
        if kernels.kryloset_postorder(len(order), *(array.ctypes.data for array in arrays)):
            raise MemoryError("no memory to analyse the pattern of a factor")
        # A column of c numbers below its pivot takes a division, c products, and a rank-one update.
        c = below.astype(np.int64)
        updates = c * (c + 1) if self.symmetric else 2 * c**2
        return int(updates.sum() + c.sum() + len(c))

    def place(self, node: NDArray[np.int32], unknown: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the rows of unknowns (new numbers) in the panels of nodes that contain them."""
        s, n = self.nodes, self.pattern.rows
        owner = np.repeat(np.arange(len(self._rows), dtype=np.int64), self._rows)
        keys = owner * n + s.rows
        below = np.searchsorted(keys, node.astype(np.int64) * n + unknown)
        return np.where(
            unknown < s.starts[node + 1],
            unknown - s.starts[node],
            self._widths[node] + below - s.row_offsets[node],
        )

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What C reads, in the order of `plan` in ensemble.c."""
        s = self.nodes
        parents, count = s.parents, len(s.parents)
        owner = np.repeat(np.arange(count, dtype=np.int32), self._rows)
        places = self.place(parents[owner], s.rows)
        lefts = np.repeat(
            np.arange(self.pattern.rows, dtype=np.int32), np.diff(self.pattern.offsets)
        )
        rights = self.pattern.columns
        row, column = s.place[lefts], s.place[rights]
        sources = np.flatnonzero(row >= column) if self.symmetric else np.arange(len(row))
        row, column = row[sources], column[sources]
        early, late = np.minimum(row, column), np.maximum(row, column)
        node = np.repeat(np.arange(count, dtype=np.int32), self._widths)[early]
        width, entry_rows = self._widths[node], self.place(node, late)
        targets = entry_rows * width + early - s.starts[node]
        # By rows of each panel.
        by_row = np.argsort(node * (targets.max(initial=0) + 1) + targets)
        entry_offsets = np.searchsorted(node[by_row], np.arange(count + 1))
        found = (sources, row, column, entry_rows, targets)
        int32, int64 = np.dtype(np.int32), np.dtype(np.int64)
        entries = [np.append(array[by_row], np.zeros(AHEAD, int32)) for array in found]
        typed: tuple[tuple[NDArray[Any], np.dtype[Any]], ...] = (
            (s.order, int32),
            (s.starts, int32),
            (s.row_offsets, int64),
            (s.rows, int32),
            (places, int32),
            (parents, int32),
            (self.blocks, int64),
            (self.fronts, int64),
            (entry_offsets, int64),
            *((array, int32) for array in entries),
        )
        return tuple(np.ascontiguousarray(array, dtype=kind) for array, kind in typed)


def _choose_order(offsets: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return nested dissection, or the given order where that has a narrow band.

    Args:
        offsets: (n + 1), where the entries of each row of a symmetric pattern begin.
        columns: (nnz), the column of each.
    """
    numbers = np.arange(len(offsets) - 1, dtype=np.int32)
    rows = np.repeat(numbers, np.diff(offsets))
    narrow = np.abs(rows - columns).max(initial=0) <= NARROW
    return numbers if narrow else factor.order_of(offsets, columns)


def stack(parents: NDArray[np.int32], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return where in one room fronts are put, and the size of the room.

    A front is there from the turn of its node's first child to its node's own. A node without
    children has none.

    Args:
        parents: (count), -1 of a root; each subtree is numbered without a gap, its root last.
        sizes: (count), of the fronts.
    """
    kernels = load_kernels()
    assert kernels is not None
    offsets = np.empty(len(parents), dtype=np.int64)
    arrays = (parents, sizes, offsets)
    room = kernels.kryloset_stack(len(parents), *(array.ctypes.data for array in arrays))
    if room < 0:
        raise MemoryError("no memory to analyse the pattern of a factor")
    return offsets, room


class EnsembleFactor:
    """The factors of up to 16 matrices of one pattern, or of one matrix for all lanes."""

    def __init__(
        self,
        elimination: Elimination,
        lanes: int,
        *,
        double: bool = False,
        constant: bool = False,
        singular: bool = False,
    ) -> None:
        """Take an analysis; memory is taken at the first set-up.

        Args:
            elimination: of the pattern.
            lanes: 4, 8 or 16.
            double: whether numbers are in double precision.
            constant: whether all lanes share one matrix.
            singular: whether the matrices are known to be. Pivots next to zero are put to 1 then,
                and a system that has solutions gets one of them.
        """
        kernels = load_kernels()
        assert kernels is not None
        self.elimination, self.lanes, self.constant = elimination, lanes, constant
        self._real = np.dtype(np.float64 if double else np.float32)
        self._width = min(lanes, kernels.kryloset_register() // self._real.itemsize)
        self._c = load_lanes("double" if double else "float", self._width, shared=constant)
        n, arrays = elimination.pattern.rows, elimination.arrays
        counts = (n, lanes, len(elimination.nodes.parents))
        flags = (int(elimination.symmetric), int(singular))
        self._plan = np.array([*counts, *flags, *(array.ctypes.data for array in arrays)], np.int64)
        self._copies = 1 if constant else lanes
        self._scale = np.ones((n, self._copies))
        self._blocks: NDArray[Any] | None = None
        self._work = self._aligned(n * self._width)

    @classmethod
    def analyse(
        cls,
        pattern: Pattern,
        lanes: int,
        *,
        symmetric: bool,
        double: bool = False,
        constant: bool = False,
        singular: bool = False,
    ) -> Self:
        """Analyse a pattern, once for all matrices that have it: see `Elimination`."""
        elimination = Elimination(pattern, symmetric=symmetric)
        return cls(elimination, lanes, double=double, constant=constant, singular=singular)

    @property
    def bytes(self) -> int:
        """Memory of the factors of all lanes, of the room for them to be made, and of scales."""
        e = self.elimination
        in_register = 1 if self.constant else self._width
        numbers = int(e.blocks[-1]) * self._copies + (e.room + e.node) * in_register
        return numbers * self._real.itemsize + 2 * self._scale.nbytes + self._work.nbytes

    @property
    def flops(self) -> int:
        """Floating-point operations of one set-up, over all lanes."""
        return self.elimination.flops * self._copies

    def set_up(self, entries: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Factorise new matrices.

        Args:
            entries: (nnz, lanes), or (nnz, 1) of one matrix for all lanes, C-contiguous.

        Returns:
            (lanes), or (1): whether a matrix has a factor. If not, for a pivot is zero or not
            finite, the identity takes its place.
        """
        e, pattern = self.elimination, self.elimination.pattern
        if self._blocks is None:
            in_register = 1 if self.constant else self._width
            self._blocks = self._aligned(int(e.blocks[-1]) * self._copies)
            self._fronts = self._aligned(e.room * in_register)
            self._room = self._aligned(e.node * in_register)
            self._begun = np.empty(len(e.nodes.parents), dtype=np.uint8)
            self._shifts = np.empty_like(self._scale)
        usable = np.empty(self._copies, dtype=np.bool_)
        matrix = (pattern.offsets, pattern.columns, pattern.diagonal, e.nodes.place, entries)
        plan, scale, shifts = (a.ctypes.data for a in (self._plan, self._scale, self._shifts))
        shifted = self._c.kryloset_ensemble_scale(
            plan, *(array.ctypes.data for array in matrix), SHIFTS[self._real], scale, shifts
        )
        results = (self._blocks, self._fronts, self._room, self._begun, usable)
        self._c.kryloset_ensemble_factorise(
            plan,
            entries.ctypes.data,
            scale,
            shifts if shifted else 0,
            *(array.ctypes.data for array in results),
        )
        self._scale[:, ~usable] = 1.0
        return usable

    def apply(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Set y to A^-1 x, both (n, lanes) and C-contiguous, to the precision of the numbers."""
        assert self._blocks is not None
        arrays = (self._plan, self._blocks, self._scale, x, y, self._work)
        self._c.kryloset_ensemble_apply(*map(address, arrays))

    def _aligned(self, numbers: int) -> NDArray[Any]:
        """Return room for numbers, aligned for a register."""
        raw = np.empty(numbers + ALIGNMENT // self._real.itemsize, dtype=self._real)
        start = -raw.ctypes.data % ALIGNMENT // self._real.itemsize
        return raw[start : start + numbers]
