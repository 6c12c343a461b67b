# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The matrix of an ensemble: a PETSc Mat of type python, block-diagonal in interleaved unknowns.

A lane is one system. Number i of lane l stands at place i * lanes + l of a vector, so that
`vector.array.reshape(n, lanes)` has a column for each lane (E. Phipps, M. D'Elia, H. Edwards,
M. Hoemmen, J. Hu and S. Rajamanickam, SIAM J. Sci. Comput. 39, 2017, section 3). Columns and
offsets of the pattern are read once for all lanes.
"""

from typing import Any

from petsc4py import PETSc

import numpy as np
from numpy.typing import NDArray

from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.names import LANES
from kryloset.krylov.native.kernels import load_kernels
from kryloset.krylov.scaling import LARGEST

type Numbers = NDArray[np.float64]


class EnsembleMatrix:
    """The context of the Mat: matrices with one pattern, or one matrix for all lanes.

    After new numbers in `entries`, assemble the Mat: solvers then see that it has changed.

    Attributes:
        pattern: of each matrix.
        entries: (nnz, lanes), or (nnz, 1) if all lanes share one matrix. Write into it.
        lanes: width of the ensemble: 4, 8 or 16.
        active: number of lanes that hold an instance, the first ones. The others copy the first
            (`fill_idle`), and their right-hand sides are 0.
        template: an AIJ matrix of the pattern. It carries what is declared of all matrices:
            symmetry, null spaces, interpolations. Its entries are those of the last `lane`.
    """

    def __init__(
        self, pattern: Pattern, entries: Numbers, lanes: int, active: int, template: PETSc.Mat
    ) -> None:
        """Take what `make_ensemble` has checked."""
        self.pattern, self.entries, self.lanes = pattern, entries, lanes
        self.active, self.template = active, template
        self._kernels = load_kernels()
        # Addresses are looked up once: the arrays stay, their numbers change.
        self._matrix = (
            pattern.rows,
            lanes,
            int(self.constant),
            *(array.ctypes.data for array in (pattern.offsets, pattern.columns, entries)),
        )

    @property
    def constant(self) -> bool:
        """Whether all lanes share one matrix."""
        return bool(self.entries.shape[1] == 1)

    def fill_idle(self) -> None:
        """Copy the entries of the first lane to the lanes without an instance."""
        if not self.constant:
            self.entries[:, self.active :] = self.entries[:, :1]

    def lane(self, number: int) -> PETSc.Mat:
        """Return the matrix of a lane: the template, filled with its entries.

        The next call fills the same Mat.
        """
        entries = np.ascontiguousarray(self.entries[:, 0 if self.constant else number])
        self.template.setValuesCSR(self.pattern.offsets, self.pattern.columns, entries)
        self.template.assemble()
        return self.template

    def multiply(self, x: Numbers, y: Numbers) -> None:
        """Set y (n, lanes) to the product with x (n, lanes), both C-contiguous."""
        if self._kernels is not None:
            self._kernels.kryloset_lanes_multiply(*self._matrix, _address(x), 0, _address(y))
        else:
            y[:] = self._sum_rows(self.entries * x[self.pattern.columns])

    def subtract(self, x: Numbers, b: Numbers, r: Numbers) -> None:
        """Set r to b - A x, all (n, lanes) and C-contiguous."""
        if self._kernels is not None:
            self._kernels.kryloset_lanes_multiply(
                *self._matrix, _address(x), _address(b), _address(r)
            )
        else:
            np.subtract(b, self._sum_rows(self.entries * x[self.pattern.columns]), out=r)

    def multiply_transpose(self, x: Numbers, y: Numbers) -> None:
        """Set y (n, lanes) to the product of the transposes with x (n, lanes)."""
        if self._kernels is not None:
            self._kernels.kryloset_lanes_multiply_transpose(*self._matrix, _address(x), _address(y))
            return
        rows = np.repeat(np.arange(self.pattern.rows), np.diff(self.pattern.offsets))
        y[:] = 0.0
        np.add.at(y, self.pattern.columns, self.entries * x[rows])

    def diagonal(self) -> Numbers:
        """Return the diagonals, (n, lanes)."""
        places = self.pattern.diagonal
        found = np.zeros((self.pattern.rows, self.lanes))
        found[places >= 0] = self.entries[places[places >= 0]]
        return found

    def residuals(self, rhs: PETSc.Vec, x: PETSc.Vec) -> Numbers:
        """Return ||b - A x|| / ||b|| of each lane, (lanes); of a lane with b = 0, ||A x||.

        Norms are scaled, so that no square leaves the range of double precision.
        """
        b = as_lanes(rhs, self.lanes)
        r = np.empty_like(b)
        with np.errstate(all="ignore"):
            self.subtract(as_lanes(x, self.lanes), b, r)
            own = lane_norms(b)
            return np.asarray(lane_norms(r) / np.where(own == 0.0, 1.0, own))

    def mult(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Multiply, for PETSc."""
        self.multiply(x.array_r.reshape(-1, self.lanes), y.array_w.reshape(-1, self.lanes))

    def multTranspose(self, _: PETSc.Mat, x: PETSc.Vec, y: PETSc.Vec) -> None:
        """Multiply by the transpose, for PETSc."""
        self.multiply_transpose(
            x.array_r.reshape(-1, self.lanes), y.array_w.reshape(-1, self.lanes)
        )

    def getDiagonal(self, _: PETSc.Mat, diagonal: PETSc.Vec) -> None:
        """Set a vector to the diagonal, for PETSc."""
        diagonal.array_w[:] = self.diagonal().ravel()

    def _sum_rows(self, products: Numbers) -> Numbers:
        """Return the sums (n, lanes) of products (nnz, lanes) over the entries of each row."""
        sums = np.zeros((self.pattern.rows, self.lanes))
        filled = np.flatnonzero(np.diff(self.pattern.offsets))
        if len(filled):
            sums[filled] = np.add.reduceat(products, self.pattern.offsets[filled], axis=0)
        return sums


def make_ensemble(
    pattern: Pattern,
    template: PETSc.Mat,
    lanes: int,
    *,
    active: int | None = None,
    constant: bool = False,
) -> PETSc.Mat:
    """Return the Mat of an ensemble with entries 0, which its `EnsembleMatrix` holds.

    Args:
        pattern: of each matrix.
        template: a serial AIJ matrix of that pattern (`EnsembleMatrix.template`).
        lanes: 4, 8 or 16.
        active: number of lanes that hold an instance, by default all.
        constant: whether all lanes share one matrix.

    Raises:
        ValueError: for another number of lanes, or with a PETSc of complex numbers.
    """
    if lanes not in LANES[1:]:
        raise ValueError(f"an ensemble has 4, 8 or 16 lanes, got {lanes}")
    if PETSc.ScalarType is not np.float64:
        raise ValueError("an ensemble has real numbers in double precision: use lanes 1")
    entries = np.zeros((pattern.size, 1 if constant else lanes))
    context = EnsembleMatrix(pattern, entries, lanes, lanes if active is None else active, template)
    mat = PETSc.Mat().createPython(pattern.rows * lanes, context, comm=PETSc.COMM_SELF)
    mat.setUp()
    mat.assemble()
    return mat


def ensemble_of(mat: PETSc.Mat) -> EnsembleMatrix | None:
    """Return the ensemble that a Mat is, or None for the matrix of one system."""
    if mat.getType() != PETSc.Mat.Type.PYTHON:
        return None
    context: Any = mat.getPythonContext()
    return context if isinstance(context, EnsembleMatrix) else None


def as_lanes(vector: PETSc.Vec, lanes: int) -> Numbers:
    """Return the numbers of a vector as (n, lanes), to be read."""
    return np.asarray(vector.array_r).reshape(-1, lanes)


def lane_norms(x: Numbers) -> Numbers:
    """Return the Euclidean norm of each column of x (n, lanes), without overflow or underflow."""
    norms = np.sqrt(np.einsum("il,il->l", x, x))
    unsafe = np.flatnonzero(~((norms > 1 / LARGEST) & (norms < LARGEST)))
    for lane in unsafe:
        size = np.abs(x[:, lane]).max(initial=0.0)
        if size == 0.0 or not np.isfinite(size):
            norms[lane] = size
        else:
            exponent = int(np.frexp(size)[1])
            norms[lane] = np.ldexp(np.linalg.norm(np.ldexp(x[:, lane], -exponent)), exponent)
    return np.asarray(norms)


def _address(array: Numbers) -> int:
    return int(array.__array_interface__["data"][0])
