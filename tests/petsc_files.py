# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""PETSc's binary format written with NumPy, and small sequences in it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp


def encode(array: sp.csr_array | np.ndarray, index: str = ">i4", scalar: str = ">f8") -> bytes:
    """Return a matrix or a vector as PETSc writes it."""
    if isinstance(array, np.ndarray):
        return np.array([1211214, array.size], index).tobytes() + array.astype(scalar).tobytes()
    parts = (np.array([1211216, *array.shape, array.nnz]), np.diff(array.indptr), array.indices)
    return b"".join(p.astype(index).tobytes() for p in parts) + array.data.astype(scalar).tobytes()


def write_sequence(
    folder: Path, matrices: Sequence[sp.csr_array], vectors: Sequence[np.ndarray]
) -> None:
    """Write `A_<i>.dat` and `rhs_<i>.dat`."""
    for name, arrays in (("A", matrices), ("rhs", vectors)):
        for i, array in enumerate(arrays):
            (folder / f"{name}_{i}.dat").write_bytes(encode(array))


def make_systems(
    count: int, side: int = 6, wind: float = 0.5
) -> tuple[list[sp.csr_array], list[np.ndarray], np.ndarray]:
    """Return matrices of one pattern, right-hand sides and parameters.

    The five-point stencil of -Laplace(u) + wind u_x + a u, a random and positive.
    """
    rng = np.random.default_rng(count)
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(side, side))
    drift = sp.diags_array([-1.0, 1.0], offsets=[-1, 0], shape=(side, side))
    eye = sp.eye_array(side)
    base = sp.kron(line + wind * drift, eye) + sp.kron(eye, line)
    parameters = rng.random((count, side, side))
    matrices = [sp.csr_array(base + sp.diags_array(a.ravel())) for a in parameters]
    for matrix in matrices:
        matrix.sort_indices()
    return matrices, list(rng.standard_normal((count, side**2))), parameters
