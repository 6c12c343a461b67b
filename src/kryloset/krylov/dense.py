# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The linear algebra of blocks: tall ones (n rows, few columns) and small dense ones.

A tall block holds the local rows of some distributed vectors, one a column, in
Fortran order, so that a column is a vector without a copy and a run of columns goes
to BLAS as it is.
"""

from mpi4py import MPI

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg import lapack

type Array = NDArray[np.float64]

PANEL = 2048
"""Rows handled at once where a block is overwritten by its own product."""

DEPENDENT = 1e-7
"""Sine of the angle below which a direction counts as lying in the span of the others.

The square root of the rounding unit, to one digit: a Gram matrix cannot see less, and a
recycled direction known to fewer digits than that is worth nothing."""


SINGULAR = 1e-13
"""Ratio of the diagonal entries of R at which a small matrix counts as singular."""


def sum_over_ranks(values: Array, comm: MPI.Comm) -> Array:
    """Sum a contiguous array over the ranks of `comm`, in place."""
    if comm.size > 1:
        comm.Allreduce(MPI.IN_PLACE, values)
    return values


def combine(out: Array, *terms: tuple[Array, Array]) -> None:
    """Set `out` (n, k) to the sum of block @ coefficients over `terms`.

    The blocks may share memory with `out` as long as they share it row by row: the
    product is formed in panels of rows.
    """
    for start in range(0, out.shape[0], PANEL):
        rows = slice(start, start + PANEL)
        # Transposed, so that each column of `out` is written as one run of memory.
        products = [np.dot(coefficients.T, block[rows].T) for block, coefficients in terms]
        for other in products[1:]:
            products[0] += other
        out[rows].T[...] = products[0]


def orthonormalise(block: Array, comm: MPI.Comm) -> Array:
    """Orthonormalise the columns of a tall block in place, dropping dependent ones.

    Cholesky QR, twice (Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, ETNA 44, 2015), the
    first time pivoted on columns scaled to length one, so that a rank loss is seen and cut
    off at `DEPENDENT`; what is left has a condition number at which the second pass
    reaches machine precision. Two reductions over the ranks.

    Args:
        block: (n_local, k), Fortran order. The first r columns are overwritten with the
            orthonormal ones.
        comm: the communicator over which the rows are spread.

    Returns:
        T (k, r), r <= k, with orthonormal block = old block @ T. Columns that are zero or
        not finite are among the dropped.
    """
    columns = block.shape[1]
    gram = sum_over_ranks(np.dot(block.T, block), comm)
    length = np.sqrt(gram.diagonal())
    good = np.flatnonzero(np.isfinite(length) & (length > 0))
    if good.size == 0:
        return np.zeros((columns, 0))
    # A dropped column may hold NaN, which a zero coefficient would not silence.
    block[:, np.setdiff1d(np.arange(columns), good)] = 0
    scale = 1 / length[good]
    unit_gram = gram[np.ix_(good, good)] * np.outer(scale, scale)
    factor, pivots, rank, _ = lapack.dpstrf(unit_gram, tol=DEPENDENT**2)
    pivots = pivots[:rank] - 1
    inverse = scipy.linalg.solve_triangular(factor[:rank, :rank], np.eye(rank))
    transform = np.zeros((columns, rank))
    transform[good[pivots]] = scale[pivots, None] * inverse
    ortho = block[:, :rank]
    combine(ortho, (block, transform))
    factor = scipy.linalg.cholesky(sum_over_ranks(np.dot(ortho.T, ortho), comm))
    correction = scipy.linalg.solve_triangular(factor, np.eye(rank))
    combine(ortho, (ortho, correction))
    result: Array = transform @ correction
    return result


def harmonic_subspace(g: Array, wv: Array, size: int) -> Array:
    """Return an orthonormal basis of the wanted harmonic Ritz space, in coefficients.

    With B V = W G and orthonormal W, the harmonic Ritz pairs of B over range(V)
    solve G'G z = theta G' W'V z (Parks et al. 2006, eq. 2.11). Written as
    (1/theta) z = G^+ W'V z, the smallest |theta| are the dominant eigenvalues of a small
    matrix, and their space is spanned by the leading Schur vectors once the Schur form is
    reordered. That is the span of the eigenvectors (real and imaginary parts of the
    complex ones), with no trouble when the eigenvectors are nearly dependent.

    Args:
        g: (p + 1, p) or (p, p), columns scaled alike.
        wv: W'V, of the same shape.
        size: the dimension wanted, at most p. A conjugate pair that would be cut is left
            out, so that the basis can have a column less.

    Returns:
        (p, size) or (p, size - 1), orthonormal columns; (p, 0) if the pencil is not finite.
    """
    p = g.shape[1]
    if not (np.isfinite(g).all() and np.isfinite(wv).all()):
        return np.zeros((p, 0))
    q, r = scipy.linalg.qr(g, mode="economic", check_finite=False)
    size_of_r = abs(r.diagonal())
    if size_of_r.min() > SINGULAR * size_of_r.max():
        small = scipy.linalg.solve_triangular(r, q.T @ wv, check_finite=False)
    else:
        # A singular G (a singular A, an invariant space): its null vectors get
        # 1/theta = 0 and come last.
        small = np.linalg.lstsq(g, wv, rcond=None)[0]
    vectors: Array
    schur, _, real, imaginary, vectors, _, failed = lapack.dgees(lambda *_: 0, small)
    if failed:
        return np.zeros((p, 0))
    if size >= p:
        return vectors
    order = np.argsort(-np.hypot(real, imaginary), kind="stable")
    # Of a conjugate pair both have the same modulus to the last bit and stand together.
    if imaginary[order[size - 1]] != 0 and np.count_nonzero(imaginary[order[:size]]) % 2:
        size -= 1
    select = np.zeros(p, dtype=np.int32)
    select[order[:size]] = 1
    _, vectors, _, _, found, *_ = lapack.dtrsen(select, schur, vectors, job="N")
    return vectors[:, :found]
