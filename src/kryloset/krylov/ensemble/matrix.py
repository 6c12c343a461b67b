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

from kryloset.krylov.ensemble.pattern import Pattern
from kryloset.krylov.ensemble.vectors import Numbers, address, as_lanes, dot, norms_of, zeros
from kryloset.krylov.names import LANES
from kryloset.krylov.native.kernels import load_kernels


class EnsembleMatrix:
    """The context of the Mat: matrices with one pattern, or one matrix for all lanes.

    After new numbers in `entries`, assemble the Mat: solvers then see that it has changed.

    Attributes:
        pattern: of each matrix.
        entries: (nnz, lanes), or (nnz, 1) if all lanes share one matrix. Write into it.
        lanes: width of the ensemble: 4, 8 or 16.
        active: number of lanes that hold an instance, the first ones. The others copy the first
            (`fill_idle`), and their right-hand sides are 0.
        resting: (lanes), whether a lane's instance has no system now, since its Newton iteration
            has ended. Its right-hand side is 0, and its result does not count.
        guess: (n, lanes), solutions from which the next solve begins, such as extrapolations of
            time steps; None for 0.
        template: an AIJ matrix of the pattern. It carries what is declared of all matrices:
            symmetry, null spaces, interpolations. Its entries are those of the last `lane`.
        addresses: the first arguments of products in lanes.c.
    """

    def __init__(
        self, pattern: Pattern, entries: Numbers, lanes: int, active: int, template: PETSc.Mat
    ) -> None:
        """Take what `make_ensemble` has checked."""
        self.pattern, self.entries, self.lanes = pattern, entries, lanes
        self.active, self.template = active, template
        self.resting = np.zeros(lanes, dtype=np.bool_)
        self.guess: Numbers | None = None
        self._kernels = load_kernels()
        # Number of the lane that the template holds, unless entries have changed since.
        self._held: int | None = None
        # Addresses are looked up once: the arrays stay, their numbers change.
        self.addresses = (
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

        A call for another lane fills the same Mat.
        """
        held = 0 if self.constant else number
        if self._held != held:
            entries = np.ascontiguousarray(self.entries[:, held])
            self.template.setValuesCSR(self.pattern.offsets, self.pattern.columns, entries)
            self.template.assemble()
            self._held = held
        return self.template

    def system(self, number: int, rhs: PETSc.Vec) -> tuple[PETSc.Mat, PETSc.Vec]:
        """Return the matrix of a lane, as `lane` does, and its right-hand side, a new vector."""
        matrix = self.lane(number)
        column = matrix.createVecLeft()
        column.array_w[:] = as_lanes(rhs, self.lanes)[:, number]
        return matrix, column

    def multiply(self, x: Numbers, y: Numbers) -> Numbers:
        """Set y to A x, both (n, lanes) and C-contiguous, and return x'y of each lane, (lanes)."""
        if self._kernels is None:
            y[:] = self._sum_rows(self.entries * x[self.pattern.columns])
            return dot(x, y)
        dots = np.empty(self.lanes)
        self._kernels.kryloset_lanes_multiply(
            *self.addresses, address(x), 0, address(y), address(dots)
        )
        return dots

    def subtract(self, x: Numbers, b: Numbers, r: Numbers) -> Numbers:
        """Set r to b - A x, all (n, lanes) and C-contiguous, and return r'r of each lane."""
        if self._kernels is None:
            np.subtract(b, self._sum_rows(self.entries * x[self.pattern.columns]), out=r)
            return dot(r, r)
        squares = np.empty(self.lanes)
        self._kernels.kryloset_lanes_multiply(
            *self.addresses, address(x), address(b), address(r), address(squares)
        )
        return squares

    def multiply_transpose(self, x: Numbers, y: Numbers) -> None:
        """Set y (n, lanes) to the product of the transposes with x (n, lanes)."""
        if self._kernels is not None:
            self._kernels.kryloset_lanes_multiply_transpose(*self.addresses, address(x), address(y))
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
        return self.lane_residuals(as_lanes(rhs, self.lanes), as_lanes(x, self.lanes))

    def lane_residuals(self, b: Numbers, x: Numbers) -> Numbers:
        """As `residuals`, for b and x (n, lanes)."""
        r = np.empty_like(b)
        with np.errstate(all="ignore"):
            squares, own = self.subtract(x, b, r), norms_of(b)
            return np.asarray(norms_of(r, squares) / np.where(own == 0.0, 1.0, own))

    def narrower(self, lanes: int) -> "EnsembleMatrix":
        """Return a matrix of fewer lanes, for those that `take` copies into it."""
        entries = self.entries if self.constant else np.empty((self.pattern.size, lanes))
        return EnsembleMatrix(self.pattern, entries, lanes, lanes, self.template)

    def take(self, wider: "EnsembleMatrix", first: int) -> None:
        """Take the entries of the lanes of a wider matrix, from a first one on."""
        if not self.constant:
            self.entries[:] = wider.entries[:, first : first + self.lanes]

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

    def assemblyEnd(self, _: PETSc.Mat, __: PETSc.Mat.AssemblyType) -> None:
        """Note new entries, for PETSc."""
        self._held = None

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
    entries = zeros(pattern.size, 1 if constant else lanes)
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
