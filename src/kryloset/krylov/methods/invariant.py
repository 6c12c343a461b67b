# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A diagnostic: how far a recycled space is from the wanted invariant space.

Parks, de Sturler, Mackey, Johnson and Maiti, SIAM J. Sci. Comput. 28 (2006), theorem 3.1: the
residual of GCRO-DR is bounded by that of the deflated problem plus a term with
1 / (1 - delta). Here delta is the sine of the largest angle between the wanted invariant space
and the recycled one. It is the delta of SKR (ICLR 2024).
"""

from petsc4py import PETSc

import numpy as np
import scipy
from scipy.sparse.linalg import LinearOperator, eigs

from kryloset.errors import KrylosetError
from kryloset.krylov.methods.dense import Array


def wanted_space(operator: PETSc.Mat, pc: PETSc.PC, size: int) -> Array:
    """Return an orthonormal basis of the invariant space of M^-1 A of smallest eigenvalues.

    ARPACK finds it from products alone. This takes many times as long as a solve, and serves to
    study a sequence.

    Args:
        operator: A, on one process.
        pc: set up for A.
        size: dimension, less than that of A minus one. The result has one dimension less if a
            pair of conjugate eigenvalues would be cut.

    Returns:
        (n, size), orthonormal columns.

    Raises:
        KrylosetError: when ARPACK does not converge.
        ValueError: on several processes.
    """
    if operator.comm.size > 1:
        raise ValueError("the wanted space is found on one process: run without mpiexec")
    source, target = operator.createVecs()
    image = operator.createVecLeft()

    def apply(vector: Array) -> Array:
        source.setArray(vector)
        operator.mult(source, image)
        pc.apply(image, target)
        return np.array(target.getArray())

    product = LinearOperator(operator.getSize(), matvec=apply, dtype=np.dtype(PETSc.ScalarType))
    start = np.random.default_rng(0).standard_normal(operator.getSize()[0])
    try:
        values, vectors = eigs(
            product, k=size, which="SM", ncv=min(4 * size + 20, len(start)), v0=start, tol=1e-6
        )
    except Exception as error:
        raise KrylosetError(
            f"ARPACK did not find the {size} smallest eigenvalues ({error}): ask for fewer, or "
            "use a stronger preconditioner"
        ) from error
    if np.dtype(PETSc.ScalarType).kind == "f":
        # A pair stands for two columns, its real and its imaginary part.
        pairs = values.imag > 0
        alone = values.imag == 0
        vectors = np.hstack(
            [vectors[:, alone].real, vectors[:, pairs].real, vectors[:, pairs].imag]
        )
    basis: Array = scipy.linalg.qr(vectors, mode="economic")[0]
    return basis[:, :size]


def delta(wanted: Array, space: Array) -> float:
    """Return ||(I - P) Q||, the sine of the largest angle from the wanted space to another.

    Args:
        wanted: (n, q), orthonormal columns.
        space: (n, k), independent columns. With k < q the answer is 1.

    Returns:
        A number from 0 (the space contains the wanted one) to 1.
    """
    basis = scipy.linalg.qr(space, mode="economic")[0]
    return float(np.linalg.norm(wanted - basis @ (basis.conj().T @ wanted), 2))
