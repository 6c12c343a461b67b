# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Geometric multigrid of an ensemble: a V-cycle of all lanes in single precision (sweeps.c).

It is the cycle of `kryloset.krylov.preconditioners.multigrid`: a sweep of Gauss and Seidel forward
on the way down, one backward on the way up, and P' A P on the next lattice. All lanes share the
interpolations P. The entries of P' A P are sums of those of A with weights that do not depend on
the lane, so they are the product of a sparse matrix, made once, with the entries.

A sweep from 0 on the way down is (D + L) x = b, so that the residual is -L' x: one pass over the
lower triangle L serves both, and one more the way up.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Self

from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from kryloset.krylov.ensemble.incomplete import IncompleteCholesky
from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.triangle import (
    LowerTriangle,
    Singles,
    aligned,
    load_sweeps,
    row_offsets,
)
from kryloset.krylov.ensemble.vectors import Numbers, address

type Call = Callable[[], None]
"""A kernel with its arguments. Arrays stay where they are, so that addresses are looked up once."""

NONE = 0
"""In place of the address of an array."""


class Level:
    """The matrices on a lattice, and the vectors of a cycle.

    Attributes:
        triangle: Where L has entries. Their places are those in `entries`.
        entries: (size of L + n, own), of L and then of the diagonal D.
        inverse: (n, own), of D.
        b: (n, lanes), right-hand sides.
        x: (n, lanes), solutions.
        r: (n, lanes), residuals.
        widths: n, lanes and own, for C.
        inverted: L and the inverse of D, for C.
        straight: L and D, for C.
    """

    def __init__(self, triangle: LowerTriangle, own: int, lanes: int) -> None:
        """Make room for the numbers."""
        rows = triangle.rows
        self.triangle = triangle
        self.entries, self.inverse = aligned(triangle.size + rows, own), aligned(rows, own)
        self.b, self.x, self.r = (aligned(rows, lanes) for _ in range(3))
        self.widths = (rows, lanes, own)
        lower = (triangle.offsets, triangle.columns, self.entries)
        self.inverted = tuple(map(address, (*lower, self.inverse)))
        self.straight = tuple(map(address, (*lower, self.diagonal)))

    @property
    def diagonal(self) -> Singles:
        """(n, own), a view of `entries`."""
        return self.entries[self.triangle.size :]

    @property
    def bytes(self) -> int:
        """Memory of its numbers."""
        return sum(a.nbytes for a in (self.entries, self.inverse, self.b, self.x, self.r))


@dataclass(frozen=True, eq=False)
class Combination:
    """A sparse matrix of weights that all lanes share."""

    offsets: NDArray[np.int32]
    columns: NDArray[np.int32]
    weights: Singles

    @classmethod
    def of(cls, matrix: sp.sparray) -> Self:
        """Return a matrix in single precision."""
        csr = sp.csr_array(matrix)
        csr.sum_duplicates()
        return cls(
            csr.indptr.astype(np.int32), csr.indices.astype(np.int32), csr.data.astype(np.float32)
        )

    @classmethod
    def empty(cls, rows: int, size: int) -> Self:
        """Return room for some rows and entries."""
        offsets, columns = np.empty(rows + 1, dtype=np.int32), np.empty(size, dtype=np.int32)
        return cls(offsets, columns, np.empty(size, dtype=np.float32))

    def multiplying(self, x: Singles, y: Singles, *, add: bool = False) -> Call:
        """Return the call that sets y to the product with x, or adds it; both (rows, lanes)."""
        given = map(address, (self.offsets, self.columns, self.weights))
        arguments = (*y.shape, *given, int(add), address(x), address(y))
        return partial(load_sweeps().kryloset_sweeps_combine, *arguments)


class GeometricMultigrid:
    """The V-cycles of symmetric positive definite matrices with one pattern."""

    def __init__(
        self,
        places: NDArray[np.int32],
        first: int,
        levels: Sequence[Level],
        interpolations: Sequence[sp.csr_array],
        products: Sequence[Combination],
    ) -> None:
        """Take what `analyse` found.

        Args:
            places: Where in the matrix are the entries of the finest level.
            first: Place of an entry on the diagonal whose unknown is not prescribed.
            levels: The finest first.
            interpolations: To each level but the last one from the next.
            products: From the entries of each level but the last to those of the next.
        """
        self._kernels = kernels = load_sweeps()
        self._places, self._first, self._levels = places, first, levels
        self._products = products
        coarsest = levels[-1]
        own, lanes = coarsest.entries.shape[1], coarsest.b.shape[1]
        self._factor = IncompleteCholesky(coarsest.triangle.filled(), own, lanes)
        self._right, self._left = np.empty((2, coarsest.triangle.rows, lanes))
        self._unit, self._peak = np.ones(own), np.ones(lanes)
        self._dots, self._squares = np.empty((2, lanes))
        self._interpolations = [Combination.of(p) for p in interpolations]
        self._restrictions = [Combination.of(p.T) for p in interpolations]
        self._coarsen: list[Call] = []
        self._descend: list[Call] = []
        self._ascend: list[Call] = []
        for number, (fine, coarse) in enumerate(pairwise(levels)):
            b, x, r = map(address, (fine.b, fine.x, fine.r))
            sweep = (*fine.widths, *fine.inverted, b, x, r)
            self._coarsen.append(products[number].multiplying(fine.entries, coarse.entries))
            self._descend += [
                partial(kernels.kryloset_sweeps_descend, *sweep),
                self._restrictions[number].multiplying(fine.r, coarse.b),
            ]
            self._ascend[:0] = [
                self._interpolations[number].multiplying(coarse.x, fine.x, add=True),
                partial(kernels.kryloset_sweeps_ascend, *sweep, address(self._dots)),
            ]

    @classmethod
    def analyse(
        cls, pattern: Pattern, interpolations: Sequence[PETSc.Mat], own: int, lanes: int
    ) -> Self:
        """Return the cycles of a pattern, before the entries are known.

        Args:
            pattern: of each matrix, symmetric.
            interpolations: from each lattice to the next finer one, that to the unknowns of the
                matrix first. The rows of prescribed unknowns are empty.
            own: number of matrices: `lanes`, or 1 if all lanes share one.
            lanes: number of right-hand sides: 4, 8 or 16.
        """
        matrices = [
            sp.csr_array(mat.getValuesCSR()[::-1], shape=mat.getSize()) for mat in interpolations
        ]
        first = int(np.argmax(np.diff(matrices[0].indptr))) if matrices else 0
        given = LowerTriangle.of(pattern)
        places = np.concatenate((given.places, given.diagonal))
        rows = np.repeat(np.arange(pattern.rows), np.diff(given.offsets))
        triangle = _numbered(rows, given.columns, pattern.rows)
        levels, products = [Level(triangle, own, lanes)], []
        for matrix in matrices:
            triangle, product = _galerkin(triangle, matrix)
            levels.append(Level(triangle, own, lanes))
            products.append(product)
        return cls(places, int(given.diagonal[first]), levels, matrices, products)

    @property
    def finest(self) -> Level:
        """The level of the matrices themselves, all divided by numbers of their own."""
        return self._levels[0]

    @property
    def bytes(self) -> int:
        """Memory of the numbers of all lattices."""
        return sum(level.bytes for level in self._levels) + self._factor.bytes

    def set_up(self, entries: Numbers) -> NDArray[np.bool_]:
        """Take new matrices, and return which lanes have a cycle, (own).

        A lane without one, whose matrix is not positive definite or not finite, gets the identity.

        Args:
            entries: (nnz, own), C-contiguous.
        """
        finest, own = self.finest, entries.shape[1]
        # Divided by one on the diagonal, entries are in the range of single precision.
        with np.errstate(all="ignore"):
            factor = 1 / entries[self._first]
        self._unit = np.where(np.isfinite(factor) & (factor > 0), factor, 1.0)
        status = np.zeros(own, dtype=np.int32)
        given = (address(self._places), address(entries), address(self._unit))
        self._kernels.kryloset_sweeps_gather(
            len(self._places), own, *given, address(finest.entries), address(status)
        )
        usable = (status == 0) & (self._unit == factor)
        _run(self._coarsen)
        with np.errstate(all="ignore"):
            for level in self._levels:
                np.divide(1, level.diagonal, out=level.inverse)
                usable &= ((level.inverse > 0) & (level.inverse < np.inf)).all(axis=0)
        usable &= self._factor.set_up(self._levels[-1].entries.astype(np.float64))
        if not usable.all():
            self._unit[~usable] = 1.0
            for level in self._levels:
                level.entries[:, ~usable] = 0.0
                level.diagonal[:, ~usable] = level.inverse[:, ~usable] = 1.0
        return np.asarray(usable)

    def load(self, x: Numbers) -> Numbers:
        """Put right-hand sides (n, lanes) into `finest.b`; return the squares of their norms there.

        They are divided by the largest number of each lane, which `store` takes back.
        """
        made = map(address, (self._peak, self._squares))
        given = (NONE, address(x), address(self.finest.b))
        self._kernels.kryloset_sweeps_narrow(*self.finest.widths, *given, *made)
        self._peak *= self._unit
        return self._squares

    def store(self, x: Singles, y: Numbers) -> None:
        """Set y (n, lanes) to solutions x for right-hand sides of `load`."""
        given = (address(x), address(self._peak))
        self._kernels.kryloset_sweeps_widen(*self.finest.widths, NONE, *given, address(y))

    def cycle(self) -> Numbers:
        """Set `finest.x` to the result of a cycle for `finest.b`, and return b'x, (lanes)."""
        coarsest = self._levels[-1]
        _run(self._descend)
        self._right[:] = coarsest.b
        self._factor.apply(self._right, self._left)
        coarsest.x[:] = self._left
        if self._ascend:
            _run(self._ascend)
        else:
            np.einsum("il,il->l", self._right, self._left, out=self._dots)
        return self._dots


def _run(calls: Iterable[Call]) -> None:
    for call in calls:
        call()


def _numbered(
    rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]], count: int
) -> LowerTriangle:
    """Return the triangle of a `Level`, in whose entries those of L come before the diagonal."""
    places = np.arange(len(rows) + count, dtype=np.int32)
    return LowerTriangle(
        row_offsets(rows, count),
        columns.astype(np.int32),
        places[: len(rows)],
        places[len(rows) :],
    )


def _galerkin(
    triangle: LowerTriangle, interpolation: sp.csr_array
) -> tuple[LowerTriangle, Combination]:
    """Return where P' A P has entries, and the weights with which those of A are added to them."""
    n, count = interpolation.shape
    lengths = np.diff(interpolation.indptr).astype(np.int64)
    # P' A P has the product of P(i, I), A(i, j) and P(j, J), for all I in row i and J in row j.
    rows = np.repeat(np.arange(n), np.diff(triangle.offsets))
    products = int(2 * lengths[rows] @ lengths[triangle.columns] + lengths @ lengths)
    transpose = interpolation.T.tocsr()
    given = [
        array
        for matrix in (interpolation, transpose)
        for array in (matrix.indptr, matrix.indices, matrix.data)
    ]
    offsets, columns = np.empty(count + 1, np.int32), np.empty(products, np.int32)
    below, on = Combination.empty(products, products), Combination.empty(count, products)
    found = [array for sums in (below, on) for array in (sums.offsets, sums.columns, sums.weights)]
    size = load_sweeps().kryloset_galerkin(
        n,
        count,
        *map(address, (triangle.offsets, triangle.columns, *given, offsets, columns, *found)),
    )
    if size < 0:
        raise MemoryError("no memory to analyse the lattices of multigrid")
    # Copied, since the arrays are longer than needed.
    ends = below.offsets[: size + 1]
    terms, others = slice(ends[-1]), slice(on.offsets[-1])
    places = np.arange(size + count, dtype=np.int32)
    coarse = LowerTriangle(offsets, columns[:size].copy(), places[:size], places[size:])
    return coarse, Combination(
        np.concatenate((ends, ends[-1] + on.offsets[1:])),
        np.concatenate((below.columns[terms], on.columns[others])),
        np.concatenate((below.weights[terms], on.weights[others])),
    )
