# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sparse maps from coefficients to the entries of a matrix or a vector."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from kryloset.fem.affine.integrals import Integers
from kryloset.fem.affine.tensors import ENTRY_ROUNDING, TensorPart


def to_map(
    part: TensorPart, rows: Integers, free: NDArray[np.bool_], *shape: int
) -> scipy.sparse.csr_array:
    """Return the sparse matrix that adds up a part's tensors, without zeros."""
    size = abs(part.tensors)
    # NaN is kept, so that a form that is not affine is detected.
    kept = free & ~(size <= ENTRY_ROUNDING * size.max(axis=1, keepdims=True, initial=0))
    columns = np.broadcast_to(part.places[:, None], rows.shape)
    return scipy.sparse.csr_array((part.tensors[kept], (rows[kept], columns[kept])), shape)


def with_short_indices(total: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Return the map with 32-bit indices if they suffice, since memory limits its product."""
    kind = scipy.sparse.get_index_dtype(maxval=max(total.nnz, *total.shape))
    arrays = total.data, total.indices.astype(kind), total.indptr.astype(kind)
    return scipy.sparse.csr_array(arrays, total.shape)
