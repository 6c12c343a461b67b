# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Linear algebra with tall blocks (n rows, few columns) and small dense matrices.

A tall block holds the local rows of some distributed vectors as its columns, in Fortran order. A
column is then a vector without a copy, and adjacent columns can be handed to BLAS.
"""

from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.native.kernels import load_kernels

type Array = NDArray[Any]
"""An array of PETSc's scalars: float64, or complex128 if PETSc is built for complex numbers."""

DEPENDENT = 1e-7
"""Sine of the angle below which a direction counts as lying in the span of the others.

The square root of the rounding unit, to one digit. A Gram matrix cannot resolve less, and a
recycled direction known to fewer digits is useless."""


SINGULAR = 1e-13
"""Ratio of the diagonal entries of R at which a small matrix counts as singular."""


def wrap_columns(block: Array, comm: MPI.Comm) -> list[PETSc.Vec]:
    """Return the columns of a tall block as Vecs over the ranks of `comm`, without a copy.

    Wrap a block once and keep the Vecs: wrapping costs more than a product of two columns.
    """
    return [PETSc.Vec().createWithArray(block[:, i], comm=comm) for i in range(block.shape[1])]


def sum_over_ranks(values: Array, comm: MPI.Comm) -> Array:
    """Return the sum of an array over the ranks of `comm`, computed in place where possible."""
    if comm.size > 1:
        values = values if values.flags.forc else np.ascontiguousarray(values)
        comm.Allreduce(MPI.IN_PLACE, values)
    return values


def inner(a: Array, b: Array) -> Array:
    """Return this rank's part of a^H b, for tall blocks a (n, p) and b (n, q)."""
    kernels = load_kernels() if a.dtype == np.float64 else None
    if kernels is None:
        return np.asarray(np.dot(a.T, b.conj()).conj())
    product = np.empty((a.shape[1], b.shape[1]), order="F")
    kernels.kryloset_inner(
        a.shape[0], a.shape[1], *_pointer(a), b.shape[1], *_pointer(b), _pointer(product)[0]
    )
    return product


def combine(
    out: Array, first: tuple[Array, Array], second: tuple[Array, Array] | None = None
) -> None:
    """Set `out` (n, k) to the sum of block @ coefficients over one or two terms.

    The blocks may share memory with `out` as long as they share it row by row.
    """
    a, s = first
    b, t = (a[:, :0], s[:0]) if second is None else second
    kernels = load_kernels() if out.dtype == np.float64 else None
    if kernels is None:
        out[...] = np.dot(a, s) if second is None else np.dot(a, s) + np.dot(b, t)
        return
    s, t = np.asfortranarray(s), np.asfortranarray(t)
    failed = kernels.kryloset_combine(
        *out.shape,
        *_pointer(out),
        a.shape[1],
        *_pointer(a),
        _pointer(s)[0],
        b.shape[1],
        *_pointer(b),
        _pointer(t)[0],
    )
    if failed:
        raise MemoryError("no memory for a panel of the recycled space")


def _pointer(block: Array) -> tuple[int, int]:
    """Return the address and the leading dimension of a column-major block, as C takes them."""
    if block.size > 0 and len(block) > 1 and block.strides[0] != block.itemsize:
        raise ValueError("a tall block has to be column-major: np.asfortranarray(block)")
    return block.ctypes.data, block.strides[1] // block.itemsize


class Basis:
    """A tall block that grows by one column a step, with the two halves of a Gram-Schmidt pass.

    Attributes:
        array: (local rows, columns), Fortran order, of PETSc's scalars.
    """

    def __init__(self, rows: int, columns: int, comm: MPI.Comm) -> None:
        """Make a block of zeros."""
        self.array: Array = np.zeros((rows, columns), dtype=PETSc.ScalarType, order="F")
        self._comm = comm
        self._kernels = load_kernels() if self.array.dtype == np.float64 else None
        self._ld = max(rows, 1)
        self._address, self._step = self.array.ctypes.data, self._ld * self.array.itemsize
        # Transposed, so that the products of a column are one run of memory.
        self._products: Array = np.zeros(2 * columns, dtype=self.array.dtype)
        self._products_address = self._products.ctypes.data

    def inner(self, columns: int, count: int) -> Array:
        """Return the inner products of the leading columns with the last `count` of them.

        Args:
            columns: how many columns lead.
            count: one or two.

        Returns:
            (columns, count), summed over the ranks; the next call of a method overwrites it.
        """
        first = columns - count
        if self._kernels is None:
            own = inner(self.array[:, :columns], self.array[:, first:columns])
            self._products[: columns * count] = own.T.ravel()
        else:
            last = self._address + first * self._step
            self._kernels.kryloset_inner(
                len(self.array),
                columns,
                self._address,
                self._ld,
                count,
                last,
                self._ld,
                self._products_address,
            )
        products = sum_over_ranks(self._products[: columns * count], self._comm)
        return products.reshape((count, columns)).T

    def project(
        self, columns: int, first: complex, above: complex = 0.0, second: complex | None = None
    ) -> None:
        """Orthogonalise the last one or two columns with the products that `inner` just computed.

        Let L be these columns and Q those before them. L becomes (L - Q P) S, where P = Q^H L
        and S is (first) or ((first, above), (0, second)).
        """
        count = 1 if second is None else 2
        if self._kernels is None:
            split = columns - count
            products = self._products[: columns * count].reshape((count, columns)).T[:split]
            leading, last = self.array[:, :split], self.array[:, split:columns]
            scale = [[first]] if second is None else [[first, above], [0.0, second]]
            last[...] = np.dot(last - np.dot(leading, products), np.array(scale))
        else:
            self._kernels.kryloset_project(
                len(self.array),
                columns,
                count,
                self._address,
                self._ld,
                self._products_address,
                first,
                above,
                0.0 if second is None else second,
            )


def orthonormalise(block: Array, comm: MPI.Comm) -> Array:
    """Orthonormalise the columns of a tall block in place, dropping dependent ones.

    This is Cholesky QR in two passes (Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, ETNA 44,
    2015). The first pass scales the columns to length one and pivots, which reveals dependent
    columns; the limit is `DEPENDENT`. The other columns are so well conditioned that the second
    pass reaches machine precision. It takes two reductions over the ranks.

    Args:
        block: (n_local, k), Fortran order. The first r columns are overwritten with the
            orthonormal ones.
        comm: the communicator over which the rows are spread.

    Returns:
        T (k, r), r <= k: the orthonormal block is the old block times T. Columns that are zero
        or not finite are dropped, too.
    """
    import scipy.linalg
    from scipy.linalg import lapack

    columns = block.shape[1]
    gram = sum_over_ranks(inner(block, block), comm)
    length = np.sqrt(gram.diagonal().real)
    good = np.flatnonzero(np.isfinite(length) & (length > 0))
    if good.size == 0:
        return np.zeros((columns, 0), dtype=block.dtype)
    # A dropped column may hold NaN, and zero times NaN is NaN.
    block[:, np.setdiff1d(np.arange(columns), good)] = 0
    scale = 1 / length[good]
    unit_gram = gram[np.ix_(good, good)] * np.outer(scale, scale)
    (pstrf,) = lapack.get_lapack_funcs(("pstrf",), (unit_gram,))
    factor, pivots, rank, _ = pstrf(unit_gram, tol=DEPENDENT**2)
    pivots = pivots[:rank] - 1
    inverse = scipy.linalg.solve_triangular(factor[:rank, :rank], np.eye(rank))
    transform = np.zeros((columns, rank), dtype=block.dtype)
    transform[good[pivots]] = scale[pivots, None] * inverse
    ortho = block[:, :rank]
    combine(ortho, (block, transform))
    factor = scipy.linalg.cholesky(sum_over_ranks(inner(ortho, ortho), comm))
    correction = scipy.linalg.solve_triangular(factor, np.eye(rank))
    combine(ortho, (ortho, correction))
    result: Array = transform @ correction
    return result


def harmonic_subspace(g: Array, wv: Array, size: int) -> Array:
    """Return an orthonormal basis of the wanted harmonic Ritz space, in coefficients.

    With B V = W G and orthonormal W, the harmonic Ritz pairs of B over range(V)
    solve G'G z = theta G' W'V z (Parks et al. 2006, eq. 2.11; a prime is the conjugate
    transpose). Written as (1/theta) z = G^+ W'V z, the smallest |theta| are the dominant
    eigenvalues of a small matrix. The leading Schur vectors of the reordered Schur form span
    their space. This is the span of the eigenvectors (of the real and imaginary parts of complex
    ones), found stably even if the eigenvectors are nearly dependent.

    Args:
        g: (rows, p), rows >= p, columns scaled alike.
        wv: W'V, of the same shape.
        size: the dimension wanted, at most p. A conjugate pair is never split: if it would
            be, the basis has one column less.

    Returns:
        (p, size) or (p, size - 1), orthonormal columns; (p, 0) if the pencil is not finite.
    """
    import scipy.linalg
    from scipy.linalg import lapack

    p = g.shape[1]
    nothing = np.zeros((p, 0), dtype=g.dtype)
    if not (np.isfinite(g).all() and np.isfinite(wv).all()):
        return nothing
    q, r = scipy.linalg.qr(g, mode="economic", check_finite=False)
    size_of_r = abs(r.diagonal())
    if size_of_r.min() > SINGULAR * size_of_r.max():
        small = scipy.linalg.solve_triangular(r, q.conj().T @ wv, check_finite=False)
    else:
        # G is singular if A is, or if the space is invariant. Its null vectors get
        # 1/theta = 0 and come last.
        small = np.linalg.lstsq(g, wv, rcond=None)[0]
    gees, trsen = lapack.get_lapack_funcs(("gees", "trsen"), (small,))
    schur, _, *values, vectors, _, failed = gees(lambda *_: 0, small)
    if failed:
        return nothing
    if size >= p:
        return np.asarray(vectors)
    order = np.argsort(-np.hypot(*_parts(values)), kind="stable")
    # The two of a conjugate pair of a real matrix have the same modulus, bit for bit, and so
    # are adjacent after sorting.
    if len(values) == 2:
        imaginary = values[1][order]
        if imaginary[size - 1] != 0 and np.count_nonzero(imaginary[:size]) % 2:
            size -= 1
    select = np.zeros(p, dtype=np.int32)
    select[order[:size]] = 1
    vectors = trsen(select, schur, vectors, job="N")[1]
    return np.asarray(vectors[:, :size])


def _parts(values: list[Array]) -> tuple[Array, Array]:
    """Return real and imaginary parts of eigenvalues as LAPACK gives them."""
    return (values[0].real, values[0].imag) if len(values) == 1 else (values[0], values[1])
