# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Matrices and sequences of systems, made with NumPy and SciPy alone."""

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import scipy.sparse as sp

type Systems = list[sp.csr_array]


def to_mat(matrix: sp.csr_array, comm: MPI.Comm = MPI.COMM_SELF) -> PETSc.Mat:
    """Return the matrix as a PETSc Mat, rows spread evenly over `comm`."""
    matrix = sp.csr_array(matrix)
    mat = PETSc.Mat().create(comm)
    mat.setSizes(matrix.shape)
    mat.setType("aij")
    mat.setUp()
    refill(mat, matrix)
    return mat


def refill(mat: PETSc.Mat, matrix: sp.csr_array) -> None:
    """Put new entries into a Mat."""
    first, last = mat.getOwnershipRange()
    rows = sp.csr_array(matrix)[first:last]
    if not mat.assembled:
        mat.setPreallocationCSR((rows.indptr.astype("i4"), rows.indices.astype("i4"), rows.data))
    mat.setValuesCSR(rows.indptr.astype("i4"), rows.indices.astype("i4"), rows.data)
    mat.assemble()


def to_vec(mat: PETSc.Mat, values: np.ndarray) -> PETSc.Vec:
    """Return the values as a Vec laid out like the rows of `mat`."""
    vec = mat.createVecLeft()
    vec.setArray(values[slice(*vec.getOwnershipRange())])
    return vec


def laplacian(size: int) -> sp.csr_array:
    """Five-point Laplacian on size x size interior points, h = 1: SPD."""
    one = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(size, size))
    return sp.csr_array(sp.kron(one, sp.eye_array(size)) + sp.kron(sp.eye_array(size), one))


def gaussian_field(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a periodic field, covariance 7^3 (7^2 - Laplace)^-2.5: rough, deviation about 0.2."""
    k = 2 * np.pi * np.fft.fftfreq(size, 1 / size)
    square = k[:, None] ** 2 + k**2
    deviation = 7**1.5 * np.sqrt(2) * (square + 49) ** -1.25
    deviation[0, 0] = 0
    noise = rng.standard_normal((2, size, size))
    return np.fft.ifft2(size**2 * deviation * (noise[0] + 1j * noise[1])).real


def diffusion(size: int, rng: np.random.Generator, wind: float) -> sp.csr_array:
    """-div(a grad u) + w u_x on size x size points, log a a Gaussian field, upwind."""
    a = np.exp(gaussian_field(size + 2, rng))
    c = a[1:-1, 1:-1]
    west, east = (c + a[:-2, 1:-1]) / 2 + wind / size, (c + a[2:, 1:-1]) / 2
    south, north = (c + a[1:-1, :-2]) / 2, (c + a[1:-1, 2:]) / 2
    centre = west + east + south + north
    south[:, 0] = north[:, -1] = 0
    bands = [-west.ravel()[size:], -south.ravel()[1:], centre.ravel(), -north.ravel()[:-1]]
    bands.append(-east.ravel()[:-size])
    return sp.csr_array(
        sp.diags_array(bands, offsets=[-size, -1, 0, 1, size], shape=(size**2,) * 2)
    )


def sequence(size: int, count: int, wind: float = 0.0, seed: int = 0) -> Systems:
    """Return `count` neighbouring diffusion matrices with one sparsity pattern."""
    rng = np.random.default_rng(seed)
    return [diffusion(size, rng, wind) for _ in range(count)]
